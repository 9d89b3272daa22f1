"""The models whose gradients are kept: small ones of every kind the trainer knows.

The configs are those of the suite's own cases (`../cases.py`) with a few sizes changed, so
that a checkpoint stays below 150 kB.  Sizes are odd on purpose, and no sequence length is a
multiple of a chunk.
"""

import copy
import zlib
from dataclasses import dataclass, field

import cases  # of the suite: ../cases.py



@dataclass
class TrainCase:
    """What `../generate.py` and `../weights.py` want to know of a case, and a note."""

    name: str
    config: dict
    notes: str
    wrapped_infinity: bool = False
    skip_tied_head: bool = True
    seed: int = 0
    extra: dict = field(default_factory=dict)


# name: (case of the suite it starts from, what differs, note)
CHANGES = {
    "mamba": (
        "mamba",
        dict(hidden_size=32, intermediate_size=64, time_step_rank=3, vocab_size=97),
        "tied head, rank 3",
    ),
    "mamba-variant": (
        "mamba-variant",
        dict(hidden_size=32, intermediate_size=64, state_size=9, vocab_size=96),
        "untied, projection biases, no conv bias, 3 taps, d_state 9",
    ),
    "mamba2-g1": (
        "mamba2-g1",
        dict(num_heads=4, head_dim=16, state_size=16, chunk_size=16, vocab_size=97),
        "1 group, headdim 16, untied; the lengths end inside a chunk of 16",
    ),
    "mamba2-g2": (
        "mamba2-headdim32",
        dict(state_size=20, chunk_size=8, use_conv_bias=True, conv_kernel=4, vocab_size=96, tie_word_embeddings=True),
        "2 groups, headdim 32, d_state 20, tied; chunks of 8",
    ),
    "mamba2-g2-biases": (
        "mamba2-g2",
        dict(num_heads=4, head_dim=16, state_size=12, use_bias=True, use_conv_bias=False, conv_kernel=3, vocab_size=95),
        "2 groups of 2 heads, projection biases, no conv bias, 3 taps; one chunk of 64 that is never full",
    ),
    "llama": (
        "llama",
        dict(hidden_size=32, intermediate_size=56, vocab_size=97),
        "4 heads over 2, untied",
    ),
    "llama-tied": (
        "smollm2",
        dict(hidden_size=36, intermediate_size=60, vocab_size=96),
        "9 heads over 3, head_dim 4, tied",
    ),
    "mistral": (
        "mistral",
        dict(intermediate_size=56, sliding_window=11),
        "a window of 11 keys, shorter than both sequences",
    ),
    "qwen2": (
        "qwen2",
        dict(intermediate_size=56, vocab_size=97),
        "q, k, v biases, 5 heads over 1, tied",
    ),
    "nemotron-h": (
        "nemotron-h",
        dict(num_hidden_layers=4, hybrid_override_pattern="M-*M", intermediate_size=56, mamba_num_heads=4,
             mamba_head_dim=16, vocab_size=96, chunk_size=16),
        "pattern M-*M: Mamba-2 with 2 groups, squared relu, attention without positions; untied",
    ),
    "bamba": (
        "bamba",
        dict(num_hidden_layers=2, intermediate_size=48, vocab_size=96, mamba_chunk_size=16),
        "Mamba-2 with 2 groups, then attention with half-rotary positions; SwiGLU after both; untied",
    ),
    "granite": (
        "granite-nope",
        dict(num_hidden_layers=2, layer_types=["mamba", "attention"], shared_intermediate_size=48,
             intermediate_size=48, vocab_size=97, mamba_chunk_size=16),
        "dense granitemoehybrid: Mamba-2, then attention without positions; every multiplier set; tied",
    ),
}


def all_cases():
    known, out = {case.name: case for case in cases.all_cases()}, []
    for name, (base, changed, notes) in CHANGES.items():
        config = copy.deepcopy(known[base].config)
        config.update(changed)
        if name == "bamba":
            config["attn_layer_indices"] = [1]
        wrapped = name.startswith("mamba2")  # plain JSON where the format allows it
        out.append(TrainCase(name, config, notes, wrapped, seed=zlib.crc32(f"train/{name}".encode())))
    return out
