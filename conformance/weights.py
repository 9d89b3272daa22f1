"""Random weights that make every part of a tiny model matter.

Each tensor draws from its own stream, keyed by the case's seed and the tensor's name, so
that adding a tensor or a case never changes another one.
"""

import zlib

import numpy as np

from reference import architecture_of


def original_shapes(config):
    """Tensor shapes of the layouts that transformers cannot instantiate."""
    d = config["d_model"]
    padding = config["pad_vocab_size_multiple"]
    vocab = -(-config["vocab_size"] // padding) * padding
    shapes = {"backbone.embedding.weight": (vocab, d), "backbone.norm_f.weight": (d,), "lm_head.weight": (vocab, d)}
    for i in range(config["n_layer"]):
        p = f"backbone.layers.{i}"
        shapes[f"{p}.norm.weight"] = (d,)
        for name, shape in mixer_shapes(config, i).items():
            shapes[f"{p}.mixer.{name}"] = shape
    return shapes


def mixer_shapes(config, layer):
    d, ssm = config["d_model"], config["ssm_cfg"]
    if layer in config.get("attn_layer_idx", []):
        return rene_attention_shapes(config["attn_cfg"], d)
    if layer in config.get("mlp_layer_idx", []):
        inner = round(config["mlp_cfg"].get("expand", 3) * d)
        shapes = {"in_proj.weight": (inner, d), "out_proj.weight": (d, inner)}
        if config["mlp_cfg"].get("bias", True):
            shapes.update({"in_proj.bias": (inner,), "out_proj.bias": (d,)})
        return shapes
    inner, taps = ssm.get("expand", 2) * d, ssm.get("d_conv", 4)
    if architecture_of(config) == "mamba":
        state, rank = ssm.get("d_state", 16), -(-d // 16)
        return {
            "in_proj.weight": (2 * inner, d),
            "conv1d.weight": (inner, 1, taps),
            "conv1d.bias": (inner,),
            "x_proj.weight": (rank + 2 * state, inner),
            "dt_proj.weight": (inner, rank),
            "dt_proj.bias": (inner,),
            "A_log": (inner, state),
            "D": (inner,),
            "out_proj.weight": (d, inner),
        }
    heads, wide = inner // ssm.get("headdim", 64), ssm.get("ngroups", 1) * ssm.get("d_state", 128)
    shapes = {
        "in_proj.weight": (2 * inner + 2 * wide + heads, d),
        "conv1d.weight": (inner + 2 * wide, 1, taps),
        "conv1d.bias": (inner + 2 * wide,),
        "dt_bias": (heads,),
        "A_log": (heads,),
        "D": (heads,),
        "out_proj.weight": (d, inner),
    }
    if ssm.get("rmsnorm", True):
        shapes["norm.weight"] = (inner,)
    return shapes


def rene_attention_shapes(cfg, d):
    heads = cfg["num_heads"]
    hd = cfg.get("head_dim") or d // heads
    rows = (heads + 2 * (cfg.get("num_heads_kv") or heads)) * hd
    shapes = {"in_proj.weight": (rows, d), "out_proj.weight": (d, heads * hd)}
    if cfg.get("qkv_proj_bias", True):
        shapes["in_proj.bias"] = (rows,)
    if cfg.get("out_proj_bias", True):
        shapes["out_proj.bias"] = (d,)
    return shapes


# Standard deviation of a projection's output for unit input, by the last name before
# ".weight".  Attention and scan averages shrink, so what follows them is larger.
GAINS = dict(
    q_proj=1.3,
    k_proj=1.3,
    v_proj=1.2,
    o_proj=2.2,
    gate_proj=1.3,
    up_proj=1.3,
    down_proj=1.6,
    input_linear=1.3,
    output_linear=1.6,
    in_proj=1.0,
    out_proj=1.3,
    x_proj=2.0,
    lm_head=3.0,
)


class Filler:
    """Draws the tensors of one checkpoint."""

    def __init__(self, config, seed):
        self.config, self.seed = config, seed
        self.shapes = {}

    def fill(self, shapes):
        self.shapes = shapes
        return {name: self.draw(name, shape).astype(np.float32) for name, shape in sorted(shapes.items())}

    def draw(self, name, shape):
        rng = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
        parts = name.split(".")
        leaf = parts[-1] if parts[-1] in ("A_log", "D", "dt_bias") else ".".join(parts[-2:])
        if leaf == "A_log":
            return np.log(rng.uniform(1.0, 16.0, shape))
        if leaf == "D":
            return 0.6 + 0.4 * rng.standard_normal(shape)
        if leaf in ("dt_bias", "dt_proj.bias"):
            return self.step_bias(rng, shape)
        if leaf == "dt_proj.weight":
            return rng.uniform(-1.0, 1.0, shape) * 0.4 * shape[1] ** -0.5
        if leaf == "conv1d.weight":
            return 0.25 + 0.6 * rng.standard_normal(shape)
        if leaf.endswith(".bias"):
            return 0.25 * rng.standard_normal(shape)
        if len(shape) == 1:  # every norm
            return 1.0 + 0.25 * rng.standard_normal(shape)
        if "embed" in leaf:
            return self.embedding_scale() * rng.standard_normal(shape)
        out = GAINS[parts[-2]] * shape[1] ** -0.5 * rng.standard_normal(shape)
        is_scan = f"{name.removesuffix('in_proj.weight')}A_log" in self.shapes
        return self.shape_projection(name, out) if leaf == "in_proj.weight" and is_scan else out

    def embedding_scale(self):
        return 0.55 if self.tied() else 1.0

    def tied(self):
        c = self.config
        return c.get("tie_word_embeddings", c.get("tie_embeddings", architecture_of(c) == "mamba"))

    @staticmethod
    def step_bias(rng, shape):
        """softplus^-1 of steps spread evenly in log between 0.004 and 0.1."""
        step = np.exp(rng.uniform(np.log(0.004), np.log(0.1), shape))
        return step + np.log(-np.expm1(-step))

    def shape_projection(self, name, out):
        """Mamba-2: quiet dt rows (so that dt stays in range), loud B and C rows."""
        prefix = name.removesuffix("in_proj.weight")
        if len(self.shapes[f"{prefix}A_log"]) == 2:
            return out
        heads = self.shapes[f"{prefix}A_log"][0]
        inner = self.shapes[f"{prefix}out_proj.weight"][1]
        out[2 * inner : -heads] *= 2.0
        out[-heads:] *= 0.3
        return out
