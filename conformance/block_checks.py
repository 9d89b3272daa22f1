"""Checks of single blocks against transformers, for what no whole transformers model covers.

Rene's layers and a Mamba-2 layer without its gated norm have no counterpart as a model, but
each of their blocks has one as a module: Mamba2Mixer, FalconH1Mixer (norm before the gate,
or none) and LlamaAttention with neutral rotary factors and a windowed mask.
"""

import numpy as np
import torch
from transformers import FalconH1Config, LlamaConfig, Mamba2Config
from transformers.masking_utils import sliding_window_overlay
from transformers.models.falcon_h1.modeling_falcon_h1 import FalconH1Mixer
from transformers.models.llama.modeling_llama import LlamaAttention
from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

from reference import gelu, mamba2, rene_attention
from weights import Filler

TIME, D_MODEL, HEADS, GROUPS, STATE = 150, 32, 8, 2, 16


def fill_module(module, prefix, seed):
    shapes = {f"{prefix}.{name}": tuple(p.shape) for name, p in module.state_dict().items() if "mup" not in name}
    drawn = Filler({"tie_word_embeddings": False}, seed).fill(shapes)
    tensors = {name.removeprefix(f"{prefix}."): value for name, value in drawn.items()}
    module.load_state_dict({name: torch.tensor(value) for name, value in tensors.items()}, strict=False)
    return {name: value.astype(np.float64) for name, value in tensors.items()}


def close(label, found, expected):
    worst = np.abs(found - expected).max() / np.abs(expected).max()
    if not worst < 2e-6:
        raise RuntimeError(f"{label}: reference and transformers differ by {worst:.1e}")


def check_mamba2(u, x):
    config = Mamba2Config(
        hidden_size=D_MODEL, num_heads=HEADS, head_dim=8, n_groups=GROUPS, state_size=STATE, chunk_size=64,
        num_hidden_layers=1,
    )
    mixer = Mamba2Mixer(config, layer_idx=0).eval()
    w = fill_module(mixer, "layer.mixer", 11)
    with torch.no_grad():
        close("Mamba2Mixer", mixer(x)[0].numpy(), mamba2(u, w, GROUPS, STATE, 1e-5))
    for gate, options in {
        "norm_before": dict(mamba_rms_norm=True, mamba_norm_before_gate=True),
        "norm_after": dict(mamba_rms_norm=True, mamba_norm_before_gate=False),
        "plain": dict(mamba_rms_norm=False),
    }.items():
        config = FalconH1Config(
            hidden_size=D_MODEL, mamba_d_ssm=64, mamba_n_heads=HEADS, mamba_n_groups=GROUPS, mamba_d_state=STATE,
            mamba_chunk_size=64, num_hidden_layers=1, **options,
        )
        mixer = FalconH1Mixer(config, layer_idx=0).eval()
        w = fill_module(mixer, "layer.mixer", 12)
        mixer.register_buffer("mup_vector", torch.ones(1, 1, mixer.in_proj.out_features), persistent=False)
        with torch.no_grad():
            close(f"FalconH1Mixer {gate}", mixer(x)[0].numpy(), mamba2(u, w, GROUPS, STATE, 1e-5, gate))


def check_attention(u, x):
    heads, kv_heads, dim, window = 4, 2, 10, 24
    config = LlamaConfig(
        hidden_size=D_MODEL, num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=dim, attention_bias=True,
        num_hidden_layers=1,
    )
    config._attn_implementation = "eager"
    module = LlamaAttention(config, layer_idx=0).eval()
    w = fill_module(module, "layer.self_attn", 13)
    packed = {
        f"in_proj.{leaf}": np.concatenate([w[f"{part}_proj.{leaf}"] for part in "qkv"]) for leaf in ("weight", "bias")
    }
    packed.update({f"out_proj.{leaf}": w[f"o_proj.{leaf}"] for leaf in ("weight", "bias")})
    inside = sliding_window_overlay(window)
    i, j = torch.meshgrid(torch.arange(TIME), torch.arange(TIME), indexing="ij")
    visible = (j <= i) & inside(0, 0, i, j)
    mask = torch.zeros(1, 1, TIME, TIME).masked_fill(~visible, torch.finfo(torch.float32).min)
    neutral = (torch.ones(1, TIME, dim), torch.zeros(1, TIME, dim))
    with torch.no_grad():
        found = module(x, position_embeddings=neutral, attention_mask=mask)[0][0].numpy()
    cfg = dict(num_heads=heads, num_heads_kv=kv_heads, head_dim=dim, sliding_window_length=window)
    close("LlamaAttention", found, rene_attention(u, packed, cfg, D_MODEL))


def check_blocks():
    u = np.random.default_rng(3).standard_normal((TIME, D_MODEL)).astype(np.float32)
    x = torch.tensor(u)[None]
    u = u.astype(np.float64)
    check_mamba2(u, x)
    check_attention(u, x)
    close("GELU", torch.nn.GELU()(x)[0].numpy(), gelu(u))
