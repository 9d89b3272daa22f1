"""What happens to sound on its way: codecs, noise, filters, speed, rooms.

Every edit takes and gives mono sound at 24 kHz (float, full scale 1). The first
group is what a mark should outlive; the second is there to show where it ends.
"""

import math
import subprocess
import tempfile

import numpy as np
from scipy import signal

RATE = 24_000


def ffmpeg(sound, *filters, suffix=None, encode=()):
    """The sound through ffmpeg: filters, or an encoder and back."""
    source = ["-f", "f32le", "-ar", str(RATE), "-ac", "1", "-i", "-"]
    sink = ["-f", "f32le", "-ar", str(RATE), "-ac", "1", "-"]
    quiet = ["ffmpeg", "-v", "error", "-y", "-threads", "1"]
    given = np.asarray(sound, "<f4").tobytes()
    if suffix is None:
        line = [*quiet, *source, "-af", ",".join(filters), *sink]
        return np.frombuffer(subprocess.run(line, input=given, stdout=subprocess.PIPE, check=True).stdout, "<f4")
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/sound.{suffix}"
        subprocess.run([*quiet, *source, *encode, path], input=given, check=True)
        done = subprocess.run([*quiet, "-i", path, *sink], stdout=subprocess.PIPE, check=True)
    return np.frombuffer(done.stdout, "<f4")


def read(path):
    """Any file that ffmpeg reads, as mono sound at 24 kHz."""
    line = ["ffmpeg", "-v", "error", "-threads", "1", "-i", str(path), "-f", "f32le", "-ac", "1", "-ar", str(RATE), "-"]
    return np.frombuffer(subprocess.run(line, stdout=subprocess.PIPE, check=True).stdout, "<f4")


def filtered(*filters):
    return lambda sound: ffmpeg(sound, *filters)


def coded(suffix, *encode):
    return lambda sound: ffmpeg(sound, suffix=suffix, encode=encode)


def in_16_bits(sound):
    """What is below the last of 16 bits is gone, as in a file."""
    return np.clip(np.round(sound * 32768), -32768, 32767) / 32768


def through_rate(rate):
    return lambda sound: signal.resample_poly(signal.resample_poly(sound, rate, RATE), RATE, rate)


def noise(colour, decibels):
    """Noise at a ratio to the mean power of the sound."""

    def edit(sound):
        bins = np.fft.rfft(np.random.default_rng(7).standard_normal(len(sound)))
        if colour == "pink":
            bins /= np.sqrt(np.maximum(np.arange(len(bins)), 1))
        hiss = np.fft.irfft(bins, len(sound))
        return sound + hiss * math.sqrt(np.mean(sound**2) / np.mean(hiss**2) / 10 ** (decibels / 10))

    return edit


def passed(kind, hertz):
    """An eighth-order Butterworth filter, and 16 bits so that what was filtered out is gone."""
    sections = signal.butter(8, hertz, kind, fs=RATE, output="sos")
    return lambda sound: in_16_bits(signal.sosfilt(sections, sound))


def resampled_speed(factor):
    """Faster and higher, as a tape that runs faster."""
    return lambda sound: signal.resample_poly(sound, 100, round(100 * factor))


def pitch(semitones):
    """Higher at the same pace."""
    factor = 2 ** (semitones / 12)
    return filtered(f"asetrate={RATE * factor:.0f}", f"aresample={RATE}", f"atempo={1 / factor:.6f}")


def room(seconds, direct):
    """A room: the direct sound, and noise that decays by 60 dB in `seconds` and is `direct` dB weaker in all."""

    def edit(sound):
        size = int(seconds * RATE)
        tail = np.random.default_rng(8).standard_normal(size) * 10 ** (-3 * np.arange(size) / size)
        tail[: RATE // 200] = 0
        tail *= 10 ** (-direct / 20) / np.sqrt(np.sum(tail**2))
        tail[0] = 1
        return signal.oaconvolve(sound, tail)[: len(sound)]

    return edit


def cropped(sound):
    """Begins anywhere, not at a frame of the pattern."""
    return sound[int(np.random.default_rng(len(sound)).integers(RATE // 10, 3 * RATE)) :]


ASKED = {
    "none": lambda sound: sound,
    "MP3 64 kbit/s": coded("mp3", "-b:a", "64k"),
    "AAC 64 kbit/s": coded("m4a", "-c:a", "aac", "-b:a", "64k"),
    "Opus 64 kbit/s": coded("opus", "-c:a", "libopus", "-b:a", "64k"),
    "8 kHz and back": through_rate(8_000),
    "16 kHz and back": through_rate(16_000),
    "white noise 20 dB": noise("white", 20),
    "pink noise 20 dB": noise("pink", 20),
    "high-pass 500 Hz": passed("highpass", 500),
    "low-pass 3.5 kHz": passed("lowpass", 3500),
    "speed 0.9": resampled_speed(0.9),
    "speed 1.1": resampled_speed(1.1),
    "tempo 0.9": filtered("atempo=0.9"),
    "tempo 1.1": filtered("atempo=1.1"),
    "gain -20 dB": lambda sound: in_16_bits(0.1 * sound),
    "gain +12 dB, clipped": lambda sound: in_16_bits(4 * sound),
    "reverb 0.3 s, direct +6 dB": room(0.3, 6),
    "cropped": cropped,
}
HARDER = {
    "reverb 0.5 s, direct 0 dB": room(0.5, 0),
    "white noise 10 dB": noise("white", 10),
    "pink noise 10 dB": noise("pink", 10),
    "Opus 16 kbit/s": coded("opus", "-c:a", "libopus", "-b:a", "16k"),
    "Opus 8 kbit/s": coded("opus", "-c:a", "libopus", "-b:a", "8k"),
    "mu-law at 8 kHz": coded("wav", "-ar", "8000", "-c:a", "pcm_mulaw"),
    "noise reduction": filtered("afftdn=nr=20"),
    "compressor 4:1": filtered("acompressor=threshold=-30dB:ratio=4:attack=5:release=50:makeup=6"),
    "low-pass 1 kHz": passed("lowpass", 1000),
    "high-pass 4 kHz": passed("highpass", 4000),
    "speed 0.8": resampled_speed(0.8),
    "pitch +1 semitone": pitch(1),
    "pitch -2 semitones": pitch(-2),
    "pitch +4 semitones": pitch(4),
    "played backwards": lambda sound: np.ascontiguousarray(sound[::-1]),
}
EDITS = {**ASKED, **HARDER}
