"""The Mamba-1 selective scan in PyTorch.

    h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t,      y_t = h_t C_t

Every channel has its own decays, so there is no matrix form; what is left is to go over time
with as little traffic as possible.  The sequence is cut into pieces.  `forward_piece` and
`backward_piece` go through one piece with time unrolled, and are what `torch.compile` fuses
into one loop over channels; between pieces only the state is kept, and the backward pass
computes a piece's states again from it.  `eager` calls the same functions uncompiled, in
which case each step is a handful of small operations.

`associative` is the textbook alternative: a parallel prefix scan in log2(length) passes over
arrays of (batch, length, d_state, channels).

Shapes: x and dt (batch, length, channels), A (channels, d_state) negative, B and C
(batch, length, d_state); the state is (batch, d_state, channels).
"""

import functools

import torch
from torch import Tensor


def recurrence(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The scan as its definition reads: slow, obvious, the yardstick of the tests."""
    h = x.new_zeros(x.shape[0], A.shape[1], A.shape[0])
    out = []
    for t in range(x.shape[1]):
        h = torch.exp(dt[:, t, None] * A.T) * h + (dt[:, t] * x[:, t])[:, None] * B[:, t, :, None]
        out.append((h * C[:, t, :, None]).sum(1))
    return torch.stack(out, dim=1)


# --- one piece, the state as one tensor ---------------------------------------------


def forward_piece(h, x, dt, At, B, C):
    """(y, state after) of one piece; At is (d_state, channels)."""
    out = []
    for t in range(x.shape[1]):
        h = torch.exp(dt[:, t, None] * At) * h + (dt[:, t] * x[:, t])[:, None] * B[:, t, :, None]
        out.append((h * C[:, t, :, None]).sum(1))
    return torch.stack(out, dim=1), h


def backward_piece(h, x, dt, At, B, C, dy, dh):
    """Gradients (dx, ddt, dB, dC, dAt summed over the batch, d state before)."""
    before, decays = [], []
    for t in range(x.shape[1]):
        decay = torch.exp(dt[:, t, None] * At)
        before.append(h)
        decays.append(decay)
        h = decay * h + (dt[:, t] * x[:, t])[:, None] * B[:, t, :, None]
    dx, ddt, dB, dC = [], [], [], []
    dA = torch.zeros_like(h)
    for t in reversed(range(x.shape[1])):
        dC.append((dy[:, t, None] * h).sum(2))
        dh = dh + dy[:, t, None] * C[:, t, :, None]
        pushed = (dh * B[:, t, :, None]).sum(1)  # d (dt x)
        dB.append((dh * (dt[:, t] * x[:, t])[:, None]).sum(2))
        slope = dh * decays[t] * before[t]  # d (dt A)
        dx.append(pushed * dt[:, t])
        ddt.append(pushed * x[:, t] + (slope * At).sum(1))
        dA = dA + slope * dt[:, t, None]
        dh, h = dh * decays[t], before[t]
    stacked = [torch.stack(part[::-1], dim=1) for part in (dx, ddt, dB, dC)]
    return *stacked, dA.sum(0), dh


# --- the same with the d_state axis unrolled too ------------------------------------


def forward_piece_unrolled(h, x, dt, At, B, C):
    """As `forward_piece`, but every state is a tensor of its own: nothing is left to sum over
    an axis, so a compiler can hold all of a channel's states in registers."""
    states, out = list(h.unbind(1)), []
    for t in range(x.shape[1]):
        u, step, y = dt[:, t] * x[:, t], dt[:, t], 0.0
        for s in range(At.shape[0]):
            states[s] = torch.exp(step * At[s]) * states[s] + u * B[:, t, s, None]
            y = y + states[s] * C[:, t, s, None]
        out.append(y)
    return torch.stack(out, dim=1), torch.stack(states, dim=1)


def backward_piece_unrolled(h, x, dt, At, B, C, dy, dh):
    """As `backward_piece`; the sums over channels are products of small matrices."""
    length, d_state = x.shape[1], At.shape[0]
    u = dt * x
    rows = [list(h.unbind(1))]
    decays = []
    for t in range(length):
        decay = [torch.exp(dt[:, t] * At[s]) for s in range(d_state)]
        decays.append(decay)
        rows.append([decay[s] * rows[-1][s] + u[:, t] * B[:, t, s, None] for s in range(d_state)])
    dh = list(dh.unbind(1))
    dA = [0.0] * d_state
    dx, ddt, dB, dC = [], [], [], []
    for t in reversed(range(length)):
        pushed, slopes = 0.0, 0.0
        rowB, rowC = [], []
        for s in range(d_state):
            rowC.append((dy[:, t] * rows[t + 1][s]).sum(1))
            dh[s] = dh[s] + dy[:, t] * C[:, t, s, None]
            rowB.append((dh[s] * u[:, t]).sum(1))
            pushed = pushed + dh[s] * B[:, t, s, None]
            dh[s] = dh[s] * decays[t][s]
            slope = dh[s] * rows[t][s]
            slopes = slopes + slope * At[s]
            dA[s] = dA[s] + slope * dt[:, t]
        dx.append(pushed * dt[:, t])
        ddt.append(pushed * x[:, t] + slopes)
        dB.append(torch.stack(rowB, dim=1))
        dC.append(torch.stack(rowC, dim=1))
    stacked = [torch.stack(part[::-1], dim=1) for part in (dx, ddt, dB, dC)]
    return *stacked, torch.stack(dA, dim=1).sum(0), torch.stack(dh, dim=1)


PIECES = {
    "rows": (forward_piece, backward_piece),
    "unrolled": (forward_piece_unrolled, backward_piece_unrolled),
}


@functools.cache
def compiled(function):
    return torch.compile(function, dynamic=False, fullgraph=True)


class Pieces(torch.autograd.Function):
    """The whole scan, piece by piece, keeping only the states between pieces."""

    @staticmethod
    def forward(ctx, x, dt, A, B, C, piece, form, fast):
        run = PIECES[form][0]
        run = compiled(run) if fast else run
        At = A.T.contiguous()
        h = x.new_zeros(x.shape[0], At.shape[0], At.shape[1])
        y, states = torch.empty_like(x), []
        for start in range(0, x.shape[1], piece):
            cut = slice(start, start + piece)
            states.append(h)
            y[:, cut], h = run(h, x[:, cut], dt[:, cut], At, B[:, cut], C[:, cut])
        ctx.save_for_backward(x, dt, At, B, C, *states)
        ctx.choice = piece, form, fast
        return y

    @staticmethod
    def backward(ctx, dy):
        x, dt, At, B, C, *states = ctx.saved_tensors
        piece, form, fast = ctx.choice
        run = PIECES[form][1]
        run = compiled(run) if fast else run
        dx, ddt, dB, dC = (torch.empty_like(part, memory_format=torch.contiguous_format) for part in (x, dt, B, C))
        dA, dh = torch.zeros_like(At), torch.zeros_like(states[0])
        for i in reversed(range(len(states))):
            cut = slice(i * piece, (i + 1) * piece)
            found = run(states[i], x[:, cut], dt[:, cut], At, B[:, cut], C[:, cut], dy[:, cut], dh)
            dx[:, cut], ddt[:, cut], dB[:, cut], dC[:, cut] = found[:4]
            dA += found[4]
            dh = found[5]
        return dx, ddt, dA.T, dB, dC, None, None, None


@torch.compiler.disable
def selective_scan(x, dt, A, B, C, piece=16, form="rows", fast=True) -> Tensor:
    """The scan from an empty state; `piece` must divide the length."""
    # One layout for every call, so that there is one compiled form.
    x, dt, B, C = (part.contiguous() for part in (x, dt, B, C))
    return Pieces.apply(x, dt, A, B, C, piece, form, fast)


def associative(x, dt, A, B, C) -> Tensor:
    """A prefix scan over (decay, push) pairs by doubling, all left to autograd."""
    decay = torch.exp(dt[:, :, None] * A.T)
    h = (dt * x)[:, :, None] * B[..., None]
    distance = 1
    while distance < x.shape[1]:
        joined = h[:, distance:] + decay[:, distance:] * h[:, :-distance]
        grown = decay[:, distance:] * decay[:, :-distance]
        h = torch.cat([h[:, :distance], joined], dim=1)
        decay = torch.cat([decay[:, :distance], grown], dim=1)
        distance *= 2
    return torch.einsum("blsd,bls->bld", h, C)
