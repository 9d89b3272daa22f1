"""Muon for the matrices, Adam for everything else.

Muon replaces a matrix's momentum by the nearest semi-orthogonal matrix (five
Newton-Schulz steps), so every direction of the map moves alike.  That trains
small models in fewer steps, and it leaves flat spectra without outliers, which
is what four-bit storage wants.  Updates are scaled to the size Adam's would have.
"""

from collections import defaultdict

import torch
from torch import Tensor


def orthogonalise(m: Tensor) -> Tensor:
    """Batched (k, rows, cols) with rows <= cols: singular values pushed towards one."""
    x = m / (m.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


class Optimiser:
    """`groups[name]` lists the row counts of the independent maps stacked in a matrix;
    names that are absent or None go to Adam. Weight decay touches matrices only."""

    def __init__(self, weights: dict[str, Tensor], groups: dict[str, list[int] | None], lr: float,
                 adam_lr: float, decay: float, momentum: float = 0.95):
        self.weights, self.lr, self.decay, self.momentum = weights, lr, decay, momentum
        self.stacks: dict[tuple[int, int], list[tuple[str, int, int]]] = defaultdict(list)
        for name, rows in groups.items():
            start = 0
            for count in rows or []:
                shape = tuple(sorted((count, weights[name].shape[1])))
                self.stacks[shape].append((name, start, start + count))
                start += count
        device = next(iter(weights.values())).device
        self.speed = {s: torch.zeros(len(p), *s, device=device) for s, p in self.stacks.items()}
        self.kind = torch.bfloat16 if device.type == "cuda" else torch.float32
        self.adam_names = [n for n in weights if not groups.get(n)]
        cuda = device.type == "cuda"
        self.adam_rate = torch.tensor(adam_lr, device=device)
        self.adam = torch.optim.Adam([weights[n] for n in self.adam_names], lr=self.adam_rate, betas=(0.9, 0.98),
                                     eps=1e-10, fused=cuda, capturable=cuda)
        self.adam_lr = adam_lr
        self.update = torch.compile(self._update, dynamic=False) if cuda else self._update

    def _update(self, grad: Tensor, speed: Tensor, lr: Tensor) -> tuple[Tensor, Tensor]:
        """What to add to the matrices, and their new momentum."""
        speed = torch.lerp(grad, speed, self.momentum)
        ahead = torch.lerp(grad, speed, self.momentum)
        move = orthogonalise(ahead.to(self.kind)).float()
        return move * (-0.2 * max(grad.shape[-2:]) ** 0.5 * lr), speed

    @torch.no_grad()
    def step(self, scale: Tensor) -> None:
        """One step at `scale` (a scalar on the weights' device) times the base learning
        rates; gradients are consumed. Nothing here waits for the device, so that a
        whole training step can be recorded once and replayed."""
        lr = self.lr * scale
        for shape, places in self.stacks.items():
            grads, views = [], []
            for name, start, stop in places:
                weight = self.weights[name]
                flip = stop - start > weight.shape[1]
                grad, view = weight.grad[start:stop], weight.data[start:stop]
                grads.append(grad.mT if flip else grad)
                views.append(view.mT if flip else view)
            move, speed = self.update(torch.stack(grads), self.speed[shape], lr)
            self.speed[shape].copy_(speed)
            torch._foreach_mul_(views, 1 - lr * self.decay)
            torch._foreach_add_(views, list(move.unbind(0)))
        self.adam_rate.copy_(self.adam_lr * scale)
        self.adam.step()
        for weight in self.weights.values():
            weight.grad = None

    def momentum_state(self) -> dict[str, Tensor]:
        return {f"{r}x{c}": speed for (r, c), speed in self.speed.items()}

    def adam_state(self) -> dict[str, Tensor]:
        state = {}
        for name in self.adam_names:
            for key, value in self.adam.state[self.weights[name]].items():
                state[f"{name}/{key}"] = torch.as_tensor(value)
        return state

    def restore(self, momentum: dict[str, Tensor], adam: dict[str, Tensor]) -> None:
        for r, c in self.speed:
            self.speed[(r, c)].copy_(momentum[f"{r}x{c}"])
        for name in self.adam_names:
            weight = self.weights[name]
            keys = ("step", "exp_avg", "exp_avg_sq")
            self.adam.state[weight] = {k: adam[f"{name}/{k}"].to(weight.device) for k in keys}
