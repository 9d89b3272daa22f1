"""The twin: a Llama-style transformer (RoPE, SwiGLU, RMSNorm, tied embeddings) of the
same size, trained on the same tokens by the same optimiser, so that the Mamba-2
figure has something honest to stand beside.  Computes what `transformers` computes
for LlamaForCausalLM."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mamba2 import EPSILON, rms_norm


@dataclass(frozen=True)
class LlamaDims:
    vocab: int
    d_model: int
    layers: int
    heads: int
    d_mlp: int
    theta: float = 10000.0

    @property
    def headdim(self) -> int:
        return self.d_model // self.heads

    @property
    def state_bytes(self) -> int:
        """Bytes of key-value cache per token of context, in float32."""
        return 4 * 2 * self.layers * self.d_model


EMBEDDING = "model.embed_tokens.weight"
FINAL_NORM = "model.norm.weight"
LAYER_PARTS = (
    "input_layernorm.weight", "self_attn.q_proj.weight", "self_attn.k_proj.weight",
    "self_attn.v_proj.weight", "self_attn.o_proj.weight", "post_attention_layernorm.weight",
    "mlp.gate_proj.weight", "mlp.up_proj.weight", "mlp.down_proj.weight",
)


def initial_weights(dims: LlamaDims, generator: torch.Generator) -> dict[str, Tensor]:
    def normal(*shape: int, std: float) -> Tensor:
        return torch.randn(*shape, generator=generator) * std

    d, wide, depth = dims.d_model, dims.d_mlp, (2 * dims.layers) ** -0.5
    weights = {EMBEDDING: normal(dims.vocab, d, std=0.02)}
    for layer in range(dims.layers):
        parts = {
            "input_layernorm.weight": torch.ones(d),
            "self_attn.q_proj.weight": normal(d, d, std=d**-0.5),
            "self_attn.k_proj.weight": normal(d, d, std=d**-0.5),
            "self_attn.v_proj.weight": normal(d, d, std=d**-0.5),
            "self_attn.o_proj.weight": normal(d, d, std=d**-0.5 * depth),
            "post_attention_layernorm.weight": torch.ones(d),
            "mlp.gate_proj.weight": normal(wide, d, std=d**-0.5),
            "mlp.up_proj.weight": normal(wide, d, std=d**-0.5),
            "mlp.down_proj.weight": normal(d, wide, std=wide**-0.5 * depth),
        }
        weights.update({f"model.layers.{layer}.{part}": parts[part] for part in LAYER_PARTS})
    weights[FINAL_NORM] = torch.ones(d)
    return weights


def row_groups(name: str, dims: LlamaDims) -> list[int] | None:
    if not name.endswith("_proj.weight"):
        return None
    return [dims.d_mlp if "gate" in name or "up" in name else dims.d_model]


def rotary(length: int, dims: LlamaDims, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines (length, headdim), each half of the head turning alike."""
    steps = torch.arange(0, dims.headdim, 2, device=device, dtype=torch.float32)
    angles = torch.arange(length, device=device, dtype=torch.float32)[:, None] * dims.theta ** (-steps / dims.headdim)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    low, high = x.float().chunk(2, dim=-1)
    return x.float() * cos + torch.cat([-high, low], dim=-1) * sin


def block(x: Tensor, cos: Tensor, sin: Tensor, parts: tuple[Tensor, ...], dims: LlamaDims) -> Tensor:
    norm, q, k, v, o, mlp_norm, gate, up, down = parts
    kind = q.dtype
    batch, length, d = x.shape

    def split(matrix: Tensor) -> Tensor:
        return (h @ matrix.T).reshape(batch, length, dims.heads, dims.headdim).transpose(1, 2)

    h = rms_norm(x, norm).to(kind)
    q, k, v = turn(split(q), cos, sin).to(kind), turn(split(k), cos, sin).to(kind), split(v)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    x = x + (y.transpose(1, 2).reshape(batch, length, d) @ o.T).float()
    h = rms_norm(x, mlp_norm).to(kind)
    y = (F.silu((h @ gate.T).float()) * (h @ up.T).float()).to(kind)
    return x + (y @ down.T).float()


def hidden(weights: dict[str, Tensor], tokens: Tensor, dims: LlamaDims, block=block) -> Tensor:
    x = F.embedding(tokens, weights[EMBEDDING]).float()
    cos, sin = rotary(tokens.shape[1], dims, tokens.device)
    for layer in range(dims.layers):
        parts = tuple(weights[f"model.layers.{layer}.{part}"] for part in LAYER_PARTS)
        x = block(x, cos, sin, parts, dims)
    return rms_norm(x, weights[FINAL_NORM])


def huggingface_config(dims: LlamaDims) -> dict:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": dims.vocab,
        "hidden_size": dims.d_model,
        "intermediate_size": dims.d_mlp,
        "num_hidden_layers": dims.layers,
        "num_attention_heads": dims.heads,
        "num_key_value_heads": dims.heads,
        "head_dim": dims.headdim,
        "hidden_act": "silu",
        "max_position_embeddings": 1024,
        "rms_norm_eps": EPSILON,
        "rope_parameters": {"rope_type": "default", "rope_theta": dims.theta},
        "rope_theta": dims.theta,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
        "use_cache": True,
        "dtype": "float32",
    }
