"""Small float64 models that read a checkpoint folder and follow the textbook recurrences.

Nothing here is fast and nothing is chunked: every scan is one loop over time, every
attention row is one softmax over the keys it may see.  The generator holds the outputs of
`transformers` against these, and takes the goldens of the checkpoints that `transformers`
cannot load (the original state-spaces layout without a gated norm, and Rene) from here.
"""

import json
import math
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

erf = np.vectorize(math.erf, otypes=[np.float64])

# --- reading -------------------------------------------------------------------------


def read_config(folder):
    """Parses config.json, turning both spellings of infinity into a float."""

    def revive(node):
        if isinstance(node, dict):
            if set(node) == {"__float__"}:
                return float(node["__float__"].lower().replace("infinity", "inf"))
            return {key: revive(value) for key, value in node.items()}
        if isinstance(node, list):
            return [revive(value) for value in node]
        return node

    return revive(json.loads((Path(folder) / "config.json").read_text()))


def read_tensors(folder):
    """Loads every shard of a checkpoint folder as float64 arrays by name."""
    tensors = {}
    for shard in sorted(Path(folder).glob("model*.safetensors")):
        for name, value in load_file(shard).items():
            tensors[name] = value.astype(np.float64)
    return tensors


# --- elementwise pieces --------------------------------------------------------------


def silu(x):
    return x / (1.0 + np.exp(-x))


def softplus(x):
    return np.logaddexp(0.0, x)


def gelu(x):
    return 0.5 * x * (1.0 + erf(x / math.sqrt(2.0)))


def rms(x, weight, eps, groups=1):
    """RMS norm over `groups` equal slices of the last axis; `weight` may be None."""
    parts = x.reshape(*x.shape[:-1], groups, -1)
    parts = parts / np.sqrt(np.mean(parts * parts, axis=-1, keepdims=True) + eps)
    out = parts.reshape(x.shape)
    return out if weight is None else out * weight


def linear(x, weights, name, bias=True):
    out = x @ weights[f"{name}.weight"].T
    if bias and f"{name}.bias" in weights:
        out = out + weights[f"{name}.bias"]
    return out


def causal_conv(x, kernel, bias):
    """Depthwise convolution; the last tap of `kernel` [channels, 1, taps] meets the newest row."""
    taps = kernel.shape[-1]
    padded = np.concatenate([np.zeros((taps - 1, x.shape[1])), x])
    out = sum(padded[k : k + len(x)] * kernel[:, 0, k] for k in range(taps))
    return out if bias is None else out + bias


# --- mixers --------------------------------------------------------------------------


def mamba1(u, w, norm_eps=None, scan=True):
    """Mamba-1 mixer. `norm_eps` switches on FalconMamba's weightless norms of dt, B and C."""
    d_inner, d_state = w["A_log"].shape
    rank = w["dt_proj.weight"].shape[1]
    x, z = np.split(linear(u, w, "in_proj"), 2, axis=-1)
    x = silu(causal_conv(x, w["conv1d.weight"], w.get("conv1d.bias")))
    low, b, c = np.split(linear(x, w, "x_proj"), [rank, rank + d_state], axis=-1)
    if norm_eps is not None:
        low, b, c = (rms(part, None, norm_eps) for part in (low, b, c))
    dt = softplus(linear(low, w, "dt_proj"))
    a = -np.exp(w["A_log"])
    state = np.zeros((d_inner, d_state))
    y = w["D"] * x
    if scan:
        for t in range(len(u)):
            state = np.exp(dt[t][:, None] * a) * state + dt[t][:, None] * b[t] * x[t][:, None]
            y[t] += state @ c[t]
    return linear(y * silu(z), w, "out_proj")


def mamba2(u, w, groups, d_state, eps, gate="norm_after", dt_limit=(0.0, math.inf), sections=None, scan=True):
    """Mamba-2 mixer.

    `gate` is `norm_after` (gate, then grouped norm), `norm_before` (grouped norm, then gate)
    or `plain` (gate only).  `sections` scales the z, x, B, C and dt parts of the projection.
    """
    heads = len(w["A_log"])
    conv_dim = w["conv1d.weight"].shape[0]
    d_inner = conv_dim - 2 * groups * d_state
    headdim = d_inner // heads
    cuts = np.cumsum([d_inner, d_inner, groups * d_state, groups * d_state])
    parts = np.split(linear(u, w, "in_proj"), cuts, axis=-1)
    if sections is not None:
        parts = [part * factor for part, factor in zip(parts, sections)]
    z, dt = parts[0], parts[4]
    xbc = np.concatenate(parts[1:4], axis=-1)
    xbc = silu(causal_conv(xbc, w["conv1d.weight"], w.get("conv1d.bias")))
    x, b, c = np.split(xbc, [d_inner, d_inner + groups * d_state], axis=-1)
    x = x.reshape(-1, heads, headdim)
    b, c = (np.repeat(part.reshape(-1, groups, d_state), heads // groups, axis=1) for part in (b, c))
    dt = np.clip(softplus(dt + w["dt_bias"]), dt_limit[0], dt_limit[1])
    decay = np.exp(-dt * np.exp(w["A_log"]))
    state = np.zeros((heads, headdim, d_state))
    y = w["D"][:, None] * x
    if scan:
        for t in range(len(u)):
            drive = (dt[t][:, None] * x[t])[:, :, None] * b[t][:, None, :]
            state = decay[t][:, None, None] * state + drive
            y[t] += np.einsum("hpn,hn->hp", state, c[t])
    y = y.reshape(-1, d_inner)
    if gate == "norm_after":
        y = rms(y * silu(z), w["norm.weight"], eps, groups)
    elif gate == "norm_before":
        y = rms(y, w["norm.weight"], eps, groups) * silu(z)
    else:
        y = y * silu(z)
    return linear(y, w, "out_proj")


def rope_frequencies(head_dim, rotary_dim, theta, scaling=None):
    """Angles per position for each rotated pair, under the scalings the tests cover."""
    freq = theta ** (-np.arange(0, rotary_dim, 2, dtype=np.float64) / rotary_dim)
    kind = (scaling or {}).get("rope_type", (scaling or {}).get("type", "default"))
    if kind == "default":
        return freq
    if kind == "linear":
        return freq / scaling["factor"]
    if kind != "llama3":
        raise ValueError(f"rope scaling {kind} is not covered here")
    context = scaling["original_max_position_embeddings"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    turns = context * freq / (2.0 * math.pi)
    blend = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return freq * ((1.0 - blend) / scaling["factor"] + blend)


def rotate(x, freq):
    """Half-split rotation of the first 2*len(freq) dims of x [time, heads, head_dim]."""
    half = len(freq)
    angle = np.arange(len(x))[:, None, None] * freq
    first, second = x[..., :half], x[..., half : 2 * half]
    turned = [first * np.cos(angle) - second * np.sin(angle), second * np.cos(angle) + first * np.sin(angle)]
    return np.concatenate(turned + [x[..., 2 * half :]], axis=-1)


def attend(q, k, v, scale, window=None):
    """Causal attention of q [time, heads, dim] over k, v [time, kv_heads, dim]."""
    shared = q.shape[1] // k.shape[1]
    k, v = np.repeat(k, shared, axis=1), np.repeat(v, shared, axis=1)
    scores = np.einsum("ihd,jhd->hij", q, k) * scale
    i, j = np.indices(scores.shape[1:])
    visible = j <= i
    if window is not None:
        visible &= j > i - window
    scores = np.where(visible, scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return np.einsum("hij,jhd->ihd", weights, v).reshape(len(q), -1)


def attention(u, w, head_dim, scale=None, freq=None, window=None, key_scale=1.0):
    """Attention with separate q, k, v, o projections and optional rotary positions."""
    q, k, v = (linear(u, w, f"{n}_proj").reshape(len(u), -1, head_dim) for n in "qkv")
    k = k * key_scale
    if freq is not None:
        q, k = rotate(q, freq), rotate(k, freq)
    out = attend(q, k, v, head_dim**-0.5 if scale is None else scale, window)
    return linear(out, w, "o_proj")


def swiglu(x, w, gate_scale=1.0, down_scale=1.0):
    hidden = silu(linear(x, w, "gate_proj") * gate_scale) * linear(x, w, "up_proj")
    return linear(hidden, w, "down_proj") * down_scale


# --- whole models --------------------------------------------------------------------


class Reference:
    """A checkpoint folder as a float64 language model.

    `without` may name `scan` and `attention`; those then contribute nothing, which is how
    the generator measures that a golden depends on them.
    """

    def __init__(self, config, tensors, without=()):
        self.config, self.tensors, self.without = config, tensors, set(without)
        self.kind = architecture_of(config)

    def sub(self, prefix):
        prefix += "."
        return {k[len(prefix) :]: v for k, v in self.tensors.items() if k.startswith(prefix)}

    def get(self, *names):
        for name in names:
            if name in self.tensors:
                return self.tensors[name]
        raise KeyError(names)

    def logits(self, tokens):
        return getattr(self, f"run_{self.kind}")(np.asarray(tokens))

    def scan_on(self):
        return "scan" not in self.without

    def attended(self, out):
        return out * 0.0 if "attention" in self.without else out

    def rope(self, head_dim, rotary_dim=None):
        c = self.config
        modern = c.get("rope_parameters") or {}
        theta = modern.get("rope_theta", c.get("rope_theta", 10000.0))
        return rope_frequencies(head_dim, rotary_dim or head_dim, theta, modern or c.get("rope_scaling"))

    def head_dim(self):
        c = self.config
        return c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]

    # Mamba-1 and FalconMamba, both layouts

    def run_mamba(self, tokens):
        c = self.config
        norm_eps = c.get("mixer_rms_eps", 1e-6) if self.kind_is("falcon_mamba") else None
        return self.run_stack(tokens, lambda x, w: mamba1(x, w, norm_eps, self.scan_on()))

    run_falcon_mamba = run_mamba

    def kind_is(self, name):
        return self.kind == name

    def run_stack(self, tokens, mixer):
        """The pre-norm stack that Mamba, Mamba-2, Nemotron-H and Rene share."""
        eps = self.config.get("layer_norm_epsilon", 1e-5)
        h = self.get("backbone.embeddings.weight", "backbone.embedding.weight")[tokens]
        embedding = self.get("backbone.embeddings.weight", "backbone.embedding.weight")
        layers = 1 + max(int(k.split(".")[2]) for k in self.tensors if k.startswith("backbone.layers."))
        for i in range(layers):
            w = self.sub(f"backbone.layers.{i}.mixer")
            self.layer = i
            h = h + mixer(rms(h, self.get(f"backbone.layers.{i}.norm.weight"), eps), w)
        head = self.tensors.get("lm_head.weight", embedding)
        return rms(h, self.get("backbone.norm_f.weight"), eps) @ head.T

    # Mamba-2, both layouts

    def run_mamba2(self, tokens):
        c = self.config
        if "ssm_cfg" in c:
            return self.run_stack(tokens, self.original_mamba2)
        args = dict(groups=c["n_groups"], d_state=c["state_size"], eps=c["layer_norm_epsilon"])
        args["dt_limit"] = c.get("time_step_limit", (0.0, math.inf))
        return self.run_stack(tokens, lambda x, w: mamba2(x, w, scan=self.scan_on(), **args))

    def original_mamba2(self, x, w):
        s = self.config["ssm_cfg"]
        gate = "norm_before" if s.get("norm_before_gate") else "norm_after"
        if not s.get("rmsnorm", True):
            gate = "plain"
        limit = s.get("dt_limit", (0.0, math.inf))
        return mamba2(x, w, s.get("ngroups", 1), s.get("d_state", 128), 1e-5, gate, limit, scan=self.scan_on())

    # Rene

    def run_rene(self, tokens):
        return self.run_stack(tokens, self.rene_mixer)

    def rene_mixer(self, x, w):
        c = self.config
        if self.layer in c["attn_layer_idx"]:
            return self.attended(rene_attention(x, w, c["attn_cfg"], c["d_model"]))
        if self.layer in c["mlp_layer_idx"]:
            return linear(gelu(linear(x, w, "in_proj")), w, "out_proj")
        return self.original_mamba2(x, w)

    # Llama and its kin

    def run_llama(self, tokens):
        c, hd = self.config, self.head_dim()
        freq, eps = self.rope(hd), c["rms_norm_eps"]
        window = c.get("sliding_window") if c["model_type"] == "mistral" else None
        h = self.get("model.embed_tokens.weight")[tokens]
        for i in range(c["num_hidden_layers"]):
            p = f"model.layers.{i}"
            x = rms(h, self.get(f"{p}.input_layernorm.weight"), eps)
            h = h + self.attended(attention(x, self.sub(f"{p}.self_attn"), hd, freq=freq, window=window))
            x = rms(h, self.get(f"{p}.post_attention_layernorm.weight"), eps)
            h = h + swiglu(x, self.sub(f"{p}.mlp"))
        return rms(h, self.get("model.norm.weight"), eps) @ self.head().T

    run_mistral = run_llama
    run_qwen2 = run_llama

    def head(self):
        return self.get("lm_head.weight", "model.embed_tokens.weight")

    # Hybrids

    def hybrid_mamba(self, x, prefix, **extra):
        c = self.config
        args = dict(groups=c["mamba_n_groups"], d_state=c["mamba_d_state"], eps=c["rms_norm_eps"])
        args["dt_limit"] = c.get("time_step_limit") or (0.0, math.inf)
        return mamba2(x, self.sub(prefix), scan=self.scan_on(), **args, **extra)

    def run_bamba(self, tokens):
        c, hd, eps = self.config, self.head_dim(), self.config["rms_norm_eps"]
        freq = self.rope(hd, hd // 2)
        h = self.get("model.embed_tokens.weight")[tokens]
        for i in range(c["num_hidden_layers"]):
            p = f"model.layers.{i}"
            x = rms(h, self.get(f"{p}.input_layernorm.weight"), eps)
            if i in (c.get("attn_layer_indices") or []):
                h = h + self.attended(attention(x, self.sub(f"{p}.self_attn"), hd, freq=freq))
            else:
                h = h + self.hybrid_mamba(x, f"{p}.mamba")
            h = h + swiglu(rms(h, self.get(f"{p}.pre_ff_layernorm.weight"), eps), self.sub(f"{p}.feed_forward"))
        return rms(h, self.get("model.final_layernorm.weight"), eps) @ self.head().T

    def run_granitemoehybrid(self, tokens):
        c, hd, eps = self.config, self.head_dim(), self.config["rms_norm_eps"]
        freq = self.rope(hd) if c.get("position_embedding_type") == "rope" else None
        residual = c["residual_multiplier"]
        h = self.get("model.embed_tokens.weight")[tokens] * c["embedding_multiplier"]
        for i, kind in enumerate(c["layer_types"]):
            p = f"model.layers.{i}"
            x = rms(h, self.get(f"{p}.input_layernorm.weight"), eps)
            if kind in ("mamba", "linear_attention"):
                out = self.hybrid_mamba(x, f"{p}.mamba")
            else:
                scale = c["attention_multiplier"]
                out = self.attended(attention(x, self.sub(f"{p}.self_attn"), hd, scale, freq))
            h = h + residual * out
            x = rms(h, self.get(f"{p}.post_attention_layernorm.weight"), eps)
            w = self.sub(f"{p}.shared_mlp")
            gate, up = np.split(linear(x, w, "input_linear"), 2, axis=-1)
            h = h + residual * linear(silu(gate) * up, w, "output_linear")
        return rms(h, self.get("model.norm.weight"), eps) @ self.head().T / c["logits_scaling"]

    def run_falcon_h1(self, tokens):
        c, hd, eps = self.config, self.head_dim(), self.config["rms_norm_eps"]
        freq, key = self.rope(hd), c["key_multiplier"]
        gate = "norm_before" if c.get("mamba_norm_before_gate", True) else "norm_after"
        gate = gate if c.get("mamba_rms_norm") else "plain"
        h = self.get("model.embed_tokens.weight")[tokens] * c["embedding_multiplier"]
        for i in range(c["num_hidden_layers"]):
            p = f"model.layers.{i}"
            x = rms(h, self.get(f"{p}.input_layernorm.weight"), eps)
            extra = dict(gate=gate, sections=c["ssm_multipliers"])
            ssm = self.hybrid_mamba(x * c["ssm_in_multiplier"], f"{p}.mamba", **extra)
            seen = x * c["attention_in_multiplier"]
            att = self.attended(attention(seen, self.sub(f"{p}.self_attn"), hd, freq=freq, key_scale=key))
            h = h + ssm * c["ssm_out_multiplier"] + att * c["attention_out_multiplier"]
            x = rms(h, self.get(f"{p}.pre_ff_layernorm.weight"), eps)
            h = h + swiglu(x, self.sub(f"{p}.feed_forward"), *c["mlp_multipliers"])
        return rms(h, self.get("model.final_layernorm.weight"), eps) @ self.head().T * c["lm_head_multiplier"]

    def run_nemotron_h(self, tokens):
        return self.run_stack(tokens, self.nemotron_mixer)

    def nemotron_mixer(self, x, w):
        c = self.config
        if "q_proj.weight" in w:
            return self.attended(attention(x, w, c["head_dim"]))
        if "up_proj.weight" in w:
            return linear(np.maximum(linear(x, w, "up_proj"), 0.0) ** 2, w, "down_proj")
        limit = c.get("time_step_limit", (0.0, math.inf))
        return mamba2(
            x, w, c["n_groups"], c["ssm_state_size"], c["layer_norm_epsilon"], dt_limit=limit, scan=self.scan_on()
        )


def rene_attention(x, w, cfg, d_model):
    """Rene's attention: one projection for q, k and v, no positions, a sliding window."""
    heads = cfg["num_heads"]
    kv_heads = cfg.get("num_heads_kv") or heads
    hd = cfg.get("head_dim") or d_model // heads
    q, k, v = np.split(linear(x, w, "in_proj"), [heads * hd, (heads + kv_heads) * hd], axis=-1)
    q, k, v = (part.reshape(len(x), -1, hd) for part in (q, k, v))
    scale = cfg.get("softmax_scale") or hd**-0.5
    return linear(attend(q, k, v, scale, cfg.get("sliding_window_length")), w, "out_proj")


def architecture_of(config):
    """The name of the architecture a config describes, in transformers' words."""
    if "model_type" in config:
        return config["model_type"]
    layer = config.get("ssm_cfg", {}).get("layer", "Mamba1")
    return "mamba2" if layer == "Mamba2" else "mamba"
