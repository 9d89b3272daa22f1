"""Speakers in disguise: what is done to a sound agrees with what is done to its spectrogram."""

from types import SimpleNamespace

import torch

from batches import Disguise, stretched_bands
from embed import RATE, excerpt
from features import MELS, log_mel

CORPUS = SimpleNamespace(mean=torch.zeros(MELS), std=torch.full((MELS,), 2.0))


def tone(hertz: float, seconds: float = 2.0) -> torch.Tensor:
    return 0.3 * torch.sin(2 * torch.pi * hertz * torch.arange(int(seconds * 24000)) / 24000)[None]


def loudest(mel: torch.Tensor) -> int:
    return int(mel[40:120].mean(0).argmax())


def test_nobody_in_disguise_is_left_alone():
    same = Disguise(torch.zeros(1), torch.zeros(1, MELS))
    sound = tone(440.0)
    torch.testing.assert_close(same.sound(CORPUS, sound)[:, :40000], sound[:, :40000], atol=1e-4, rtol=0)


def test_a_stretched_sound_has_a_stretched_spectrogram():
    for stretch in (-0.15, 0.15):
        disguise = Disguise(torch.tensor([stretch]), torch.zeros(1, MELS))
        sound = tone(1000.0)
        heard = log_mel(disguise.sound(CORPUS, sound))[0]
        drawn = disguise.mel(SimpleNamespace(mean=torch.zeros(MELS), std=torch.ones(MELS)), log_mel(sound))[0]
        assert abs(loudest(heard) - loudest(drawn)) <= 1
        assert loudest(heard) != loudest(log_mel(sound)[0])


def test_the_curve_raises_bands_alike():
    curve = torch.zeros(1, MELS)
    curve[:, 40:] = 0.25
    disguise = Disguise(torch.zeros(1), curve)
    noise = 0.1 * torch.randn(1, 48000, generator=torch.Generator().manual_seed(0))
    gained = (log_mel(disguise.sound(CORPUS, noise)) - log_mel(noise))[0, 20:140].mean(0)
    assert abs(gained[60:90].mean().item() - 0.25 * 2.0) < 0.03 and abs(gained[5:35].mean().item()) < 0.03


def test_bands_stay_where_nothing_is_stretched():
    torch.testing.assert_close(stretched_bands(torch.zeros(1))[0], torch.arange(MELS).float(), atol=1e-3, rtol=0)


def test_short_sound_is_repeated_for_the_listener():
    assert len(excerpt(tone(200.0, 1.0)[0].numpy())) == 6 * RATE
    assert len(excerpt(tone(200.0, 9.0)[0].numpy())) == 6 * RATE
