"""Mamba-1's scan for a GPU, forward and backward: one program a sequence and group of channels, time in
order.  States are kept for the backward pass where gradients are wanted."""

import torch
import triton
import triton.language as tl
from torch import Tensor

CHANNELS = 32


@triton.jit
def forward(u, dt, A, B, C, y, kept, length, channels, states, each,
            KEEP: tl.constexpr, D: tl.constexpr, N: tl.constexpr):
    z = tl.program_id(0).to(tl.int64)
    d = tl.program_id(1) * D + tl.arange(0, D)
    n = tl.arange(0, N)
    real_d, real_n = d < channels, n < states
    real = real_d[:, None] & real_n[None, :]
    rates = tl.load(A + (z // each) * channels * states + d[:, None] * states + n[None, :], real, 0.0)
    h = tl.zeros([D, N], tl.float32)
    for t in range(length):
        row = z * length + t
        step = tl.load(dt + row * channels + d, real_d, 0.0)
        x = tl.load(u + row * channels + d, real_d, 0.0)
        b = tl.load(B + row * states + n, real_n, 0.0)
        c = tl.load(C + row * states + n, real_n, 0.0)
        h = h * tl.exp(step[:, None] * rates) + (step * x)[:, None] * b[None, :]
        tl.store(y + row * channels + d, tl.sum(h * c[None, :], 1), real_d)
        if KEEP:
            tl.store(kept + (row * channels + d[:, None]) * states + n[None, :], h, real)


@triton.jit
def backward(u, dt, A, B, C, dy, kept, du, ddt, dA, dB, dC, length, channels, states, each, groups,
             D: tl.constexpr, N: tl.constexpr):
    z = tl.program_id(0).to(tl.int64)
    group = tl.program_id(1)
    d = group * D + tl.arange(0, D)
    n = tl.arange(0, N)
    real_d, real_n = d < channels, n < states
    real = real_d[:, None] & real_n[None, :]
    rates = tl.load(A + (z // each) * channels * states + d[:, None] * states + n[None, :], real, 0.0)
    dh = tl.zeros([D, N], tl.float32)
    drates = tl.zeros([D, N], tl.float32)
    for back in range(length):
        t = length - 1 - back
        row = z * length + t
        step = tl.load(dt + row * channels + d, real_d, 0.0)
        x = tl.load(u + row * channels + d, real_d, 0.0)
        b = tl.load(B + row * states + n, real_n, 0.0)
        c = tl.load(C + row * states + n, real_n, 0.0)
        dout = tl.load(dy + row * channels + d, real_d, 0.0)
        at = (row * channels + d[:, None]) * states + n[None, :]
        h = tl.load(kept + at, real, 0.0)
        before = tl.load(kept + at - channels * states, real & (t > 0), 0.0)
        part = (row * groups + group) * states + n
        tl.store(dC + part, tl.sum(dout[:, None] * h, 0), real_n)
        dh += dout[:, None] * c[None, :]
        decay = tl.exp(step[:, None] * rates)
        ddecay = dh * before * decay
        pushed = tl.sum(dh * b[None, :], 1)
        tl.store(ddt + row * channels + d, tl.sum(ddecay * rates, 1) + pushed * x, real_d)
        tl.store(du + row * channels + d, pushed * step, real_d)
        tl.store(dB + part, tl.sum(dh * (step * x)[:, None], 0), real_n)
        drates += ddecay * step[:, None]
        dh = dh * decay
    tl.store(dA + (z * channels + d[:, None]) * states + n[None, :], drates, real)


class Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u, dt, A, B, C):
        u, dt, A, B, C = (t.contiguous() for t in (u, dt, A, B, C))
        (z, length, channels), states = u.shape, A.shape[-1]
        keep = any(ctx.needs_input_grad)
        y = torch.empty_like(u)
        kept = u.new_empty(z, length, channels, states) if keep else y
        grid = (z, triton.cdiv(channels, CHANNELS))
        ctx.numbers = (length, channels, states, z // A.shape[0])
        sizes = {"D": CHANNELS, "N": triton.next_power_of_2(states)}
        forward[grid](u, dt, A, B, C, y, kept, *ctx.numbers, KEEP=keep, **sizes)
        if keep:
            ctx.save_for_backward(u, dt, A, B, C, kept)
            ctx.grid, ctx.sizes = grid, sizes
        return y

    @staticmethod
    def backward(ctx, dy):
        u, dt, A, B, C, kept = ctx.saved_tensors
        z, groups = ctx.grid
        length, channels, states, each = ctx.numbers
        du, ddt = torch.empty_like(u), torch.empty_like(u)
        dA = u.new_empty(z, channels, states)
        dB, dC = (u.new_empty(z, length, groups, states) for _ in range(2))
        backward[ctx.grid](u, dt, A, B, C, dy.contiguous(), kept, du, ddt, dA, dB, dC,
                           *ctx.numbers, groups, **ctx.sizes)
        dA = dA.unflatten(0, (A.shape[0], each)).sum(1)
        return du, ddt, dA, dB.sum(2), dC.sum(2)


@torch.compiler.disable
def scan(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    return Scan.apply(u, dt, A, B, C)
