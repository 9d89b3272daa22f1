"""Random-weight checkpoints of the published Mamba sizes, as Hugging Face folders.

Speed does not depend on what the weights say, so random ones will do, as long
as they are drawn the way the authors initialise them: step sizes between 0.001
and 0.1 and decays between 1 and 16. Then the state neither dies nor blows up,
and no denormal numbers flatter or spoil a timing.

    python benches/checkpoints.py [name ...]
"""

import json
import math
import os
import shutil
import sys
from dataclasses import dataclass

import numpy as np
import torch
from safetensors.torch import save_file

from workspace import HF, neox_tokenizer, say

# The GPT-NeoX vocabulary padded to a multiple of 16, as published for Mamba-2.
VOCAB = 50_288
D_CONV = 4
EXPAND = 2
HEADDIM = 64
DT_RANGE = (0.001, 0.1)


@dataclass(frozen=True)
class Size:
    """The numbers that tell one published checkpoint from another."""

    kind: str
    d_model: int
    layers: int
    d_state: int

    @property
    def d_inner(self):
        return EXPAND * self.d_model


SIZES = {
    "mamba-130m": Size("mamba", 768, 24, 16),
    "mamba2-130m": Size("mamba2", 768, 24, 128),
    "mamba2-370m": Size("mamba2", 1024, 48, 128),
}


class Draw:
    """Random tensors; matrices in bf16, the few numbers that steer time in f32."""

    def __init__(self, seed):
        self.random = np.random.Generator(np.random.PCG64(seed))

    def normal(self, shape, deviation):
        values = self.random.standard_normal(shape, dtype=np.float32) * np.float32(deviation)
        return torch.from_numpy(values).to(torch.bfloat16)

    def uniform(self, shape, low, high):
        values = self.random.random(shape, dtype=np.float32) * np.float32(high - low) + np.float32(low)
        return torch.from_numpy(values)

    def linear(self, rows, columns, scale=1.0):
        bound = scale / math.sqrt(columns)
        return self.uniform((rows, columns), -bound, bound).to(torch.bfloat16)

    def norm(self, width):
        return self.uniform((width,), 0.8, 1.2).to(torch.bfloat16)

    def dt_bias(self, width):
        """The bias whose softplus is log-uniform over DT_RANGE."""
        low, high = (math.log(edge) for edge in DT_RANGE)
        dt = torch.exp(self.uniform((width,), low, high))
        return dt + torch.log(-torch.expm1(-dt))


def mamba_mixer(size, draw):
    dt_rank = math.ceil(size.d_model / 16)
    ladder = torch.arange(1, size.d_state + 1, dtype=torch.float32)
    return {
        "A_log": torch.log(ladder).repeat(size.d_inner, 1),
        "D": torch.ones(size.d_inner),
        "conv1d.weight": draw.uniform((size.d_inner, 1, D_CONV), -0.5, 0.5).to(torch.bfloat16),
        "conv1d.bias": draw.uniform((size.d_inner,), -0.5, 0.5).to(torch.bfloat16),
        "in_proj.weight": draw.linear(2 * size.d_inner, size.d_model),
        "x_proj.weight": draw.linear(dt_rank + 2 * size.d_state, size.d_inner),
        "dt_proj.weight": draw.linear(size.d_inner, dt_rank),
        "dt_proj.bias": draw.dt_bias(size.d_inner),
        "out_proj.weight": draw.linear(size.d_model, size.d_inner, 1 / math.sqrt(size.layers)),
    }


def mamba2_mixer(size, draw):
    heads = size.d_inner // HEADDIM
    channels = size.d_inner + 2 * size.d_state
    return {
        "A_log": torch.log(draw.uniform((heads,), 1.0, 16.0)),
        "D": torch.ones(heads),
        "dt_bias": draw.dt_bias(heads),
        "conv1d.weight": draw.uniform((channels, 1, D_CONV), -0.5, 0.5).to(torch.bfloat16),
        "conv1d.bias": draw.uniform((channels,), -0.5, 0.5).to(torch.bfloat16),
        "in_proj.weight": draw.linear(size.d_inner + channels + heads, size.d_model),
        "norm.weight": draw.norm(size.d_inner),
        "out_proj.weight": draw.linear(size.d_model, size.d_inner, 1 / math.sqrt(size.layers)),
    }


def config(size):
    """config.json as the published checkpoints have it."""
    shared = {
        "model_type": size.kind,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
        "conv_kernel": D_CONV,
        "expand": EXPAND,
        "hidden_act": "silu",
        "hidden_size": size.d_model,
        "intermediate_size": size.d_inner,
        "layer_norm_epsilon": 1e-5,
        "num_hidden_layers": size.layers,
        "rescale_prenorm_residual": False,
        "residual_in_fp32": True,
        "state_size": size.d_state,
        "tie_word_embeddings": True,
        "time_step_floor": 1e-4,
        "time_step_max": DT_RANGE[1],
        "time_step_min": DT_RANGE[0],
        "time_step_rank": math.ceil(size.d_model / 16),
        "torch_dtype": "bfloat16",
        "use_bias": False,
        "use_cache": True,
        "use_conv_bias": True,
        "vocab_size": VOCAB,
    }
    if size.kind == "mamba":
        return {"architectures": ["MambaForCausalLM"], **shared}
    return {
        "architectures": ["Mamba2ForCausalLM"],
        **shared,
        "chunk_size": 256,
        "head_dim": HEADDIM,
        "n_groups": 1,
        "norm_before_gate": True,
        "num_heads": size.d_inner // HEADDIM,
        "rms_norm": True,
    }


def weights(size, seed):
    draw = Draw(seed)
    mixer = mamba_mixer if size.kind == "mamba" else mamba2_mixer
    tensors = {"backbone.embeddings.weight": draw.normal((VOCAB, size.d_model), 0.02)}
    for layer in range(size.layers):
        tensors[f"backbone.layers.{layer}.norm.weight"] = draw.norm(size.d_model)
        for name, tensor in mixer(size, draw).items():
            tensors[f"backbone.layers.{layer}.mixer.{name}"] = tensor.contiguous()
    tensors["backbone.norm_f.weight"] = draw.norm(size.d_model)
    return tensors


def checkpoint(name):
    """The folder of checkpoint `name`, made first if it is not there yet."""
    size = SIZES[name]
    folder = HF / name
    if (folder / "model.safetensors").exists():
        return folder
    say(f"drawing {name}")
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|endoftext|>",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "model_max_length": 1_000_000,
    }
    shutil.copyfile(neox_tokenizer(), folder / "tokenizer.json")
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config, indent=2) + "\n")
    (folder / "config.json").write_text(json.dumps(config(size), indent=2) + "\n")
    unfinished = folder / "model.safetensors.part"
    save_file(weights(size, seed=len(name) * 1000 + size.layers), unfinished, metadata={"format": "pt"})
    os.replace(unfinished, folder / "model.safetensors")
    return folder


if __name__ == "__main__":
    for wanted in sys.argv[1:] or SIZES:
        if wanted not in SIZES:
            raise SystemExit(f"no checkpoint called {wanted}; there are {', '.join(SIZES)}")
        print(checkpoint(wanted))
