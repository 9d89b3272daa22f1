"""The rival computes what it should: scans against their recurrences, models against transformers.

    python -m pytest benches/train/test_rival.py      (or: python benches/train/test_rival.py)
"""

import os
import sys
import tempfile
from pathlib import Path

# Compiled anew each time: a cache that a killed run left half-written would fail here.
CACHE = tempfile.TemporaryDirectory()
os.environ["TORCHINDUCTOR_CACHE_DIR"] = CACHE.name

import torch  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parent))

import chunked  # noqa: E402
import head  # noqa: E402
import scan  # noqa: E402
from models import Choice, Model  # noqa: E402

WIDE = torch.float64


def close(found, expected, tolerance=1e-9):
    scale = expected.abs().max()
    assert (found - expected).abs().max() <= tolerance * scale, (found - expected).abs().max() / scale


def values(*shape, seed, low=None, high=1.0):
    generator = torch.Generator().manual_seed(seed)
    if low is None:
        return torch.randn(*shape, generator=generator, dtype=WIDE).requires_grad_()
    return (torch.rand(*shape, generator=generator, dtype=WIDE) * (high - low) + low).requires_grad_()


def same_with_gradients(found, expected, inputs, tolerance=1e-9):
    close(found, expected, tolerance)
    weight = torch.cos(torch.arange(expected.numel(), dtype=expected.dtype)).reshape(expected.shape)
    ours = torch.autograd.grad((found * weight).sum(), inputs)
    theirs = torch.autograd.grad((expected * weight).sum(), inputs, retain_graph=True)
    for a, b in zip(ours, theirs):
        close(a, b, tolerance)


def test_every_ssd_is_the_recurrence():
    batch, length, heads, headdim, d_state = 2, 96, 3, 4, 5
    inputs = [
        values(batch, length, heads, headdim, seed=1),
        values(batch, length, heads, seed=2, low=0.01, high=0.5),
        values(heads, seed=3, low=-8.0, high=-0.5),
        values(batch, length, d_state, seed=4),
        values(batch, length, d_state, seed=5),
    ]
    expected, _ = chunked.recurrence(*inputs, torch.zeros(batch, heads, headdim, d_state, dtype=WIDE))
    for chunk in (6, 32, 96):
        for inside in chunked.INSIDE:
            for between in chunked.BETWEEN:
                same_with_gradients(chunked.ssd(*inputs, chunk, inside, between), expected, inputs)
        same_with_gradients(chunked.ssd_einsum(*inputs, chunk), expected, inputs)


def test_every_selective_scan_is_the_recurrence():
    batch, length, channels, d_state = 2, 24, 6, 3
    inputs = [
        values(batch, length, channels, seed=1),
        values(batch, length, channels, seed=2, low=0.01, high=2.0),
        values(channels, d_state, seed=3, low=-16.0, high=-0.2),
        values(batch, length, d_state, seed=4),
        values(batch, length, d_state, seed=5),
    ]
    expected = scan.recurrence(*inputs)
    for form in scan.PIECES:
        for piece in (1, 8, 24):
            same_with_gradients(scan.selective_scan(*inputs, piece, form, False), expected, inputs)
        same_with_gradients(scan.selective_scan(*inputs, 4, form, True), expected, inputs)
    same_with_gradients(scan.associative(*inputs), expected, inputs)


def test_fused_loss_is_cross_entropy():
    inputs = [values(50, 8, seed=1), values(11, 8, seed=2)]
    targets = torch.arange(50) % 11
    same_with_gradients(head.fused_loss(*inputs, targets, 16), head.plain_loss(*inputs, targets), inputs)


CONFIGS = {
    "mamba2": dict(
        model_type="mamba2", vocab_size=89, hidden_size=32, num_hidden_layers=2, expand=2, num_heads=4, head_dim=16,
        state_size=16, n_groups=1, conv_kernel=4, use_conv_bias=True, use_bias=False, hidden_act="silu",
        layer_norm_epsilon=1e-5, chunk_size=16, time_step_limit=[0.0, 1e6], tie_word_embeddings=True,
    ),
    "mamba": dict(
        model_type="mamba", vocab_size=89, hidden_size=32, num_hidden_layers=2, expand=2, intermediate_size=64,
        state_size=16, time_step_rank=4, conv_kernel=4, use_conv_bias=True, use_bias=False, hidden_act="silu",
        layer_norm_epsilon=1e-5, tie_word_embeddings=True,
    ),
    "llama": dict(
        model_type="llama", vocab_size=89, hidden_size=32, num_hidden_layers=2, intermediate_size=56,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, hidden_act="silu", rms_norm_eps=1e-5,
        rope_theta=10000.0, attention_bias=False, mlp_bias=False, tie_word_embeddings=True,
    ),
}
WAYS = {
    "mamba2": [
        dict(), dict(conv="conv1d"), dict(projection="one"), dict(projection="four"), dict(ssd="einsum"),
        dict(ssd="recipe"), dict(inside="auto"), dict(inside="again"), dict(between="loop"), dict(compile=True),
    ],
    "mamba": [dict(), dict(conv="conv1d"), dict(scan="unrolled"), dict(scan="associative"), dict(compile=True)],
    "llama": [dict(), dict(compile=True)],
}


def twin(config, weights):
    """transformers' model with the same weights."""
    from transformers import AutoConfig, AutoModelForCausalLM

    settings = {key: value for key, value in config.items() if key != "model_type"}
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(config["model_type"], **settings), attn_implementation="eager"
    )
    missing, unexpected = model.load_state_dict({n: w.detach() for n, w in weights.items()}, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    model.tie_weights()
    model.get_input_embeddings().padding_idx = None
    return model


def same_as_transformers(kind):
    config = CONFIGS[kind]
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(0, config["vocab_size"], (2, 49), generator=generator)
    inputs, targets = tokens[:, :-1], tokens[:, 1:].reshape(-1)
    for way in WAYS[kind]:
        ours = Model(config, Choice(**{"compile": False, "chunk": 16, "piece": 16, **way}))
        for weight in ours.weights.values():
            # Nothing is as it starts: not the ones, not the zeros.
            weight.add_(0.05 * torch.randn(weight.shape, generator=generator)).requires_grad_()
        theirs = twin(config, ours.weights)
        logits = theirs(inputs, use_cache=False).logits
        close(ours.hidden(inputs) @ ours.head().T, logits, 2e-5)
        head.fused_loss(ours.hidden(inputs).flatten(0, 1), ours.head(), targets, 32).backward()
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets).backward()
        for name, parameter in theirs.named_parameters():
            close(ours.weights[name].grad, parameter.grad, 1e-4)


def test_mamba2_is_transformers():
    same_as_transformers("mamba2")


def test_mamba_is_transformers():
    same_as_transformers("mamba")


def test_llama_is_transformers():
    same_as_transformers("llama")


if __name__ == "__main__":
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            test()
            print(f"{name}: fine")
