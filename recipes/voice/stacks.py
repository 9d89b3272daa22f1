"""Stacks: trunks of pre-norm residual blocks, the only kind of network in this voice.

x += mixer(norm(x)) for every block, then a final norm. A mixer is Mamba-2, causal attention, a depthwise
causal convolution or an MLP. Parameter names are those the Rust runtime reads.

Rows are packed: several utterances (or phrases) follow one another in a row, and `segment` (batch, length)
numbers them. No mixer looks across a change of number, so packing changes nothing but speed.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssd import ssd

EPSILON = 1e-5
# Added to the log decay where a segment starts: e^-60 of the old state is nothing, and the running sums of
# a chunk still keep their precision.
FORGET = -60.0


def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    x = x.float()
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPSILON) * weight


@dataclass
class Context:
    """Which tokens may see which. same (taps, batch, length): token t and token t - k share a segment;
    start (batch, length): t is its segment's first; segment and position serve attention; `prefix` is how many tokens
    at the start of every row are seen by all later ones, as if each segment had been fed them first."""

    segment: Tensor
    start: Tensor
    same: Tensor
    position: Tensor
    prefix: int = 0

    @staticmethod
    def of(segment: Tensor, taps: int = 7) -> "Context":
        padded = F.pad(segment, (taps - 1, 0), value=-1)
        length = segment.shape[1]
        back = [padded[:, taps - 1 - k : taps - 1 - k + length] == segment for k in range(taps)]
        same = torch.stack(back).float()
        start = same[1] == 0
        index = torch.arange(length, device=segment.device).expand_as(segment)
        first = torch.where(start, index, torch.zeros_like(index)).cummax(1).values
        return Context(segment, start, same, index - first)

    @staticmethod
    def after(prefix: int, segment: Tensor) -> "Context":
        """Rows that begin with `prefix` shared tokens, followed by tokens of the given segments. For attention only:
        what a convolution or a scan carries is not shared."""
        rows = segment.shape[0]
        whole = torch.cat([segment.new_full((rows, prefix), -9), segment], 1)
        context = Context.of(whole)
        later = torch.arange(whole.shape[1], device=segment.device) >= prefix
        context.position, context.prefix = context.position + prefix * later, prefix
        return context


def causal_taps(x: Tensor, weight: Tensor, bias: Tensor, same: Tensor) -> Tensor:
    """Depthwise causal convolution over (batch, length, channels), weight (channels, 1, taps)."""
    taps, length = weight.shape[-1], x.shape[1]
    padded = F.pad(x, (0, 0, taps - 1, 0))
    y = x * weight[:, 0, taps - 1] + bias
    for k in range(1, taps):
        past = padded[:, taps - 1 - k : taps - 1 - k + length]
        y = y + past * same[k, :, :, None].to(x.dtype) * weight[:, 0, taps - 1 - k]
    return y


def mamba2(x, norm, in_proj, conv, conv_bias, dt_bias, A_log, D, gate_norm, out_proj, start, same, headdim: int):
    """One Mamba-2 block's addition to the stream; as `transformers` computes Mamba2 with one group."""
    batch, length, _ = x.shape
    heads, inner = dt_bias.shape[0], gate_norm.shape[0]
    d_state = (conv.shape[0] - inner) // 2
    kind = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
    h = rms_norm(x, norm).to(kind)
    z, xbc, dt = F.linear(h, in_proj.to(kind)).split([inner, inner + 2 * d_state, heads], -1)
    xbc = F.silu(causal_taps(xbc, conv.to(kind), conv_bias.to(kind), same))
    u, B, C = xbc.split([inner, d_state, d_state], -1)
    u = u.reshape(batch, length, heads, headdim)
    dt = F.softplus(dt.float() + dt_bias)
    state = torch.zeros(batch, heads, headdim, d_state, device=x.device, dtype=torch.float32)
    cut = start.float() * FORGET
    chunk = min(64, length)
    if length % chunk:  # steps of size zero at the end change nothing
        more = -length % chunk
        padded = [F.pad(u, (0, 0, 0, 0, 0, more)), *(F.pad(t, (0, 0, 0, more)) for t in (dt, B, C)), F.pad(cut, (0, more))]
        y, _ = ssd(padded[0], padded[1], -torch.exp(A_log), *padded[2:4], state, chunk, padded[4])
        y = y[:, :length]
    else:
        y, _ = ssd(u, dt, -torch.exp(A_log), B, C, state, chunk, cut)
    y = (y.float() + u.float() * D[:, None]).reshape(batch, length, inner)
    y = rms_norm(y * F.silu(z.float()), gate_norm).to(kind)
    return F.linear(y, out_proj.to(kind)).float()


class Mamba2(nn.Module):
    fast = staticmethod(mamba2)

    def __init__(self, d_model: int, depth: int, d_state: int = 64, headdim: int = 64, d_conv: int = 4):
        super().__init__()
        self.headdim = headdim
        inner = 2 * d_model
        heads, conv_dim = inner // headdim, inner + 2 * d_state
        dt = torch.exp(torch.rand(heads) * (math.log(0.1) - math.log(1e-3)) + math.log(1e-3))
        self.in_proj = nn.Linear(d_model, inner + conv_dim + heads, bias=False)
        self.conv1d = nn.Conv1d(conv_dim, conv_dim, d_conv, groups=conv_dim)
        nn.init.zeros_(self.conv1d.bias)
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))
        self.A_log = nn.Parameter(torch.log(torch.rand(heads) * 15 + 1))
        self.D = nn.Parameter(torch.ones(heads))
        self.norm = nn.Module()
        self.norm.weight = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, d_model, bias=False)
        nn.init.normal_(self.in_proj.weight, std=d_model**-0.5)
        nn.init.normal_(self.out_proj.weight, std=(2 * inner * depth) ** -0.5)

    def forward(self, x: Tensor, norm: Tensor, context: Context) -> Tensor:
        return Mamba2.fast(
            x, norm, self.in_proj.weight, self.conv1d.weight, self.conv1d.bias, self.dt_bias, self.A_log, self.D,
            self.norm.weight, self.out_proj.weight, context.start, context.same, self.headdim,
        )


class Attention(nn.Module):
    """Causal self-attention with rotary positions (halves rotated, as in Llama), counted from the segment's start."""

    def __init__(self, d_model: int, depth: int, heads: int, head_dim: int = 64, rope_theta: float = 10000.0):
        super().__init__()
        self.heads, self.head_dim, self.theta = heads, head_dim, rope_theta
        wide = heads * head_dim
        for name in ("q_proj", "k_proj", "v_proj"):
            setattr(self, name, nn.Linear(d_model, wide, bias=False))
        self.o_proj = nn.Linear(wide, d_model, bias=False)
        nn.init.normal_(self.o_proj.weight, std=(2 * wide * depth) ** -0.5)

    def rotate(self, x: Tensor, position: Tensor) -> Tensor:
        half = self.head_dim // 2
        rates = self.theta ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
        angle = position.float()[:, None, :, None] * rates
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        a, b = x[..., :half], x[..., half:]
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    def forward(self, x: Tensor, norm: Tensor, context: Context) -> Tensor:
        batch, length, _ = x.shape
        h = rms_norm(x, norm)
        split = lambda y: y.reshape(batch, length, self.heads, self.head_dim).transpose(1, 2)
        q, k, v = split(self.q_proj(h)), split(self.k_proj(h)), split(self.v_proj(h))
        q, k = self.rotate(q, context.position), self.rotate(k, context.position)
        causal = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
        shared = torch.arange(length, device=x.device) < context.prefix
        mask = causal & ((context.segment[:, :, None] == context.segment[:, None, :]) | shared)
        y = F.scaled_dot_product_attention(q, k, v.to(q.dtype), attn_mask=mask[:, None])
        return self.o_proj(y.transpose(1, 2).reshape(batch, length, -1)).float()


class Conv(nn.Module):
    """Depthwise causal convolution, nothing else."""

    fast = staticmethod(causal_taps)

    def __init__(self, d_model: int, depth: int, d_conv: int = 7):
        super().__init__()
        self.conv1d = nn.Conv1d(d_model, d_model, d_conv, groups=d_model)

    def forward(self, x: Tensor, norm: Tensor, context: Context) -> Tensor:
        h = rms_norm(x, norm)
        return Conv.fast(h, self.conv1d.weight, self.conv1d.bias, context.same)


class Mlp(nn.Module):
    """down(gelu(up(x))), the tanh form of gelu."""

    def __init__(self, d_model: int, depth: int, d_ff: int, activation: str = "gelu_tanh"):
        super().__init__()
        self.up, self.down = nn.Linear(d_model, d_ff), nn.Linear(d_ff, d_model)
        nn.init.normal_(self.down.weight, std=(2 * d_ff * depth) ** -0.5)
        nn.init.zeros_(self.down.bias)

    def forward(self, x: Tensor, norm: Tensor, context: Context) -> Tensor:
        return self.down(F.gelu(self.up(rms_norm(x, norm)), approximate="tanh")).float()


MIXERS = {"mamba2": Mamba2, "attention": Attention, "conv": Conv, "mlp": Mlp}


class Block(nn.Module):
    def __init__(self, d_model: int, depth: int, config: dict):
        super().__init__()
        config = dict(config)
        self.norm = nn.Module()
        self.norm.weight = nn.Parameter(torch.ones(d_model))
        self.mixer = MIXERS[config.pop("type")](d_model, depth, **config)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return x + self.mixer(x, self.norm.weight, context)


class Stack(nn.Module):
    """(batch, length, d_model) to the same, normed."""

    def __init__(self, config: dict):
        super().__init__()
        blocks = config["blocks"]
        self.blocks = nn.ModuleList(Block(config["d_model"], len(blocks), block) for block in blocks)
        self.norm = nn.Module()
        self.norm.weight = nn.Parameter(torch.ones(config["d_model"]))

    def forward(self, x: Tensor, context: Context) -> Tensor:
        for block in self.blocks:
            x = block(x, context)
        return rms_norm(x, self.norm.weight)
