"""State space duality (SSD): the Mamba-2 scan in chunked, matrix-product form.

Within a chunk the recurrence

    S_t = exp(dt_t * A) * S_{t-1} + dt_t * x_t (outer) B_t,      y_t = S_t C_t

is a masked product of C and B (what attention calls scores, times a decay);
between chunks only the state travels.  One group of B and C serves all heads.
`recurrence` is the same thing one token at a time, kept as the yardstick for
the tests.

Shapes: x (batch, length, heads, headdim), dt (batch, length, heads),
A (heads,) negative, B and C (batch, length, d_state),
state (batch, heads, headdim, d_state) in float32.
"""

import torch
from torch import Tensor


def recurrence(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """The scan as its definition reads: slow, obvious, exact in x's own precision."""
    outputs = []
    for t in range(x.shape[1]):
        decay = torch.exp(dt[:, t] * A)[..., None, None]
        push = (dt[:, t, :, None] * x[:, t])[..., None] * B[:, t, None, None, :]
        state = decay * state + push
        outputs.append(torch.einsum("bhpn,bn->bhp", state, C[:, t]))
    return torch.stack(outputs, dim=1), state


class Inside(torch.autograd.Function):
    """y_i = sum over j <= i of (C_i . B_j) exp(total_i - total_j) x_j, for every chunk and head.

    x (b, n, h, q, p), scores (b, n, q, q), total (b, n, h, q) float32.

    The gradient of `total` needs the row and column sums of G = M * dM, where M is the
    masked product and dM its gradient. Row sums are dy_i . y_i and column sums
    dx_j . x_j, so G, by far the largest array in sight, is never formed.
    """

    @staticmethod
    def decay(total: Tensor) -> Tensor:
        size = total.shape[-1]
        causal = torch.ones(size, size, dtype=torch.bool, device=total.device).tril()
        gap = total[..., :, None] - total[..., None, :]
        return torch.exp(gap.masked_fill(~causal, float("-inf")))

    @staticmethod
    def forward(ctx, x: Tensor, scores: Tensor, total: Tensor) -> Tensor:
        mask = (scores[:, :, None] * Inside.decay(total)).to(x.dtype)
        y = mask @ x
        ctx.save_for_backward(x, total, mask, y)
        return y

    @staticmethod
    def backward(ctx, dy: Tensor):
        x, total, mask, y = ctx.saved_tensors
        dx = mask.mT @ dy
        dscores = ((dy @ x.mT) * Inside.decay(total)).sum(2).to(x.dtype)
        wide = total.dtype
        dtotal = (dy.to(wide) * y.to(wide)).sum(-1) - (dx.to(wide) * x.to(wide)).sum(-1)
        return dx, dscores, dtotal


def states_between(added: Tensor, whole: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """The state entering each chunk, and the last one leaving.

    added (b, n, h, p, s): what each chunk contributes by its end; whole (b, n, h): its
    log decay. The recurrence over n chunks is one small triangular product per head.
    """
    batch, n, heads, headdim, d_state = added.shape
    edge = torch.cumsum(torch.nn.functional.pad(whole, (0, 0, 1, 0)), dim=1).transpose(1, 2)  # b h n+1
    decay = Inside.decay(edge)
    sources = torch.cat([state[:, None], added], dim=1).transpose(1, 2).reshape(batch, heads, n + 1, -1)
    states = (decay @ sources).reshape(batch, heads, n + 1, headdim, d_state).transpose(1, 2)
    return states[:, :n], states[:, n]


def ssd(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor, chunk: int,
        cut: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Chunked scan. `chunk` must divide the length. `cut` (batch, length) is added to every head's log decay:
    a large negative value makes a token forget what came before it.

    The large products run in x's type (bf16 while training on a GPU); decays,
    their running sums and the state stay float32, because a product of a
    thousand decays does not survive eight bits of mantissa.
    """
    batch, length, heads, headdim = x.shape
    d_state = B.shape[-1]
    kind, wide = x.dtype, state.dtype
    n = length // chunk

    B = B.reshape(batch, n, chunk, d_state)
    C = C.reshape(batch, n, chunk, d_state)
    decay = dt * A if cut is None else dt * A + cut[..., None]
    total = torch.cumsum(decay.reshape(batch, n, chunk, heads).transpose(2, 3), dim=-1)  # b n h q
    whole = total[..., -1]  # b n h: log decay over a whole chunk
    pushed = (x * dt[..., None]).to(kind).reshape(batch, n, chunk, heads, headdim).transpose(2, 3)  # b n h q p
    inside = Inside.apply(pushed, C @ B.mT, total)

    left = torch.exp(whole[..., None] - total)[..., None].to(kind)  # what a push keeps by the chunk's end
    added = (pushed * left).mT.reshape(batch, n, heads * headdim, chunk) @ B
    added = added.to(wide).reshape(batch, n, heads, headdim, d_state)
    entering, state = states_between(added, whole, state)

    entering = entering.to(kind).reshape(batch, n, heads * headdim, d_state)
    read = (C @ entering.mT).reshape(batch, n, chunk, heads, headdim)
    carried = read * torch.exp(total).transpose(2, 3)[..., None].to(kind)
    y = inside.transpose(2, 3) + carried
    return y.reshape(batch, length, heads, headdim), state
