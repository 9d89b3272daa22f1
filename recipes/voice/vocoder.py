"""The vocoder: a source and a filter that meet in the short-time Fourier transform.

A pulse train at the pitch and noise are the sources; a causal trunk (two frames of look-ahead by stacking its
input) says per frame how loud and with what phase each bin of either comes out. One inverse transform a frame.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import HOP, MELS, N_FFT, SAMPLE_RATE
from stacks import Context, Stack

BINS = N_FFT // 2 + 1
NOISE_BANDS = 64
AHEAD = 2
LOUDEST = 6.0
SOFTEST = -14.0
TAPS = 8


def mel_scale(hertz):
    return 2595 * math.log10(1 + hertz / 700)


def noise_interpolation() -> Tensor:
    """(64, 513): linear interpolation between band centres spaced evenly on the mel scale over 0..12 kHz."""
    top = mel_scale(SAMPLE_RATE / 2)
    place = torch.tensor([mel_scale(b * SAMPLE_RATE / N_FFT) for b in range(BINS)]) * (NOISE_BANDS - 1) / top
    low = place.floor().clamp(max=NOISE_BANDS - 2).long()
    share = (place - low)[None]
    table = torch.zeros(NOISE_BANDS, BINS)
    table.scatter_(0, low[None], 1 - share)
    return table.scatter_add(0, low[None] + 1, share)


def between_centres(values: Tensor, first: int, count: int) -> Tensor:
    """Values at frame centres (batch, frames), linearly interpolated at samples first .. first + count, where
    sample 0 is the start of frame 0's hop; the ends are held."""
    place = (torch.arange(first, first + count, device=values.device, dtype=torch.float64) - HOP / 2) / HOP
    place = place.clamp(0, values.shape[1] - 1)
    low = place.floor().long().clamp(max=max(values.shape[1] - 2, 0))
    high = (low + 1).clamp(max=values.shape[1] - 1)
    share = (place - low).to(values.dtype)
    return values[:, low] * (1 - share) + values[:, high] * share


def excitation(hertz: Tensor, voiced: Tensor, begin: Tensor) -> Tensor:
    """Pulses (batch, frames * 300) of unit power. hertz (batch, frames) is held through unvoiced frames; begin
    (batch,) is the phase before the first sample, in cycles. A pulse is a Hann-windowed sinc of 8 taps about the
    instant at which the phase passes a whole number."""
    count = hertz.shape[1] * HOP
    pitch = between_centres(hertz.double(), 0, count)
    phase = begin.double()[:, None] + torch.cumsum(pitch / SAMPLE_RATE, 1)
    before = F.pad(phase, (1, 0))[:, :-1]
    before[:, 0] = begin
    crossed = phase.floor() > before.floor()
    # The pulse is `late` samples before the sample at which the new cycle is noticed.
    late = ((phase - phase.floor()) * SAMPLE_RATE / pitch).float()
    loud = torch.sqrt(SAMPLE_RATE / pitch).float() * between_centres(voiced.float(), 0, count)
    loud = torch.where(crossed, loud, torch.zeros_like(loud))
    sound = torch.zeros_like(loud)
    for tap in range(-TAPS // 2, TAPS // 2):
        # Sample n + tap, seen from the pulse at n - late.
        distance = tap + late
        window = torch.where(distance.abs() < TAPS / 2, 0.5 + 0.5 * torch.cos(2 * math.pi * distance / TAPS), 0.0)
        part = loud * torch.sinc(distance) * window
        sound = sound + (F.pad(part, (tap, 0))[:, :count] if tap >= 0 else F.pad(part, (0, -tap))[:, -tap:])
    return sound


def hann(device) -> Tensor:
    return torch.hann_window(N_FFT, periodic=True, device=device)


def spectra(sound: Tensor) -> Tensor:
    """Windowed spectra (batch, frames, 513) of the frames centred on 300 t + 150; zeros beyond the ends."""
    margin = N_FFT // 2 - HOP // 2
    padded = F.pad(sound, (margin, N_FFT - HOP - margin))
    return torch.fft.rfft(padded.unfold(1, N_FFT, HOP) * hann(sound.device))


def overlap_add(spectrum: Tensor) -> Tensor:
    """The inverse: (batch, frames, 513) to (batch, frames * 300), as if frames went on for ever at both ends."""
    window = hann(spectrum.device)
    parts = torch.fft.irfft(spectrum, n=N_FFT) * window
    frames = parts.shape[1]
    length = (frames - 1) * HOP + N_FFT
    sound = F.fold(parts.transpose(1, 2), (1, length), (1, N_FFT), stride=(1, HOP))[:, 0, 0]
    squares = F.pad(window.square(), (0, -N_FFT % HOP)).reshape(-1, HOP).sum(0)
    margin = N_FFT // 2 - HOP // 2
    sound = sound[:, margin : margin + frames * HOP]
    shift = torch.roll(squares, -(margin % HOP))
    return sound / shift.repeat(frames)


def hash_noise(seed: int, frames: int, first: int = 0) -> Tensor:
    """(frames, 513) complex, parts uniform with unit variance: a function of (seed, frame, bin, part) alone."""
    mask = (1 << 32) - 1
    key = torch.arange(first, first + frames, dtype=torch.int64)[:, None] * (2 * BINS) + torch.arange(2 * BINS)
    x = (key + seed * 0x9E3779B9) & mask
    for multiplier in (0x85EBCA6B, 0xC2B2AE35):
        x = ((x ^ (x >> 16)) * multiplier) & mask
    x = x ^ (x >> 16)
    uniform = (x.double() / 2**32 * 2 - 1).float() * 3**0.5
    return torch.complex(uniform[:, :BINS], uniform[:, BINS:])


def draw_noise(batch: int, frames: int, device) -> Tensor:
    """The same distribution from the generator of the device, for training."""
    parts = (torch.rand(batch, frames, BINS, 2, device=device) * 2 - 1) * 3**0.5
    return torch.view_as_complex(parts)


class Vocoder(nn.Module):
    def __init__(self, config: dict):
        super().__init__()
        d = config["vocoder"]["d_model"]
        self.input = nn.Linear((AHEAD + 1) * (MELS + 2), d)
        self.trunk = Stack(config["vocoder"])
        self.head = nn.Linear(d, 2 * BINS + NOISE_BANDS)
        nn.init.normal_(self.head.weight, std=0.02)
        with torch.no_grad():
            self.head.bias[:BINS] = -3.0
            self.head.bias[BINS : 2 * BINS] = 0.0
            self.head.bias[2 * BINS :] = -5.0
        self.register_buffer("spread", noise_interpolation(), persistent=False)

    def forward(self, mel: Tensor, log_f0: Tensor, voiced: Tensor, noise: Tensor, begin: Tensor) -> Tensor:
        """mel (batch, frames, 100) normalised; log_f0, voiced (batch, frames), log_f0 held through unvoiced frames;
        noise (batch, frames, 513) complex. Returns (batch, frames * 300) samples."""
        voiced = voiced.to(mel.dtype)
        features = torch.cat([mel, ((log_f0 - 5.0) / 0.5)[..., None], voiced[..., None]], -1)
        last = features[:, -1:].expand(-1, AHEAD, -1)
        long = torch.cat([features, last], 1)
        frames = mel.shape[1]
        stacked = torch.cat([long[:, k : k + frames] for k in range(AHEAD + 1)], -1)
        segment = torch.zeros(mel.shape[:2], dtype=torch.long, device=mel.device)
        y = self.trunk(self.input(stacked).float(), Context.of(segment))
        head = self.head(y).float()
        loud, turn, breath = head.split([BINS, BINS, NOISE_BANDS], -1)
        with torch.autocast(mel.device.type, enabled=False):
            pulses = spectra(excitation(log_f0.float().exp(), voiced, begin))
            tone = pulses * torch.polar(loud.clamp(SOFTEST, LOUDEST).exp(), turn)
            air = noise * (breath @ self.spread).clamp(SOFTEST, LOUDEST).exp()
            return overlap_add(tone + air)
