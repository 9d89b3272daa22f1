"""The forward passes against their definitions and against transformers, in float32 or better."""

import dataclasses
import json

import pytest
import torch
import torch.nn.functional as F

import llama
import mamba2
from ssd import recurrence, ssd

DIMS = mamba2.Mamba2Dims(vocab=128, d_model=64, layers=2, d_state=16, headdim=32, chunk=16)
TWIN = llama.LlamaDims(vocab=128, d_model=64, layers=2, heads=2, d_mlp=96)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scan_inputs(length):
    x, B, C = random(2, length, 3, 8, seed=1), random(2, length, 4, seed=2), random(2, length, 4, seed=3)
    dt = F.softplus(random(2, length, 3, seed=4))
    A = -torch.exp(random(3, seed=5))
    return x, dt, A, B, C, random(2, 3, 8, 4, seed=6)


def shaken(weights):
    """Weights with every vector moved off its starting value, so that a swapped name shows."""
    generator = torch.Generator().manual_seed(9)
    return {n: w + 0.1 * torch.randn(w.shape, generator=generator) for n, w in weights.items()}


@pytest.mark.parametrize("chunk", [1, 4, 8, 32])
def test_ssd_is_the_recurrence(chunk):
    inputs = scan_inputs(32)
    expected, state = recurrence(*inputs)
    got, final = ssd(*inputs, chunk=chunk)
    assert torch.allclose(got, expected, rtol=1e-5, atol=1e-5)
    assert torch.allclose(final, state, rtol=1e-5, atol=1e-5)


def test_ssd_gradients_are_the_recurrences():
    def gradients(scan):
        inputs = [t.clone().requires_grad_() for t in scan_inputs(16)]
        y, state = scan(*inputs)
        (y.square().sum() + state.square().sum()).backward()
        return [t.grad for t in inputs]

    for got, expected in zip(gradients(lambda *a: ssd(*a, chunk=4)), gradients(recurrence)):
        assert torch.allclose(got, expected, rtol=1e-3, atol=1e-3 * expected.abs().max())


def test_a_split_text_ends_in_the_same_state():
    weights = shaken(mamba2.initial_weights(DIMS, torch.Generator().manual_seed(0)))
    tokens = torch.randint(128, (2, 64), generator=torch.Generator().manual_seed(1))
    whole, after = mamba2.hidden(weights, tokens, mamba2.empty_carry(DIMS, 2), DIMS)
    first, carry = mamba2.hidden(weights, tokens[:, :32], mamba2.empty_carry(DIMS, 2), DIMS)
    second, carry = mamba2.hidden(weights, tokens[:, 32:], carry, DIMS)
    assert torch.allclose(torch.cat([first, second], 1), whole, rtol=1e-4, atol=1e-5)
    for got, expected in zip(carry, after):
        assert all(torch.allclose(g, e, rtol=1e-4, atol=1e-5) for g, e in zip(got, expected))


@pytest.mark.parametrize("model, dims", [("Mamba2", DIMS), ("Llama", TWIN)])
def test_logits_are_those_of_transformers(model, dims, tmp_path):
    transformers = pytest.importorskip("transformers")
    from safetensors.torch import save_file

    source = mamba2 if model == "Mamba2" else llama
    weights = shaken(source.initial_weights(dims, torch.Generator().manual_seed(0)))
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(source.huggingface_config(dims), allow_nan=False))
    reference = getattr(transformers, f"{model}ForCausalLM").from_pretrained(tmp_path).eval()
    tokens = torch.randint(128, (2, 48), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = reference(tokens, use_cache=False).logits
        if model == "Mamba2":
            hidden, _ = mamba2.hidden(weights, tokens, mamba2.empty_carry(dims, 2), dims)
        else:
            hidden = llama.hidden(weights, tokens, dims)
        got = hidden @ weights[source.EMBEDDING].T
    assert (got - expected).abs().max() < 1e-4 * expected.abs().max()


def test_dims_add_up():
    dims = dataclasses.replace(DIMS, d_model=128)
    assert (dims.d_inner, dims.heads, dims.conv_dim) == (256, 8, 288)
