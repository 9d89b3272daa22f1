"""A training step recorded once as a CUDA graph and replayed: small networks spend most of a step launching kernels."""

from collections.abc import Callable

import torch
from torch import Tensor

WARM = 4  # steps run as they come before one is recorded: compilers, plans and optimisers settle in them


class Replayed:
    """`step` takes a batch (always of the same shapes) and returns scalars by name; it must do nothing that depends on
    values on the device. On a CPU it is simply called."""

    def __init__(self, step: Callable[[dict[str, Tensor]], dict[str, Tensor]]):
        self.step, self.calls, self.graph = step, 0, None
        self.batch: dict[str, Tensor] = {}
        self.said: dict[str, Tensor] = {}
        self.stream = torch.cuda.Stream() if torch.cuda.is_available() else None

    def __call__(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the step says; overwritten by the next call."""
        if self.stream is None or next(iter(batch.values())).device.type != "cuda":
            return self.step(batch)
        self.calls += 1
        if self.calls <= WARM:
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                said = self.step(batch)
            torch.cuda.current_stream().wait_stream(self.stream)
            return said
        if self.graph is None:
            self.batch = {k: v.clone() for k, v in batch.items()}
            torch.cuda.synchronize()
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.said = self.step(self.batch)
        torch._foreach_copy_(list(self.batch.values()), [batch[k] for k in self.batch])
        self.graph.replay()
        return self.said
