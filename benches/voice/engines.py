"""One engine behind one interface, in a process of its own.

    python engines.py NAME [--threads 1] [--voice V]

Reads JSON lines from standard input and answers each with one line:

    {"text": "Hello.", "wav": "out.wav" or null}
    {"first_ms": .., "total_ms": .., "cpu_ms": .., "seconds": .., "rate": ..}

The first line written is {"ready": name, "version": ..., "voice": ...}, after a warm-up.
`first_ms` ends when the engine's own interface hands over its first sound;
writing the file is never on the clock. `sillage` speaks the same lines
(README.md), so nothing else knows which engine it is talking to.
"""

import argparse
import ctypes
import importlib.metadata
import json
import sys
import time
import wave
from pathlib import Path

import numpy as np

WARM_UP = ("The first words warm the caches.", "Once more, with 2 or 3 numbers, and then we begin.")
HIBARI_VOICE = "heart"
KOKORO_VOICE = "af_heart"
KOKORO_RATE = 24_000
ESPEAK_RETRIEVAL, ESPEAK_UTF8 = 1, 1
ESPEAK_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Hibari:
    """hibari-tts (Apache-2.0): a whole sentence at a time."""

    def __init__(self, threads, voice):
        from hibari import Hibari as Engine

        self.voice = voice or HIBARI_VOICE
        self.engine = Engine(voice=self.voice, threads=threads)
        self.rate = self.engine.sample_rate
        self.version = importlib.metadata.version("hibari-tts")

    def speak(self, text):
        yield from self.engine.stream(text, seed=0)


class Piper:
    """Piper's voice "joe" by piper-tts (GPL-3, run only to be measured): a sentence at a time."""

    def __init__(self, threads, voice):
        import material
        import onnxruntime
        import piper.voice

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        # The package takes its thread count from the machine; hold it to ours.
        piper.voice.onnxruntime.SessionOptions = lambda: options
        self.voice = voice or "joe-medium"
        self.engine = piper.voice.PiperVoice.load(material.piper_joe())
        self.rate = self.engine.config.sample_rate
        self.version = importlib.metadata.version("piper-tts")

    def speak(self, text):
        for chunk in self.engine.synthesize(text):
            yield chunk.audio_float_array


class Kokoro:
    """Kokoro-82M fp32 (Apache-2.0) by onnxruntime, phonemes by hibari's front end."""

    def __init__(self, threads, voice):
        import material
        import onnxruntime
        from hibari import Hibari as FrontEnd
        from hibari.g2p import G2P

        self.voice = voice or KOKORO_VOICE
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        path = str(material.kokoro())
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.pack = np.fromfile(material.kokoro_voice(self.voice), dtype=np.float32).reshape(510, 256)
        self.phonemes = G2P(british=self.voice.startswith("b"))
        self.split = FrontEnd.split_sentences
        self.ids = material.kokoro_ids()
        self.rate = KOKORO_RATE
        self.version = "v1.0 fp32, onnxruntime " + onnxruntime.__version__

    def speak(self, text):
        for sentence in self.split(text):
            ids = [self.ids[mark] for mark in self.phonemes(sentence) if mark in self.ids][:508]
            style = self.pack[min(len(ids), 509)][None]
            feed = {"input_ids": np.array([[0, *ids, 0]], np.int64), "style": style, "speed": np.ones(1, np.float32)}
            yield self.session.run(None, feed)[0].reshape(-1)


class EspeakNg:
    """espeak-ng's own library: formant synthesis, streamed by its callback."""

    def __init__(self, threads, voice):
        self.voice = voice or "en-us"
        self.library = ctypes.CDLL("libespeak-ng.so.1")
        # 20 ms buffers: the sound is handed over as early as the library can.
        self.rate = self.library.espeak_Initialize(ESPEAK_RETRIEVAL, 20, None, 0)
        if self.rate <= 0:
            raise SystemExit("espeak-ng would not start: install the Debian package espeak-ng")
        self.library.espeak_SetVoiceByName(self.voice.encode())
        self.library.espeak_Info.restype = ctypes.c_char_p
        self.version = self.library.espeak_Info(None).decode().split()[0]
        self.chunks = []
        self.hook = ESPEAK_CALLBACK(self.heard)
        self.library.espeak_SetSynthCallback(self.hook)

    def heard(self, samples, count, _events):
        if samples and count > 0:
            if not self.chunks:
                self.first = time.perf_counter()
            self.chunks.append(np.ctypeslib.as_array(samples, (count,)).astype(np.float32) / 32768.0)
        return 0

    def speak(self, text):
        """All chunks at the end; `first` is when the callback got the first one."""
        self.chunks = []
        data = text.encode() + b"\0"
        self.library.espeak_Synth(data, ctypes.c_size_t(len(data)), 0, 1, 0, ESPEAK_UTF8, None, None)
        self.library.espeak_Synchronize()
        yield from self.chunks


class FliteWave(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_char_p), ("sample_rate", ctypes.c_int), ("num_samples", ctypes.c_int),
        ("num_channels", ctypes.c_int), ("samples", ctypes.POINTER(ctypes.c_short)),
    ]  # fmt: skip


class Flite:
    """flite's library with voice slt: the whole text at a time."""

    def __init__(self, threads, voice):
        self.voice = voice or "slt"
        self.library = ctypes.CDLL("libflite.so.1", mode=ctypes.RTLD_GLOBAL)
        for part in ("usenglish", "cmulex"):
            ctypes.CDLL(f"libflite_{part}.so.1", mode=ctypes.RTLD_GLOBAL)
        register = getattr(ctypes.CDLL(f"libflite_cmu_us_{self.voice}.so.1"), f"register_cmu_us_{self.voice}")
        register.restype = ctypes.c_void_p
        self.library.flite_init()
        self.handle = ctypes.c_void_p(register(None))
        self.library.flite_text_to_wave.restype = ctypes.POINTER(FliteWave)
        self.rate, self.version = 16_000, "2.2"

    def speak(self, text):
        made = self.library.flite_text_to_wave(text.encode(), self.handle)
        self.rate = made.contents.sample_rate
        sound = np.ctypeslib.as_array(made.contents.samples, (made.contents.num_samples,))
        yield sound.astype(np.float32) / 32768.0
        self.library.delete_wave(made)


ENGINES = {"hibari": Hibari, "piper": Piper, "kokoro": Kokoro, "espeak-ng": EspeakNg, "flite": Flite}


def timed(engine, text):
    """(sound, figures) of one text."""
    engine.first = None
    began, busy = time.perf_counter(), time.process_time()
    chunks, first = [], None
    for chunk in engine.speak(text):
        if first is None:
            first = engine.first or time.perf_counter()
        chunks.append(chunk)
    ended = time.perf_counter()
    used = time.process_time() - busy
    sound = np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
    return sound, {
        "first_ms": 1e3 * ((first or ended) - began),
        "total_ms": 1e3 * (ended - began),
        "cpu_ms": 1e3 * used,
        "seconds": len(sound) / engine.rate,
        "rate": engine.rate,
    }


def written(path, sound, rate):
    """16-bit WAV by the standard library: no package swells the process whose memory is measured."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((np.clip(sound, -1.0, 1.0) * 32767.0).astype("<i2").tobytes())


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("engine", choices=list(ENGINES))
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--voice")
    given = options.parse_args()
    # Libraries print to standard output at times: keep that for the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    engine = ENGINES[given.engine](given.threads, given.voice)
    for text in WARM_UP:
        timed(engine, text)
    print(json.dumps({"ready": given.engine, "version": engine.version, "voice": engine.voice}), file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        sound, figures = timed(engine, asked["text"])
        if asked.get("wav"):
            written(asked["wav"], sound, engine.rate)
        print(json.dumps(figures), file=answers, flush=True)


if __name__ == "__main__":
    main()
