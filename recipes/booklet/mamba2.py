"""Mamba-2 as `transformers` computes it (Mamba2ForCausalLM, n_groups = 1, tied embeddings).

Weights live in a plain dict under the names the checkpoint will have, so that
exporting is writing the dict to a file.  The forward pass takes and returns
the carry (convolution tail and scan state of every layer): training, evaluation
and sampling all stream through the same function.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ssd import ssd

EPSILON = 1e-5
# Only there to keep config.json free of the non-JSON word Infinity: softplus of
# a plausible projection never comes near it.
TIME_STEP_LIMIT = 1e6


@dataclass(frozen=True)
class Mamba2Dims:
    vocab: int
    d_model: int
    layers: int
    d_state: int
    headdim: int
    d_conv: int = 4
    chunk: int = 64

    @property
    def d_inner(self) -> int:
        return 2 * self.d_model

    @property
    def heads(self) -> int:
        return self.d_inner // self.headdim

    @property
    def conv_dim(self) -> int:
        return self.d_inner + 2 * self.d_state

    @property
    def state_bytes(self) -> int:
        per_layer = self.d_inner * self.d_state + self.conv_dim * (self.d_conv - 1)
        return 4 * self.layers * per_layer


Carry = list[tuple[Tensor, Tensor]]
EMBEDDING = "backbone.embeddings.weight"
FINAL_NORM = "backbone.norm_f.weight"
LAYER_PARTS = (
    "norm.weight", "mixer.in_proj.weight", "mixer.conv1d.weight", "mixer.conv1d.bias",
    "mixer.dt_bias", "mixer.A_log", "mixer.D", "mixer.norm.weight", "mixer.out_proj.weight",
)


def initial_weights(dims: Mamba2Dims, generator: torch.Generator) -> dict[str, Tensor]:
    """Fresh float32 weights. The last projection of each block starts small, so
    that the residual stream of a deep stack starts near the embedding."""
    def normal(*shape: int, std: float) -> Tensor:
        return torch.randn(*shape, generator=generator) * std

    def uniform(*shape: int, low: float, high: float) -> Tensor:
        return torch.rand(*shape, generator=generator) * (high - low) + low

    d, inner, heads = dims.d_model, dims.d_inner, dims.heads
    weights = {EMBEDDING: normal(dims.vocab, d, std=0.02)}
    for layer in range(dims.layers):
        dt = torch.exp(uniform(heads, low=math.log(1e-3), high=math.log(1e-1)))
        limit = 1 / math.sqrt(dims.d_conv)
        parts = {
            "norm.weight": torch.ones(d),
            "mixer.in_proj.weight": normal(inner + dims.conv_dim + heads, d, std=d**-0.5),
            "mixer.conv1d.weight": uniform(dims.conv_dim, 1, dims.d_conv, low=-limit, high=limit),
            "mixer.conv1d.bias": torch.zeros(dims.conv_dim),
            "mixer.dt_bias": dt + torch.log(-torch.expm1(-dt)),  # softplus of this is dt
            "mixer.A_log": torch.log(uniform(heads, low=1.0, high=16.0)),
            "mixer.D": torch.ones(heads),
            "mixer.norm.weight": torch.ones(inner),
            "mixer.out_proj.weight": normal(d, inner, std=(inner * 2 * dims.layers) ** -0.5),
        }
        weights.update({f"backbone.layers.{layer}.{part}": parts[part] for part in LAYER_PARTS})
    weights[FINAL_NORM] = torch.ones(d)
    return weights


def row_groups(name: str, dims: Mamba2Dims) -> list[int] | None:
    """How many rows of a matrix belong to each independent map, for the optimiser;
    None for everything that is not a linear layer's matrix."""
    if name.endswith("in_proj.weight"):
        return [dims.d_inner, dims.d_inner, dims.d_state, dims.d_state, dims.heads]
    if name.endswith("out_proj.weight"):
        return [dims.d_model]
    return None


def empty_carry(dims: Mamba2Dims, batch: int, device: torch.device | str = "cpu") -> Carry:
    return [
        (
            torch.zeros(batch, dims.d_conv - 1, dims.conv_dim, device=device),
            torch.zeros(batch, dims.heads, dims.headdim, dims.d_state, device=device),
        )
        for _ in range(dims.layers)
    ]


def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    x = x.float()
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPSILON) * weight


def block(x: Tensor, tail: Tensor, state: Tensor, parts: tuple[Tensor, ...], dims: Mamba2Dims):
    """One residual block over (batch, length, d_model); the matrices' type is the
    type of the large products. Returns x, the new convolution tail, the new state."""
    norm, in_proj, conv, conv_bias, dt_bias, A_log, D, gate_norm, out_proj = parts
    kind = in_proj.dtype
    batch, length, _ = x.shape
    h = rms_norm(x, norm).to(kind)
    # One matrix on disk, four maps in use: kept apart, their gradients need no joining.
    widths = [dims.d_inner, dims.d_inner, 2 * dims.d_state, dims.heads]
    gate, inner, BC, dt = (h @ rows.T for rows in in_proj.split(widths))

    wide = [dims.d_inner, 2 * dims.d_state]
    convolved, tails = [], []
    for u, past, taps, bias in zip((inner, BC), tail.split(wide, -1), conv.split(wide), conv_bias.split(wide)):
        past = torch.cat([past.to(kind), u], dim=1)
        mixed = bias
        for k in range(dims.d_conv):
            mixed = mixed + past[:, k : k + length] * taps[:, 0, k]
        convolved.append(F.silu(mixed).to(kind))
        tails.append(past[:, length:].float())

    inner, (B, C) = convolved[0], convolved[1].chunk(2, dim=-1)
    inner = inner.reshape(batch, length, dims.heads, dims.headdim)
    dt = F.softplus(dt.float() + dt_bias).clamp(max=TIME_STEP_LIMIT)
    chunk = min(dims.chunk, length)
    y, state = ssd(inner, dt, -torch.exp(A_log), B, C, state, chunk)
    y = y.float() + inner.float() * D[:, None]
    y = y.reshape(batch, length, dims.d_inner)
    y = rms_norm(y * F.silu(gate.float()), gate_norm).to(kind)
    return x + (y @ out_proj.T).float(), torch.cat(tails, dim=-1), state


def hidden(weights: dict[str, Tensor], tokens: Tensor, carry: Carry, dims: Mamba2Dims, block=block):
    """Final normed hidden states (batch, length, d_model) and the carry after them.
    `block` may be a compiled stand-in for the function above."""
    x = F.embedding(tokens, weights[EMBEDDING]).float()
    after = []
    for layer, (tail, state) in enumerate(carry):
        parts = tuple(weights[f"backbone.layers.{layer}.{part}"] for part in LAYER_PARTS)
        x, tail, state = block(x, tail, state, parts, dims)
        after.append((tail, state))
    return rms_norm(x, weights[FINAL_NORM]), after


def huggingface_config(dims: Mamba2Dims) -> dict:
    return {
        "architectures": ["Mamba2ForCausalLM"],
        "model_type": "mamba2",
        "vocab_size": dims.vocab,
        "hidden_size": dims.d_model,
        "num_hidden_layers": dims.layers,
        "state_size": dims.d_state,
        "head_dim": dims.headdim,
        "num_heads": dims.heads,
        "n_groups": 1,
        "expand": 2,
        "conv_kernel": dims.d_conv,
        "chunk_size": dims.chunk,
        "hidden_act": "silu",
        "use_bias": False,
        "use_conv_bias": True,
        "residual_in_fp32": True,
        "layer_norm_epsilon": EPSILON,
        "time_step_limit": [0.0, TIME_STEP_LIMIT],
        "initializer_range": 0.02,
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
        "use_cache": True,
        "dtype": "float32",
    }
