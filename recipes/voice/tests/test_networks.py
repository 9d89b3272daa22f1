"""Properties of the networks that training and the runtime both lean on."""

import pytest
import torch

import model
import vocoder
from stacks import Context, Stack
from ssd import recurrence, ssd

SYMBOLS = [str(n) for n in range(40)]


@pytest.mark.parametrize("kind", ["ssm", "attention"])
def test_packing_changes_nothing(kind):
    torch.manual_seed(0)
    stack = Stack({"d_model": 64, "blocks": model.backbone_blocks(kind, 64, 2)})
    x = torch.randn(1, 64, 64)
    segment = torch.cat([torch.zeros(1, 23), torch.ones(1, 41)], 1).long()
    packed = stack(x, Context.of(segment))
    for part in (slice(0, 23), slice(23, 64)):
        alone = stack(x[:, part], Context.of(torch.zeros_like(segment[:, part])))
        torch.testing.assert_close(packed[:, part], alone, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["ssm", "attention"])
def test_backbones_are_causal(kind):
    torch.manual_seed(0)
    stack = Stack({"d_model": 64, "blocks": model.backbone_blocks(kind, 64, 2)})
    x = torch.randn(1, 48, 64)
    changed = x.clone()
    changed[:, 30:] += 1
    context = Context.of(torch.zeros(1, 48).long())
    torch.testing.assert_close(stack(x, context)[:, :30], stack(changed, context)[:, :30])
    assert not torch.allclose(stack(x, context)[:, 30:], stack(changed, context)[:, 30:])


def test_backbones_have_the_same_size():
    count = lambda kind: sum(p.numel() for p in model.Voice(model.configuration(SYMBOLS, kind)).acoustic.parameters())
    assert abs(count("ssm") / count("attention") - 1) < 0.02


def test_cut_forgets():
    torch.manual_seed(0)
    x, dt = torch.randn(1, 64, 2, 4), torch.rand(1, 64, 2)
    A, B, C = -torch.rand(2) - 0.5, torch.randn(1, 64, 8), torch.randn(1, 64, 8)
    empty = torch.zeros(1, 2, 4, 8)
    cut = torch.zeros(1, 64)
    cut[:, 40] = -60
    y, _ = ssd(x, dt, A, B, C, empty, 32, cut)
    fresh, _ = recurrence(x[:, 40:], dt[:, 40:], A, B[:, 40:], C[:, 40:], empty)
    torch.testing.assert_close(y[:, 40:], fresh, atol=1e-4, rtol=1e-3)


def test_the_transform_is_undone():
    sound = torch.randn(1, 300 * 40)
    again = vocoder.overlap_add(vocoder.spectra(sound))
    torch.testing.assert_close(again[:, 900:-900], sound[:, 900:-900], atol=1e-4, rtol=1e-4)


def test_the_excitation_has_unit_power_and_the_right_period():
    hertz = torch.full((1, 80), 200.0)
    pulses = vocoder.excitation(hertz, torch.ones(1, 80), torch.zeros(1))[0]
    assert abs(pulses.square().mean().item() - 1) < 0.01
    peaks = torch.nonzero(pulses > 5).flatten()
    assert set((peaks[1:] - peaks[:-1]).tolist()) == {120}
    assert vocoder.excitation(hertz, torch.zeros(1, 80), torch.zeros(1)).abs().max() == 0


def test_noise_is_a_function_of_its_place():
    whole = vocoder.hash_noise(7, 20)
    assert torch.equal(whole[5:], vocoder.hash_noise(7, 15, first=5))
    assert abs(whole.real.square().mean().item() - 1) < 0.05
    assert not torch.equal(whole, vocoder.hash_noise(8, 20))


def test_durations_are_rounded_without_drift():
    steps = torch.full((100,), 1.37)
    whole = model.whole_steps(steps, [True] * 100)
    assert abs(sum(whole) - 137) <= 1 and min(whole) >= 1
    assert model.whole_steps(torch.tensor([0.2, 0.2]), [True, False]) == [1, 0]
