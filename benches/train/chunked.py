"""The Mamba-2 scan (SSD) in its chunked matrix form, in the ways PyTorch can be asked for it.

`recipes/common/ssd.py` is the starting point: masked products within a chunk, a small state
between chunks, and a gradient of the decays that never forms the product of mask and its
gradient.  Here a sequence always begins with an empty state, and B and C have one group.
What can be chosen:

`inside`   how a chunk's own part is differentiated: `auto` leaves it to autograd, `kept`
           keeps the mask for the backward pass as the recipe does, `again` computes the mask
           a second time there and so keeps less
`between`  how states travel: `square` is one triangular product over all chunks, `levels` two
           small ones, `loop` goes chunk by chunk in place
`einsum`   writes all of it as five einsums instead, as the paper's listing does

Shapes: x (batch, length, heads, headdim), dt (batch, length, heads), A (heads,) negative,
B and C (batch, length, d_state).
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "recipes" / "common"))

from ssd import Inside, recurrence, ssd as recipe_ssd, states_between  # noqa: E402, F401


def within(x: Tensor, scores: Tensor, total: Tensor) -> Tensor:
    """What `Inside` computes, left to autograd: x (b n h q p), scores (b n q q), total (b n h q)."""
    return (scores[:, :, None] * Inside.decay(total)) @ x


class Again(torch.autograd.Function):
    """`Inside`, but the mask is computed again in the backward pass instead of being kept."""

    @staticmethod
    def forward(ctx, x: Tensor, scores: Tensor, total: Tensor) -> Tensor:
        y = (scores[:, :, None] * Inside.decay(total)) @ x
        ctx.save_for_backward(x, scores, total, y)
        return y

    @staticmethod
    def backward(ctx, dy: Tensor):
        x, scores, total, y = ctx.saved_tensors
        decay = Inside.decay(total)
        dx = (scores[:, :, None] * decay).mT @ dy
        dscores = ((dy @ x.mT) * decay).sum(2)
        return dx, dscores, (dy * y).sum(-1) - (dx * x).sum(-1)


def entering_square(added: Tensor, whole: Tensor) -> Tensor:
    """The state entering each chunk: added (b n h p s), whole (b n h) log decays."""
    batch, n, heads, headdim, d_state = added.shape
    edge = torch.cumsum(F.pad(whole, (0, 0, 1, 0)), dim=1).transpose(1, 2)
    decay = Inside.decay(edge)[:, :, :n, 1:]  # row: entering chunk; column: the chunk that added
    sources = added.transpose(1, 2).reshape(batch, heads, n, -1)
    return (decay @ sources).reshape(batch, heads, n, headdim, d_state).transpose(1, 2)


def entering_levels(added: Tensor, whole: Tensor) -> Tensor:
    """The same by groups of about sqrt(n) chunks: within a group, then between groups."""
    batch, n, heads, headdim, d_state = added.shape
    size = 1 << (n.bit_length() // 2)
    if n % size or size < 4:
        return entering_square(added, whole)
    groups = n // size
    inner_whole = whole.reshape(batch * groups, size, heads)
    inner = added.reshape(batch * groups, size, heads, headdim, d_state)
    local = entering_square(inner, inner_whole)
    last = inner_whole[:, -1, :, None, None]
    leaving = local[:, -1] * torch.exp(last) + inner[:, -1]
    carried = entering_square(
        leaving.reshape(batch, groups, heads, headdim, d_state), inner_whole.sum(1).reshape(batch, groups, heads)
    ).reshape(batch * groups, 1, heads, headdim, d_state)
    since = torch.cumsum(F.pad(inner_whole, (0, 0, 1, 0))[:, :size], dim=1)
    return (local + torch.exp(since)[..., None, None] * carried).reshape(added.shape)


@torch.library.custom_op("sillage_bench::entering", mutates_args=())
def entering_op(added: Tensor, decay: Tensor) -> Tensor:
    out = torch.empty_like(added, memory_format=torch.contiguous_format)
    out[:, 0].zero_()
    for i in range(1, added.shape[1]):
        torch.addcmul(added[:, i - 1], out[:, i - 1], decay[:, i - 1], out=out[:, i])
    return out


@torch.library.custom_op("sillage_bench::entering_backward", mutates_args=())
def entering_backward_op(grad: Tensor, decay: Tensor) -> Tensor:
    """Gradient of `added`: what later chunks wanted of each chunk's leaving state."""
    out = torch.empty_like(grad, memory_format=torch.contiguous_format)
    out[:, -1].zero_()
    for i in range(grad.shape[1] - 2, -1, -1):
        torch.addcmul(grad[:, i + 1], out[:, i + 1], decay[:, i + 1], out=out[:, i])
    return out


@entering_op.register_fake
def _(added, decay):
    return torch.empty_like(added, memory_format=torch.contiguous_format)


@entering_backward_op.register_fake
def _(grad, decay):
    return torch.empty_like(grad, memory_format=torch.contiguous_format)


def keep_for_entering(ctx, inputs, output):
    ctx.save_for_backward(inputs[1], output)


def entering_gradient(ctx, grad):
    decay, entered = ctx.saved_tensors
    dadded = torch.ops.sillage_bench.entering_backward(grad.contiguous(), decay)
    # leaving_i = decay_i * entered_i + added_i, so d decay_i = sum of d leaving_i * entered_i
    return dadded, (dadded * entered).sum((-1, -2), keepdim=True)


entering_op.register_autograd(entering_gradient, setup_context=keep_for_entering)


def entering_loop(added: Tensor, whole: Tensor) -> Tensor:
    return torch.ops.sillage_bench.entering(added.contiguous(), torch.exp(whole)[..., None, None])


BETWEEN = {"square": entering_square, "levels": entering_levels, "loop": entering_loop}
INSIDE = {"auto": within, "kept": Inside.apply, "again": Again.apply}


def ssd(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, chunk: int, inside="kept", between="levels") -> Tensor:
    """Chunked scan from an empty state; `chunk` must divide the length."""
    batch, length, heads, headdim = x.shape
    d_state, n = B.shape[-1], length // chunk
    B = B.reshape(batch, n, chunk, d_state)
    C = C.reshape(batch, n, chunk, d_state)
    total = torch.cumsum((dt * A).reshape(batch, n, chunk, heads).transpose(2, 3), dim=-1)  # b n h q
    whole = total[..., -1]
    pushed = (x * dt[..., None]).reshape(batch, n, chunk, heads, headdim).transpose(2, 3)  # b n h q p
    y = INSIDE[inside](pushed, C @ B.mT, total).transpose(2, 3)
    if n > 1:
        left = torch.exp(whole[..., None] - total)[..., None]  # what a push keeps by the chunk's end
        added = (pushed * left).mT.reshape(batch, n, heads * headdim, chunk) @ B
        entering = BETWEEN[between](added.reshape(batch, n, heads, headdim, d_state), whole)
        read = C @ entering.reshape(batch, n, heads * headdim, d_state).mT
        y = y + read.reshape(batch, n, chunk, heads, headdim) * torch.exp(total).transpose(2, 3)[..., None]
    return y.reshape(batch, length, heads, headdim)


def ssd_einsum(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, chunk: int) -> Tensor:
    """The same as einsums over (batch, chunk, position, head, ...), all left to autograd."""
    batch, length, heads, headdim = x.shape
    n = length // chunk
    pushed = (x * dt[..., None]).reshape(batch, n, chunk, heads, headdim)
    B, C = B.reshape(batch, n, chunk, -1), C.reshape(batch, n, chunk, -1)
    total = torch.cumsum((dt * A).reshape(batch, n, chunk, heads).transpose(2, 3), dim=-1)
    y = torch.einsum("bnqs,bnks,bnhqk,bnkhp->bnqhp", C, B, Inside.decay(total), pushed)
    left = torch.exp(total[..., -1:] - total)
    added = torch.einsum("bnks,bnhk,bnkhp->bnhps", B, left, pushed)
    entering = entering_square(added, total[..., -1])
    y = y + torch.einsum("bnqs,bnhps,bnhq->bnqhp", C, entering, torch.exp(total))
    return y.reshape(batch, length, heads, headdim)
