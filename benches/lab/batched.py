"""The lab's task models in PyTorch, several trainings of one shape side by side.

A tensor of weights is (runs, ...), activations are (runs, sequences, length, channels): runs of the
same shape with other seeds and rates share every kernel call, which is what makes models this small
worth a GPU.  The function is that of `sillage train`, block by block; `teach.py` holds the first
losses to those that it reached.
"""

import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "train"))

import chunked  # noqa: E402

EPS = 1e-5
CHUNK = 64


def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    """x (runs, ..., channels), weight (runs, channels)."""
    shape = (weight.shape[0],) + (1,) * (x.dim() - 2) + weight.shape[1:]
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS) * weight.view(shape)


def project(x: Tensor, weight: Tensor) -> Tensor:
    """x (runs, sequences, length, in), weight (runs, out, in)."""
    flat = x.flatten(1, -2)
    return torch.bmm(flat, weight.mT).view(*x.shape[:-1], weight.shape[1])


def causal_conv(x: Tensor, taps: Tensor, bias: Tensor | None) -> Tensor:
    """taps (runs, channels, 1, width); the last meets the newest row."""
    width, length = taps.shape[-1], x.shape[2]
    past = F.pad(x, (0, 0, width - 1, 0))
    mixed = 0.0 if bias is None else bias[:, None, None]
    for k in range(width):
        mixed = mixed + past[:, :, k : k + length] * taps[:, None, None, :, 0, k]
    return mixed


class Embedding(torch.autograd.Function):
    """Rows of a table; the backward pass adds, without the sort that keeps it out of CUDA graphs."""

    @staticmethod
    def forward(ctx, table: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.shape = table.shape
        return table[rows]

    @staticmethod
    def backward(ctx, grad: Tensor):
        (rows,) = ctx.saved_tensors
        return grad.new_zeros(ctx.shape).index_add_(0, rows.flatten(), grad.flatten(0, -2)), None


# --- mixers --------------------------------------------------------------------------


def ssd(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Mamba-2's scan in chunks. x (z, length, heads, headdim), dt (z, length, heads), A (z, heads),
    B and C (z, length, states)."""
    length = x.shape[1]
    missing = -length % CHUNK
    # Steps of no size at the end change nothing.
    x, dt = F.pad(x, (0, 0, 0, 0, 0, missing)), F.pad(dt, (0, 0, 0, missing))
    B, C = F.pad(B, (0, 0, 0, missing)), F.pad(C, (0, 0, 0, missing))
    return chunked.ssd(x, dt, A[:, None], B, C, CHUNK)[:, :length]


def selective(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Mamba-1's scan. u and dt (z, length, channels), A (runs, channels, states), B and C
    (z, length, states)."""
    if u.is_cuda:
        from selective_triton import scan

        return scan(u, dt, A, B, C)
    each = A.repeat_interleave(u.shape[0] // A.shape[0], 0)
    state, ys = torch.zeros_like(each), []
    for t in range(u.shape[1]):
        state = state * (dt[:, t, :, None] * each).exp() + (dt[:, t] * u[:, t])[..., None] * B[:, t, None]
        ys.append((state * C[:, t, None]).sum(-1))
    return torch.stack(ys, 1)


def mamba2(x: Tensor, w: dict[str, Tensor], model: dict) -> Tensor:
    sizes, runs = model["mamba2"], x.shape[0]
    inner, states = sizes["expand"] * x.shape[-1], sizes["d_state"]
    heads = inner // sizes["headdim"]
    z, xBC, dt = project(x, w["in_proj.weight"]).split([inner, inner + 2 * states, heads], -1)
    xBC = F.silu(causal_conv(xBC, w["conv1d.weight"], w["conv1d.bias"]))
    dt = F.softplus(dt + w["dt_bias"][:, None, None])
    A = -w["A_log"].exp()
    inputs, B, C = xBC.flatten(0, 1).split([inner, states, states], -1)
    inputs = inputs.unflatten(-1, (heads, -1))
    y = ssd(inputs, dt.flatten(0, 1), A.repeat_interleave(x.shape[1], 0), B, C)
    y, inputs = y.unflatten(0, (runs, -1)), inputs.unflatten(0, (runs, -1))
    y = (y + inputs * w["D"][:, None, None, :, None]).flatten(-2)
    return project(rms_norm(y * F.silu(z), w["norm.weight"]), w["out_proj.weight"])


def mamba(x: Tensor, w: dict[str, Tensor], model: dict) -> Tensor:
    sizes, runs = model["mamba"], x.shape[0]
    inner, states = sizes["expand"] * x.shape[-1], sizes["d_state"]
    u, z = project(x, w["in_proj.weight"]).split(inner, -1)
    u = F.silu(causal_conv(u, w["conv1d.weight"], w["conv1d.bias"]))
    low, B, C = project(u, w["x_proj.weight"]).split([w["dt_proj.weight"].shape[-1], states, states], -1)
    dt = F.softplus(project(low, w["dt_proj.weight"]) + w["dt_proj.bias"][:, None, None])
    A = -w["A_log"].exp()
    y = selective(*(t.flatten(0, 1) for t in (u, dt)), A, *(t.flatten(0, 1) for t in (B, C)))
    y = y.unflatten(0, (runs, -1)) + u * w["D"][:, None, None]
    return project(y * F.silu(z), w["out_proj.weight"])


def turn(x: Tensor, theta: float) -> Tensor:
    """Rotary positions. x (z, heads, length, channels)."""
    length, width = x.shape[-2:]
    steps = torch.arange(0, width, 2, dtype=torch.float64, device=x.device)
    angles = torch.arange(length, dtype=torch.float64, device=x.device)[:, None] * theta ** (-steps / width)
    cos, sin = angles.cos().float(), angles.sin().float()
    low, high = x.chunk(2, -1)
    return torch.cat([low * cos - high * sin, high * cos + low * sin], -1)


def attention(x: Tensor, w: dict[str, Tensor], model: dict) -> Tensor:
    heads, theta = model["attention"]["heads"], model["attention"]["rope_theta"]
    parts = (project(x, w[f"{name}_proj.weight"]).flatten(0, 1) for name in "qkv")
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in parts)
    if theta > 0:
        q, k = turn(q, theta), turn(k, theta)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return project(y.transpose(1, 2).flatten(-2).unflatten(0, x.shape[:2]), w["o_proj.weight"])


def mlp(x: Tensor, w: dict[str, Tensor], model: dict) -> Tensor:
    return project(F.relu(project(x, w["up.weight"])).square(), w["down.weight"])


def conv(x: Tensor, w: dict[str, Tensor], model: dict) -> Tensor:
    return causal_conv(x, w["conv1d.weight"], w.get("conv1d.bias"))


MIXERS = {"M": mamba2, "m": mamba, "*": attention, "-": mlp, "c": conv}


# --- a whole model -------------------------------------------------------------------


class Model:
    """What a lesson's `config` and `layout` describe."""

    def __init__(self, config: dict, layout: list[dict]):
        self.model, self.blocks, self.width = config["model"], config["blocks"], config["width"]
        self.shapes = [entry["shape"] for entry in layout]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        names = [entry["name"] for entry in layout]
        self.at = {place(name): i for i, name in enumerate(names)}

    def weights(self, flat: Tensor) -> dict[tuple[int, str], Tensor]:
        """flat (runs, numbers); -1 is the block of what stands outside all blocks."""
        parts = flat.split(self.sizes, 1)
        return {key: parts[i].view(flat.shape[0], *self.shapes[i]) for key, i in self.at.items()}

    def stream(self, w: dict, tokens: Tensor) -> Tensor:
        """The stream after the last block. tokens (runs, sequences, length)."""
        table = w[-1, "embedding"]
        runs, vocab, width = table.shape
        rows = tokens + torch.arange(runs, device=tokens.device)[:, None, None] * vocab
        x = Embedding.apply(table.reshape(runs * vocab, width), rows)
        for i, letter in enumerate(self.blocks):
            own = {name: value for (block, name), value in w.items() if block == i}
            x = x + MIXERS[letter](rms_norm(x, own["norm"]), own, self.model)
        return x

    def logits(self, w: dict, tokens: Tensor, places: Tensor) -> Tensor:
        """(runs, sequences * asked, vocab) at the places (runs, sequences, asked)."""
        x = self.stream(w, tokens)
        rows = x.gather(2, places[..., None].expand(-1, -1, -1, x.shape[-1])).flatten(1, 2)
        return torch.bmm(rms_norm(rows, w[-1, "final"]), w[-1, "embedding"].mT)


def block_of(name: str) -> int:
    return next((int(part) for part in name.split(".") if part.isdigit()), -1)


def place(name: str) -> tuple[int, str]:
    """Block and short name of a checkpoint's tensor."""
    block = block_of(name)
    if block < 0:
        return -1, "final" if "norm" in name else "embedding"
    rest = name.split(f".{block}.", 1)[1]
    if rest == "norm.weight":
        return block, "norm"
    return block, rest.removeprefix("mixer.")
