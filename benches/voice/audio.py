"""Sound in and out, and the few spectra that the meters need. Mono float32 throughout."""

import functools
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly

METER_RATE = 16_000


def read(path, rate=None):
    """The sound of a file as mono float32, and its rate; resampled to `rate` if given."""
    sound, found = soundfile.read(str(path), dtype="float32", always_2d=True)
    sound = sound.mean(axis=1)
    if rate and rate != found:
        sound, found = resampled(sound, found, rate), rate
    return sound, found


def resampled(sound, old, new):
    """Polyphase resampling between two integer rates."""
    if old == new:
        return sound
    common = np.gcd(int(old), int(new))
    return resample_poly(sound, new // common, old // common).astype(np.float32)


def write(path, sound, rate):
    """16-bit WAV."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(str(path), np.clip(sound, -1.0, 1.0), rate, subtype="PCM_16")


def trimmed(sound, rate, below_peak_db=40.0, margin=0.05):
    """Without leading and trailing silence (20 ms windows, relative to the loudest)."""
    size = max(1, rate // 50)
    count = len(sound) // size
    if count < 2:
        return sound
    power = np.square(sound[: count * size]).reshape(count, size).mean(axis=1) + 1e-12
    loud = np.flatnonzero(10 * np.log10(power / power.max()) > -below_peak_db)
    extra = int(margin * rate)
    return sound[max(0, loud[0] * size - extra) : (loud[-1] + 1) * size + extra]


def frames(sound, size, hop):
    """Overlapping windows as rows, without padding."""
    if len(sound) < size:
        sound = np.pad(sound, (0, size - len(sound)))
    return np.lib.stride_tricks.sliding_window_view(sound, size)[::hop]


def slaney_scale(hz):
    """Hertz to mel on Slaney's scale: linear below 1 kHz, logarithmic above."""
    hz = np.asarray(hz, dtype=np.float64)
    step = np.log(6.4) / 27.0
    return np.where(hz < 1000.0, hz * 3.0 / 200.0, 15.0 + np.log(np.maximum(hz, 1000.0) / 1000.0) / step)


def slaney_hertz(mel):
    mel = np.asarray(mel, dtype=np.float64)
    step = np.log(6.4) / 27.0
    return np.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * np.exp(step * (mel - 15.0)))


@functools.lru_cache(maxsize=None)
def slaney_filters(rate, n_fft, n_mels):
    """Triangular filters of unit area on Slaney's scale, [n_mels, n_fft//2+1]."""
    edges = slaney_hertz(np.linspace(slaney_scale(0.0), slaney_scale(rate / 2), n_mels + 2))
    bins = np.arange(n_fft // 2 + 1) * (rate / n_fft)
    rise = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return np.maximum(0.0, np.minimum(rise, fall)) * (2.0 / (edges[2:] - edges[:-2]))[:, None]


def power_mel(sound, rate, n_fft, hop, n_mels):
    """Power mel spectrogram, centred frames with zero padding, [frames, n_mels]."""
    padded = np.pad(sound, n_fft // 2)
    window = np.hanning(n_fft + 1)[:-1]
    spectrum = np.abs(np.fft.rfft(frames(padded, n_fft, hop) * window, axis=1)) ** 2
    return spectrum @ slaney_filters(rate, n_fft, n_mels).T


@functools.lru_cache(maxsize=None)
def htk_filters(rate, n_fft, n_mels, low):
    """Triangular filters of unit height on the HTK mel scale, as Kaldi's fbank has them."""

    def scale(hz):
        return 1127.0 * np.log1p(np.asarray(hz) / 700.0)

    edges = np.linspace(scale(low), scale(rate / 2), n_mels + 2)
    bins = scale(np.linspace(0.0, rate / 2, n_fft // 2 + 1))
    rise = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    filters = np.maximum(0.0, np.minimum(rise, fall))
    filters[:, -1] = 0.0
    return filters


def pitch(sound, rate, low=60.0, high=420.0):
    """F0 in Hz every 10 ms (0 where unvoiced), by the normalised autocorrelation of 40 ms windows."""
    size, hop = rate // 25, rate // 100
    rows = frames(np.asarray(sound, dtype=np.float64), size, hop)
    rows = rows - rows.mean(axis=1, keepdims=True)
    energy = np.square(rows).mean(axis=1)
    window = np.hanning(size)
    n_fft = 1 << int(np.ceil(np.log2(2 * size)))
    spread = np.fft.irfft(np.abs(np.fft.rfft(rows * window, n_fft, axis=1)) ** 2, axis=1)[:, :size]
    shape = np.fft.irfft(np.abs(np.fft.rfft(window, n_fft)) ** 2)[:size]
    likeness = spread / np.maximum(spread[:, :1], 1e-12) / (shape / shape[0])
    first, last = int(rate / high), min(size * 2 // 3, int(rate / low))
    lags = np.arange(first, last)
    # A small cost per octave of lag, so that the true period wins over its multiples.
    found = likeness[:, first:last] - 0.06 * np.log2(lags / first)
    best = found.argmax(axis=1)
    strength = likeness[np.arange(len(rows)), lags[best]]
    loud = energy > max(1e-8, np.percentile(energy, 95) * 1e-3)
    return np.where((strength > 0.55) & loud, rate / lags[best], 0.0)


def fbank(sound, window="hamming", n_mels=80):
    """Kaldi-style log mel filter banks of 16 kHz sound, 25 ms every 10 ms, mean removed."""
    rows = frames(np.asarray(sound, dtype=np.float64) * 32768.0, 400, 160)
    rows = rows - rows.mean(axis=1, keepdims=True)
    rows = rows - 0.97 * np.concatenate([rows[:, :1], rows[:, :-1]], axis=1)
    shape = np.hamming(400) if window == "hamming" else np.hanning(400) ** 0.85
    spectrum = np.abs(np.fft.rfft(rows * shape, 512, axis=1)) ** 2
    bands = np.log(np.maximum(spectrum @ htk_filters(METER_RATE, 512, n_mels, 20.0).T, 1.1920929e-07))
    return (bands - bands.mean(axis=0)).astype(np.float32)
