"""The checkpoints of the suite: one config.json each, in the form real checkpoints have.

Sizes are odd on purpose (widths that are no multiple of 16, head counts that are no power
of two), so that edges of blocked kernels are exercised too.
"""

import math
import zlib
from dataclasses import dataclass, field

INFINITY = math.inf
GGUF_VOCAB = 104  # the tiny tokenizer's size; checkpoints that become GGUF files use it


@dataclass
class Case:
    """One Hugging Face folder: its config and how its weights and goldens are made."""

    name: str
    config: dict
    notes: str = ""
    shards: int = 1
    # "transformers": the golden comes from there; "reference": from reference.py, because
    # transformers cannot load the folder.
    source: str = "transformers"
    # Write infinities as {"__float__": "Infinity"} instead of the bare word.
    wrapped_infinity: bool = False
    tokenizer: bool = False
    gguf: str | None = None  # name of the GGUF file made from this folder
    skip_tied_head: bool = True  # leave lm_head.weight out of a tied checkpoint
    seed: int = 0
    extra: dict = field(default_factory=dict)


def mamba_cases():
    base = dict(
        architectures=["MambaForCausalLM"],
        model_type="mamba",
        conv_kernel=4,
        expand=2,
        hidden_act="silu",
        layer_norm_epsilon=1e-5,
        residual_in_fp32=True,
        use_bias=False,
        use_conv_bias=True,
        torch_dtype="float32",
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    plain = dict(base, hidden_size=36, intermediate_size=72, num_hidden_layers=2, state_size=16, time_step_rank=3)
    plain.update(vocab_size=GGUF_VOCAB)
    variant = dict(base, hidden_size=36, intermediate_size=72, num_hidden_layers=2, state_size=10)
    variant.update(time_step_rank="auto", vocab_size=99, use_bias=True, use_conv_bias=False)
    variant.update(conv_kernel=3, tie_word_embeddings=False)
    falcon = dict(base, architectures=["FalconMambaForCausalLM"], model_type="falcon_mamba", mixer_rms_eps=1e-6)
    falcon.update(hidden_size=32, intermediate_size=64, num_hidden_layers=2, state_size=16, time_step_rank=8)
    falcon.update(vocab_size=GGUF_VOCAB, tie_word_embeddings=False)
    original = dict(d_model=32, n_layer=2, vocab_size=93, ssm_cfg={}, rms_norm=True, residual_in_fp32=True)
    original.update(fused_add_norm=True, pad_vocab_size_multiple=8)
    return [
        Case("mamba", plain, "tied head", gguf="mamba"),
        Case("mamba-variant", variant, "projection biases, no conv bias, 3 taps, untied, rank auto = 3"),
        Case("falcon-mamba", falcon, "weightless norms on dt, B, C", gguf="falcon-mamba"),
        Case(
            "mamba-original",
            original,
            "state-spaces layout; vocab 93 padded to 96 rows; lm_head present and equal to the embedding",
            skip_tied_head=False,
        ),
    ]


def mamba2_cases():
    base = dict(
        architectures=["Mamba2ForCausalLM"],
        model_type="mamba2",
        conv_kernel=4,
        expand=2,
        hidden_act="silu",
        layer_norm_epsilon=1e-5,
        chunk_size=64,
        residual_in_fp32=True,
        use_bias=False,
        use_conv_bias=True,
        tie_word_embeddings=False,
        time_step_limit=[0.0, INFINITY],
        time_step_min=0.001,
        time_step_max=0.1,
        torch_dtype="float32",
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
    )
    g1 = dict(base, hidden_size=32, num_heads=8, head_dim=8, n_groups=1, state_size=16)
    g1.update(num_hidden_layers=2, vocab_size=GGUF_VOCAB)
    g4 = dict(base, hidden_size=36, num_heads=12, head_dim=6, n_groups=4, state_size=10)
    g4.update(num_hidden_layers=2, vocab_size=101, use_bias=True, tie_word_embeddings=True)
    wide = dict(base, hidden_size=32, num_heads=2, head_dim=32, n_groups=2, state_size=40)
    wide.update(num_hidden_layers=2, vocab_size=GGUF_VOCAB, use_conv_bias=False, conv_kernel=3)
    grouped = dict(base, hidden_size=32, num_heads=4, head_dim=16, n_groups=2, state_size=16)
    grouped.update(num_hidden_layers=2, vocab_size=GGUF_VOCAB)
    limited = dict(base, hidden_size=32, num_heads=4, head_dim=16, n_groups=2, state_size=12)
    limited.update(num_hidden_layers=2, vocab_size=97, time_step_limit=[0.02, 0.06])
    original = dict(d_model=32, d_intermediate=0, n_layer=2, vocab_size=93, attn_layer_idx=[], attn_cfg={})
    original.update(rms_norm=True, residual_in_fp32=True, fused_add_norm=True)
    original.update(pad_vocab_size_multiple=16, tie_embeddings=True)
    original.update(ssm_cfg=dict(layer="Mamba2", d_state=16, headdim=16))
    plain = dict(original, ssm_cfg=dict(layer="Mamba2", d_state=16, headdim=8, ngroups=2, rmsnorm=False))
    return [
        Case("mamba2-g1", g1, "bare Infinity in config.json"),
        Case("mamba2-g4", g4, "4 groups, biases, tied; Infinity written as __float__", wrapped_infinity=True),
        Case("mamba2-headdim32", wide, "headdim 32, 2 heads, no conv bias, 3 taps, two shards", shards=2),
        Case("mamba2-g2", grouped, "2 groups, headdim 16", gguf="mamba2"),
        Case(
            "mamba2-dtlimit",
            limited,
            "time_step_limit active on both sides; transformers ignores it when decoding token by token",
        ),
        Case("mamba2-original", original, "state-spaces layout; vocab 93 padded to 96", skip_tied_head=False),
        Case(
            "mamba2-original-nonorm",
            plain,
            "state-spaces layout, ssm_cfg.rmsnorm false: y * silu(z) without a norm; no lm_head tensor",
            source="reference",
        ),
    ]


def llama_cases():
    base = dict(
        architectures=["LlamaForCausalLM"],
        model_type="llama",
        hidden_act="silu",
        max_position_embeddings=2048,
        rms_norm_eps=1e-5,
        attention_bias=False,
        mlp_bias=False,
        tie_word_embeddings=False,
        torch_dtype="float32",
        bos_token_id=0,
        eos_token_id=2,
    )
    llama = dict(base, hidden_size=40, intermediate_size=72, num_hidden_layers=2, vocab_size=GGUF_VOCAB)
    llama.update(num_attention_heads=4, num_key_value_heads=2)
    llama.update(rope_parameters=dict(rope_type="default", rope_theta=10000.0), dtype="float32")
    del llama["torch_dtype"]
    llama3 = dict(base, hidden_size=32, intermediate_size=56, num_hidden_layers=2, vocab_size=GGUF_VOCAB)
    llama3.update(num_attention_heads=4, num_key_value_heads=2, head_dim=16, rope_theta=500.0)
    llama3["rope_scaling"] = dict(
        rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=128
    )
    biased = dict(base, hidden_size=36, intermediate_size=60, num_hidden_layers=2, vocab_size=101)
    biased.update(num_attention_heads=3, num_key_value_heads=1, rope_scaling=dict(type="linear", factor=4.0))
    biased.update(attention_bias=True, mlp_bias=True, rope_theta=10000.0)
    mistral = dict(base, architectures=["MistralForCausalLM"], model_type="mistral", sliding_window=32)
    mistral.update(hidden_size=32, intermediate_size=64, num_hidden_layers=2, vocab_size=96)
    mistral.update(num_attention_heads=4, num_key_value_heads=2, rope_theta=10000.0)
    qwen = dict(base, architectures=["Qwen2ForCausalLM"], model_type="qwen2", tie_word_embeddings=True)
    qwen.update(hidden_size=40, intermediate_size=72, num_hidden_layers=2, vocab_size=GGUF_VOCAB)
    qwen.update(num_attention_heads=5, num_key_value_heads=1, rope_theta=1000000.0, rms_norm_eps=1e-6)
    qwen.update(use_sliding_window=False, sliding_window=4096, max_window_layers=2, attention_dropout=0.0)
    for key in ("attention_bias", "mlp_bias"):
        del qwen[key]
        del mistral[key]
    smol = dict(base, hidden_size=36, intermediate_size=72, num_hidden_layers=2, vocab_size=96)
    smol.update(num_attention_heads=9, num_key_value_heads=3, rope_theta=100000.0, tie_word_embeddings=True)
    smol.update(rope_scaling=None, rope_interleaved=False)
    return [
        Case("llama", llama, "grouped queries, untied; with tokenizer and chat template", tokenizer=True, gguf="llama"),
        Case("llama3-rope", llama3, "llama3 rope scaling; head_dim is not hidden/heads", gguf="llama3-rope"),
        Case("llama-linear-rope", biased, "old-style linear rope scaling, one kv head, all biases"),
        Case("mistral", mistral, "sliding window of 32 keys; three shards", shards=3),
        Case("qwen2", qwen, "q, k, v biases, tied", gguf="qwen2"),
        Case("smollm2", smol, "Llama with a tied head, 9 heads over 3"),
    ]


def hybrid_cases():
    ssm = dict(mamba_d_conv=4, mamba_expand=2, mamba_chunk_size=64, mamba_conv_bias=True, mamba_proj_bias=False)
    base = dict(hidden_act="silu", rms_norm_eps=1e-5, attention_bias=False, torch_dtype="float32", **ssm)
    base.update(bos_token_id=0, eos_token_id=2, pad_token_id=1, attention_dropout=0.0, max_position_embeddings=4096)
    bamba = dict(base, architectures=["BambaForCausalLM"], model_type="bamba", hidden_size=32, intermediate_size=56)
    bamba.update(num_hidden_layers=3, num_attention_heads=2, num_key_value_heads=1, vocab_size=98, mlp_bias=False)
    bamba.update(attn_layer_indices=[1], attn_rotary_emb=8, rope_theta=10000.0, tie_word_embeddings=False)
    bamba.update(mamba_n_heads=4, mamba_d_head="auto", mamba_n_groups=2, mamba_d_state=16)
    granite = dict(base, architectures=["GraniteMoeHybridForCausalLM"], model_type="granitemoehybrid")
    granite.update(hidden_size=32, intermediate_size=56, shared_intermediate_size=56, num_hidden_layers=3)
    granite.update(num_attention_heads=4, num_key_value_heads=2, vocab_size=GGUF_VOCAB, tie_word_embeddings=True)
    granite.update(layer_types=["mamba", "attention", "mamba"], position_embedding_type="nope")
    granite.update(num_local_experts=0, num_experts_per_tok=0, rope_theta=10000.0, rope_scaling=None)
    granite.update(embedding_multiplier=1.5, attention_multiplier=0.2, residual_multiplier=0.6, logits_scaling=1.7)
    granite.update(mamba_n_heads=8, mamba_d_head=8, mamba_n_groups=1, mamba_d_state=16)
    roped = dict(granite, layer_types=["full_attention", "linear_attention", "full_attention"], num_hidden_layers=3)
    roped.update(position_embedding_type="rope", tie_word_embeddings=False, vocab_size=96)
    roped.update(intermediate_size=72, mamba_n_groups=2)  # shared_intermediate_size is the one that counts
    roped.update(rope_parameters=dict(rope_type="default", rope_theta=5000.0), dtype="float32")
    for key in ("rope_theta", "rope_scaling", "torch_dtype"):
        del roped[key]
    return [
        Case("bamba", bamba, "attention in layer 1, half-rotary rope"),
        Case("granite-nope", granite, "no positions; every multiplier set; tied", gguf="granitehybrid"),
        Case("granite-rope", roped, "rope, config in the newer style, untied"),
        *falcon_h1_cases(base),
        *nemotron_cases(),
    ]


def falcon_h1_cases(base):
    h1 = dict(base, architectures=["FalconH1ForCausalLM"], model_type="falcon_h1", hidden_size=32)
    h1.update(intermediate_size=40, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8)
    h1.update(vocab_size=GGUF_VOCAB, rope_theta=100000.0, rope_scaling=None, tie_word_embeddings=False)
    h1.update(mamba_d_ssm=48, mamba_n_heads=6, mamba_d_head=8, mamba_n_groups=2, mamba_d_state=16)
    h1.update(mamba_rms_norm=True, mamba_norm_before_gate=False, mlp_bias=False, projectors_bias=False)
    h1.update(embedding_multiplier=1.7, lm_head_multiplier=0.6, mlp_multipliers=[0.8, 0.7], key_multiplier=1.4)
    h1.update(attention_in_multiplier=1.2, attention_out_multiplier=0.9, ssm_in_multiplier=1.25)
    h1.update(ssm_out_multiplier=0.85, ssm_multipliers=[0.8, 1.1, 1.3, 0.7, 0.5])
    gate_only = dict(h1, mamba_rms_norm=False, head_dim=12, mamba_n_groups=3)
    before = dict(h1, mamba_norm_before_gate=True, mamba_proj_bias=True, projectors_bias=True)
    before.update(mlp_bias=True, attention_bias=True, vocab_size=97)
    return [
        Case("falcon-h1", h1, "grouped norm after the gate, all multipliers", gguf="falcon-h1"),
        Case("falcon-h1-nonorm", gate_only, "no gated norm, 3 groups, head_dim 12", gguf="falcon-h1-nonorm"),
        Case("falcon-h1-before", before, "norm before the gate, every bias"),
    ]


def nemotron_cases():
    base = dict(architectures=["NemotronHForCausalLM"], model_type="nemotron_h", torch_dtype="float32")
    base.update(hidden_size=32, intermediate_size=72, num_hidden_layers=5, hybrid_override_pattern="M-*-M")
    base.update(num_attention_heads=4, num_key_value_heads=2, head_dim=12, vocab_size=GGUF_VOCAB)
    base.update(mamba_num_heads=6, mamba_head_dim=8, n_groups=2, ssm_state_size=16, conv_kernel=4, expand=2)
    base.update(use_bias=False, use_conv_bias=True, mamba_proj_bias=False, mlp_bias=False, attention_bias=False)
    base.update(mlp_hidden_act="relu2", mamba_hidden_act="silu", layer_norm_epsilon=1e-5, rms_norm_eps=1e-5)
    base.update(time_step_limit=[0.0, INFINITY], time_step_min=0.001, time_step_max=0.1, time_step_floor=1e-4)
    base.update(chunk_size=64, residual_in_fp32=False, tie_word_embeddings=False, rescale_prenorm_residual=False)
    base.update(bos_token_id=0, eos_token_id=2, pad_token_id=1, max_position_embeddings=4096)
    listed = dict(base, num_hidden_layers=4, vocab_size=99, use_bias=True, mlp_bias=True, n_groups=3)
    listed["layers_block_type"] = ["full_attention", "linear_attention", "mlp", "linear_attention"]
    del listed["hybrid_override_pattern"]
    return [
        Case("nemotron-h", base, "pattern M-*-M, squared relu, backbone.* names", gguf="nemotron_h"),
        Case(
            "nemotron-h-list",
            listed,
            "layers_block_type list, biases, 3 groups, model.* names",
            extra={"prefix": "model"},
        ),
    ]


def rene_cases():
    rene = dict(
        architectures=["ReneLMHeadModel"],
        model_type="rene",
        d_model=32,
        n_layer=5,
        vocab_size=90,
        ssm_cfg=dict(d_state=16, headdim=16, norm_before_gate=True),
        attn_layer_idx=[2],
        attn_cfg=dict(
            num_heads=4,
            num_heads_kv=2,
            head_dim=10,
            causal=True,
            qkv_proj_bias=False,
            out_proj_bias=False,
            sliding_window_length=24,
        ),
        mlp_layer_idx=[1, 4],
        mlp_cfg=dict(bias=False),
        rms_norm=True,
        residual_in_fp32=True,
        pad_vocab_size_multiple=16,
        tie_word_embeddings=True,
        pad_token_id=1,
        bos_token_id=None,
        eos_token_id=89,
        torch_dtype="float32",
    )
    default = dict(rene, n_layer=4, attn_layer_idx=[1], mlp_layer_idx=[2], mlp_cfg=dict(expand=2), vocab_size=93)
    default.update(ssm_cfg=dict(d_state=16, headdim=8, ngroups=2), tie_word_embeddings=False)
    default["attn_cfg"] = dict(num_heads=4, sliding_window_length=40)
    return [
        Case("rene", rene, "norm before gate, window of 24 keys, no biases, tied", source="reference"),
        Case(
            "rene-defaults",
            default,
            "the biases Rene's code defaults to, norm after gate, 2 groups, untied",
            source="reference",
        ),
    ]


def all_cases():
    cases = mamba_cases() + mamba2_cases() + llama_cases() + hybrid_cases() + rene_cases()
    for case in cases:
        case.seed = zlib.crc32(case.name.encode())  # stays put when cases come and go
    return cases
