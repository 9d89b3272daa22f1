"""What is measured on sound: the log-mel spectrogram the networks see, loudness, pitch.

One frame is 300 samples at 24 kHz; frame t is centred on sample 300 t + 150. One step is two frames.
"""

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

RATE, HOP, STEP, N_FFT, MELS = 24000, 300, 600, 1024, 100
FLOOR = 1e-5  # smallest magnitude of a band, about -11.5 as a logarithm
TARGET_RMS, PEAK = 0.08, 0.95
F0_RANGE = (65.0, 600.0)


@cache
def mel_bands(bands: int = MELS, n_fft: int = N_FFT, rate: int = RATE) -> Tensor:
    """(n_fft / 2 + 1, bands): triangles of height 1 between neighbouring points of the HTK mel scale, 0..rate/2."""
    top = 2595.0 * np.log10(1.0 + rate / 2 / 700.0)
    points = 700.0 * (10.0 ** (np.linspace(0.0, top, bands + 2) / 2595.0) - 1.0)
    bins = np.arange(n_fft // 2 + 1)[:, None] * rate / n_fft
    rise = (bins - points[:-2]) / (points[1:-1] - points[:-2])
    fall = (points[2:] - bins) / (points[2:] - points[1:-1])
    return torch.from_numpy(np.clip(np.minimum(rise, fall), 0.0, None)).float()


def log_mel(sound: Tensor) -> Tensor:
    """(..., samples) -> (..., samples // 300, 100): log of the band sums of the magnitude spectrum.

    Sound is a float in -1..1; what lies before its start and after its end counts as silence.
    """
    frames = sound.shape[-1] // HOP
    left = N_FFT // 2 - HOP // 2
    right = max(0, (frames - 1) * HOP + N_FFT - left - sound.shape[-1])
    pieces = F.pad(sound, (left, right)).unfold(-1, N_FFT, HOP)[..., :frames, :]
    window = torch.hann_window(N_FFT, periodic=True, device=sound.device, dtype=sound.dtype)
    spectrum = torch.fft.rfft(pieces * window).abs()
    return (spectrum @ mel_bands().to(sound)).clamp(min=FLOOR).log()


def active_frames(sound: np.ndarray) -> np.ndarray:
    """Which frames carry speech: those within 30 dB of the loud ones (their 95th percentile)."""
    frames = len(sound) // HOP
    power = np.square(sound[: frames * HOP].reshape(frames, HOP), dtype=np.float64).mean(1)
    return power > np.quantile(power, 0.95) * 1e-3 + 1e-12


def normalising_gain(sound: np.ndarray) -> float:
    """The factor that brings the RMS of the active frames to 0.08, less where the peak would pass 0.95."""
    active = np.repeat(active_frames(sound), HOP)
    rms = np.sqrt(np.square(sound[: len(active)][active], dtype=np.float64).mean()) if active.any() else 0.0
    peak = np.abs(sound).max(initial=0.0)
    return float(min(TARGET_RMS / max(rms, 1e-6), PEAK / max(peak, 1e-6)))


def pitch(sound: np.ndarray) -> np.ndarray:
    """F0 in Hz at every frame's centre, 0 where unvoiced (WORLD's DIO, refined by StoneMask)."""
    import pyworld  # needed when preparing only, so that the training machine does without

    frames = len(sound) // HOP
    # WORLD estimates at multiples of the hop, so half a hop is cut away: its estimate t is then for sample 300 t + 150.
    shifted = np.concatenate([sound[HOP // 2 :], np.zeros(N_FFT)]).astype(np.float64)
    period = 1000.0 * HOP / RATE
    rough, at = pyworld.dio(shifted, RATE, f0_floor=F0_RANGE[0], f0_ceil=F0_RANGE[1], frame_period=period)
    f0 = pyworld.stonemask(shifted, rough, at, RATE)[:frames]
    f0 = np.pad(f0, (0, frames - len(f0)))
    return np.where((f0 >= F0_RANGE[0]) & (f0 <= F0_RANGE[1]), f0, 0.0).astype(np.float32)
