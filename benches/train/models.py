"""Mamba-2, Mamba-1 and Llama as `transformers` computes them, written to train fast on a CPU.

A model is a dict of float32 weights under the checkpoint's names and a function from tokens
to final hidden states.  Every block is one function of tensors, so that `torch.compile`
sees a whole block; all blocks of a model share one compiled form.

`Choice` holds what can be written in more than one way.  Its defaults are what won when the
ways were timed against each other in turns (`tune.py`).
"""

import dataclasses
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

import chunked
import scan


@dataclass(frozen=True)
class Choice:
    """How a model is written. Every combination computes the same function."""

    compile: bool = True
    mode: str = "default"  # of torch.compile
    conv: str = "shift"  # "shift": one shifted product a tap; "conv1d": F.conv1d
    projection: str = "one"  # Mamba-2's in_proj as "one" product or "four"
    ssd: str = "matmul"  # or "einsum", or "recipe": recipes/common/ssd.py as it is
    inside: str = "kept"
    between: str = "loop"
    chunk: int = 64
    scan: str = "rows"  # "rows", "unrolled", "associative"
    piece: int = 8
    loss: str = "fused"  # or "plain"
    adamw: str = "fused"  # or "foreach"


def choice_from(settings: list[str]) -> Choice:
    """`Choice` with `key=value` settings changed."""
    changes, kinds = {}, {field.name: field.type for field in dataclasses.fields(Choice)}
    for setting in settings:
        key, _, value = setting.partition("=")
        if key not in kinds:
            raise SystemExit(f"no choice called '{key}': use one of {', '.join(kinds)}")
        changes[key] = {bool: value not in ("0", "no", "false"), int: value, str: value}[kinds[key]]
        if kinds[key] is int:
            changes[key] = int(value)
    return Choice(**changes)


# --- pieces --------------------------------------------------------------------------


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight


def causal_conv(x: Tensor, taps: Tensor, bias: Tensor, kind: str) -> Tensor:
    """Depthwise convolution of x (batch, length, channels); the last tap meets the newest row."""
    width, length = taps.shape[-1], x.shape[1]
    if kind == "conv1d":
        return F.conv1d(x.transpose(1, 2), taps, bias, padding=width - 1, groups=len(taps))[..., :length].transpose(1, 2)
    past = F.pad(x, (0, 0, width - 1, 0))
    mixed = bias
    for k in range(width):
        mixed = mixed + past[:, k : k + length] * taps[:, 0, k]
    return mixed


def dividing(wanted: int, length: int) -> int:
    """The largest number up to `wanted` that divides `length`."""
    return next(size for size in range(min(wanted, length), 0, -1) if length % size == 0)


# --- blocks --------------------------------------------------------------------------


class Mamba2:
    parts = (
        "norm.weight", "mixer.in_proj.weight", "mixer.conv1d.weight", "mixer.conv1d.bias", "mixer.dt_bias",
        "mixer.A_log", "mixer.D", "mixer.norm.weight", "mixer.out_proj.weight",
    )
    layer, embedding, final = "backbone.layers", "backbone.embeddings.weight", "backbone.norm_f.weight"

    def __init__(self, config: dict, choice: Choice):
        if config["n_groups"] != 1:
            raise SystemExit("the rival is written for one group of B and C")
        self.choice, self.eps = choice, config["layer_norm_epsilon"]
        self.d, self.heads, self.headdim = config["hidden_size"], config["num_heads"], config["head_dim"]
        self.inner, self.state = self.heads * self.headdim, config["state_size"]
        self.taps, self.layers = config["conv_kernel"], config["num_hidden_layers"]
        self.limit = config.get("time_step_limit", (0.0, math.inf))[1]

    def fresh(self, random) -> dict[str, Tensor]:
        wide = self.inner + 2 * self.state
        dt = torch.exp(random.uniform(self.heads, low=math.log(1e-3), high=math.log(1e-1)))
        limit = self.taps**-0.5
        return dict(zip(self.parts, (
            torch.ones(self.d),
            random.normal(self.inner + wide + self.heads, self.d, std=self.d**-0.5),
            random.uniform(wide, 1, self.taps, low=-limit, high=limit),
            torch.zeros(wide),
            dt + torch.log(-torch.expm1(-dt)),
            torch.log(random.uniform(self.heads, low=1.0, high=16.0)),
            torch.ones(self.heads),
            torch.ones(self.inner),
            random.normal(self.d, self.inner, std=(self.inner * 2 * self.layers) ** -0.5),
        )))

    def shared(self, length: int) -> tuple[Tensor, ...]:
        return ()

    def block(self, x, norm, in_proj, taps, bias, dt_bias, A_log, D, gate_norm, out_proj):
        choice, (batch, length, _) = self.choice, x.shape
        h = rms_norm(x, norm, self.eps)
        widths = [self.inner, self.inner, 2 * self.state, self.heads]
        if choice.projection == "four":
            # One matrix on disk, four maps in use: apart, their gradients need no joining.
            z, inner, BC, dt = (h @ rows.T for rows in in_proj.split(widths))
            wide = widths[1:3]
            pieces = zip((inner, BC), taps.split(wide), bias.split(wide))
            inner, BC = (F.silu(causal_conv(u, t, b, choice.conv)) for u, t, b in pieces)
        else:
            z, xBC, dt = (h @ in_proj.T).split([widths[0], widths[1] + widths[2], widths[3]], dim=-1)
            inner, BC = F.silu(causal_conv(xBC, taps, bias, choice.conv)).split(widths[1:3], dim=-1)
        B, C = BC.chunk(2, dim=-1)
        inner = inner.reshape(batch, length, self.heads, self.headdim)
        dt = F.softplus(dt + dt_bias).clamp(max=self.limit)
        y = self.scan(inner, dt, -torch.exp(A_log), B, C) + inner * D[:, None]
        y = rms_norm(y.reshape(batch, length, self.inner) * F.silu(z), gate_norm, self.eps)
        return x + y @ out_proj.T

    def scan(self, x, dt, A, B, C):
        choice, chunk = self.choice, dividing(self.choice.chunk, x.shape[1])
        if choice.ssd == "einsum":
            return chunked.ssd_einsum(x, dt, A, B, C, chunk)
        if choice.ssd == "recipe":
            empty = x.new_zeros(x.shape[0], self.heads, self.headdim, self.state)
            return chunked.recipe_ssd(x, dt, A, B, C, empty, chunk)[0]
        return chunked.ssd(x, dt, A, B, C, chunk, choice.inside, choice.between)


class Mamba:
    parts = (
        "norm.weight", "mixer.in_proj.weight", "mixer.conv1d.weight", "mixer.conv1d.bias", "mixer.x_proj.weight",
        "mixer.dt_proj.weight", "mixer.dt_proj.bias", "mixer.A_log", "mixer.D", "mixer.out_proj.weight",
    )
    layer, embedding, final = Mamba2.layer, Mamba2.embedding, Mamba2.final

    def __init__(self, config: dict, choice: Choice):
        self.choice, self.eps = choice, config["layer_norm_epsilon"]
        self.d, self.inner, self.state = config["hidden_size"], config["intermediate_size"], config["state_size"]
        self.rank, self.taps, self.layers = config["time_step_rank"], config["conv_kernel"], config["num_hidden_layers"]

    def fresh(self, random) -> dict[str, Tensor]:
        dt = torch.exp(random.uniform(self.inner, low=math.log(1e-3), high=math.log(1e-1)))
        limit = self.taps**-0.5
        return dict(zip(self.parts, (
            torch.ones(self.d),
            random.normal(2 * self.inner, self.d, std=self.d**-0.5),
            random.uniform(self.inner, 1, self.taps, low=-limit, high=limit),
            torch.zeros(self.inner),
            random.normal(self.rank + 2 * self.state, self.inner, std=self.inner**-0.5),
            random.uniform(self.inner, self.rank, low=-(self.rank**-0.5), high=self.rank**-0.5),
            dt + torch.log(-torch.expm1(-dt)),
            torch.log(torch.arange(1.0, self.state + 1).repeat(self.inner, 1)),
            torch.ones(self.inner),
            random.normal(self.d, self.inner, std=(self.inner * 2 * self.layers) ** -0.5),
        )))

    def shared(self, length: int) -> tuple[Tensor, ...]:
        return ()

    def block(self, x, norm, in_proj, taps, bias, x_proj, dt_proj, dt_bias, A_log, D, out_proj):
        choice = self.choice
        h = rms_norm(x, norm, self.eps)
        inner, z = (h @ rows.T for rows in in_proj.split(self.inner))
        inner = F.silu(causal_conv(inner, taps, bias, choice.conv))
        low, B, C = (inner @ rows.T for rows in x_proj.split([self.rank, self.state, self.state]))
        dt = F.softplus(low @ dt_proj.T + dt_bias)
        A = -torch.exp(A_log)
        if choice.scan == "associative":
            y = scan.associative(inner, dt, A, B, C)
        else:
            piece = dividing(choice.piece, x.shape[1])
            y = scan.selective_scan(inner, dt, A, B, C, piece, choice.scan, choice.compile)
        y = (y + D * inner) * F.silu(z)
        return x + y @ out_proj.T


class Llama:
    parts = (
        "input_layernorm.weight", "self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight",
        "self_attn.o_proj.weight", "post_attention_layernorm.weight", "mlp.gate_proj.weight", "mlp.up_proj.weight",
        "mlp.down_proj.weight",
    )
    layer, embedding, final = "model.layers", "model.embed_tokens.weight", "model.norm.weight"

    def __init__(self, config: dict, choice: Choice):
        self.choice, self.eps, self.theta = choice, config["rms_norm_eps"], config["rope_theta"]
        self.d, self.wide, self.layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
        self.heads, self.kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
        self.headdim = config["head_dim"]

    def fresh(self, random) -> dict[str, Tensor]:
        d, q, kv, depth = self.d, self.heads * self.headdim, self.kv_heads * self.headdim, (2 * self.layers) ** -0.5
        return dict(zip(self.parts, (
            torch.ones(d),
            random.normal(q, d, std=d**-0.5),
            random.normal(kv, d, std=d**-0.5),
            random.normal(kv, d, std=d**-0.5),
            random.normal(d, q, std=q**-0.5 * depth),
            torch.ones(d),
            random.normal(self.wide, d, std=d**-0.5),
            random.normal(self.wide, d, std=d**-0.5),
            random.normal(d, self.wide, std=self.wide**-0.5 * depth),
        )))

    def shared(self, length: int) -> tuple[Tensor, ...]:
        """Cosines and sines of every position, the same for all layers."""
        steps = torch.arange(0, self.headdim, 2, dtype=torch.float64)
        angles = torch.arange(length, dtype=torch.float64)[:, None] * self.theta ** (-steps / self.headdim)
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos().float(), angles.sin().float()

    def block(self, x, cos, sin, norm, q, k, v, o, mlp_norm, gate, up, down):
        batch, length, _ = x.shape
        h = rms_norm(x, norm, self.eps)
        q, k, v = ((h @ m.T).reshape(batch, length, -1, self.headdim).transpose(1, 2) for m in (q, k, v))
        q, k = self.turn(q, cos, sin), self.turn(k, cos, sin)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.heads != self.kv_heads)
        x = x + y.transpose(1, 2).reshape(batch, length, -1) @ o.T
        h = rms_norm(x, mlp_norm, self.eps)
        return x + (F.silu(h @ gate.T) * (h @ up.T)) @ down.T

    @staticmethod
    def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        low, high = x.chunk(2, dim=-1)
        return x * cos + torch.cat([-high, low], dim=-1) * sin


# --- a whole model -------------------------------------------------------------------


class Random:
    def __init__(self, seed: int):
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int, std: float) -> Tensor:
        return torch.randn(*shape, generator=self.generator) * std

    def uniform(self, *shape: int, low: float, high: float) -> Tensor:
        return torch.rand(*shape, generator=self.generator) * (high - low) + low


KINDS = {"mamba2": Mamba2, "mamba": Mamba, "llama": Llama}


class Model:
    """Weights and forward pass of one config."""

    def __init__(self, config: dict, choice: Choice, seed: int = 1):
        if not config["tie_word_embeddings"]:
            raise SystemExit("the rival ties its head to the embedding")
        self.kind = KINDS[config["model_type"]](config, choice)
        self.vocab = config["vocab_size"]
        random = Random(seed)
        self.weights = {self.kind.embedding: random.normal(self.vocab, config["hidden_size"], std=0.02)}
        for i in range(config["num_hidden_layers"]):
            fresh = self.kind.fresh(random)
            self.weights.update({f"{self.kind.layer}.{i}.{name}": value for name, value in fresh.items()})
        self.weights[self.kind.final] = torch.ones(config["hidden_size"])
        self.block = self.kind.block
        if choice.compile:
            self.block = torch.compile(self.kind.block, dynamic=False, mode=choice.mode)
        self.constants: dict[int, tuple[Tensor, ...]] = {}

    def hidden(self, tokens: Tensor) -> Tensor:
        """Final normed hidden states (batch, length, d_model)."""
        length = tokens.shape[1]
        if length not in self.constants:
            self.constants[length] = self.kind.shared(length)
        x = F.embedding(tokens, self.weights[self.kind.embedding])
        for i in range(self.kind.layers):
            parts = (self.weights[f"{self.kind.layer}.{i}.{part}"] for part in self.kind.parts)
            x = self.block(x, *self.constants[length], *parts)
        return rms_norm(x, self.weights[self.kind.final], self.kind.eps)

    def head(self) -> Tensor:
        return self.weights[self.kind.embedding]
