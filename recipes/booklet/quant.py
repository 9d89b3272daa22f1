"""The losses of 8-bit and 4-bit storage, imitated in float.

Blocks of 32 run along a matrix's input dimension (its rows, in PyTorch's layout).
q8 is symmetric: one float16 scale per block, 8.5 bits per weight.  q4 keeps a
float16 scale and a float16 minimum, 5 bits per weight.
"""

import torch
from torch import Tensor

BLOCK = 32


def _blocks(weight: Tensor) -> Tensor:
    return weight.float().reshape(-1, BLOCK)


def q8(weight: Tensor) -> Tensor:
    blocks = _blocks(weight)
    scale = (blocks.abs().amax(-1, keepdim=True) / 127).half().float()
    steps = torch.where(scale > 0, blocks / scale.clamp(min=1e-12), 0.0).round().clamp(-127, 127)
    return (steps * scale).reshape(weight.shape)


def q4(weight: Tensor) -> Tensor:
    blocks = _blocks(weight)
    low = blocks.amin(-1, keepdim=True).half().float()
    scale = ((blocks.amax(-1, keepdim=True) - low) / 15).half().float()
    steps = torch.where(scale > 0, (blocks - low) / scale.clamp(min=1e-12), 0.0).round().clamp(0, 15)
    return (steps * scale + low).reshape(weight.shape)


def noisy_q4(weight: Tensor, share: Tensor) -> Tensor:
    """A random `share` of the blocks takes its q4 value, the gradient passing straight
    through: the weights learn to be good both as they are and rounded."""
    rounded = q4(weight)
    chosen = torch.rand(weight.numel() // BLOCK, 1, device=weight.device) < share
    chosen = chosen.expand(-1, BLOCK).reshape(weight.shape)
    return weight + torch.where(chosen, rounded - weight, 0.0).detach()


def is_matrix(weight: Tensor) -> bool:
    """Linear layers and the embedding are stored in blocks; everything else stays float32."""
    return weight.ndim == 2


def stored_bytes(weights: dict[str, Tensor], bits: float = 8.5) -> int:
    """Size on disk of a checkpoint whose matrices take `bits` per weight."""
    matrices = sum(w.numel() for w in weights.values() if is_matrix(w))
    rest = sum(w.numel() for w in weights.values() if not is_matrix(w))
    return int(matrices * bits / 8) + 4 * rest


def quantised(weights: dict[str, Tensor], kind: str) -> dict[str, Tensor]:
    if kind == "f32":
        return weights
    rounding = {"q8": q8, "q4": q4}[kind]
    return {name: rounding(w) if is_matrix(w) else w for name, w in weights.items()}
