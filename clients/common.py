"""What the client tests share: where the server is, what counts as speech, and
a list of checks that are run one after the other, so that one failure does not
hide the next."""

import array
import asyncio
import inspect
import io
import math
import os
import sys
import time
import traceback
import wave
from urllib.parse import urlsplit

BASE = os.environ.get("SILLAGE_BASE", "http://127.0.0.1:8080").rstrip("/")
WS_BASE = BASE.replace("http", "ws", 1)
HOST, PORT = urlsplit(BASE).hostname, urlsplit(BASE).port
# Two old SDKs speak plain ws:// to "localhost" only.
LOCALHOST = f"localhost:{PORT}"
KEY = os.environ.get("SILLAGE_KEY", "not-needed")
VOICE = os.environ.get("SILLAGE_VOICE", "nova")
LM = os.environ.get("SILLAGE_LM", "booklet")
WYOMING = os.environ.get("SILLAGE_WYOMING", "127.0.0.1:10200")
CLIP = os.environ.get("SILLAGE_CLIP", "")
CONSENT = os.environ.get("SILLAGE_CONSENT", "")

# A model name that clients have built in; the server maps it to its own voice.
SPEECH_MODEL = "sonic-3"
# The two voice ids that clients have built in.
KNOWN_VOICES = ("6ccbfb76-1fc6-48f7-b71d-91ac6298247b", "f786b574-daa5-4673-aa0c-cbe3e8534c02")
LINE = "The kettle began to sing, and nobody in the kitchen noticed."
PROMPT = "The old lighthouse keeper climbed the stairs and"

S16 = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 24000}
F32 = {"container": "raw", "encoding": "pcm_f32le", "sample_rate": 44100}
WAV = {"container": "wav", "encoding": "pcm_s16le", "sample_rate": 24000}


def samples(data, encoding="pcm_s16le"):
    """Raw PCM as floats in -1..1."""
    width = 4 if encoding == "pcm_f32le" else 2
    assert len(data) % width == 0, f"{len(data)} bytes are not whole samples of {width}"
    values = array.array("f" if width == 4 else "h", data)
    return values if width == 4 else [v / 32768 for v in values]


def check_speech(values, rate, text=LINE):
    """Holds samples to what speech of `text` looks like, and returns its seconds."""
    seconds, words = len(values) / rate, max(len(text.split()), 1)
    assert 0.1 * words < seconds < 1.2 * words + 1.5, f"{seconds:.2f} s for {words} words"
    loudness = math.sqrt(sum(v * v for v in values) / len(values))
    assert 0.005 < loudness < 0.5, f"root mean square {loudness:.4f}"
    clipped = sum(abs(v) > 0.999 for v in values) / len(values)
    assert clipped < 0.001, f"{clipped:.1%} of the samples are clipped"
    # Speech rises and falls: its loudest tenth is far above its quietest.
    window = rate // 50
    levels = sorted(sum(v * v for v in values[i : i + window]) for i in range(0, len(values) - window, window))
    tenth = max(len(levels) // 10, 1)
    assert sum(levels[-tenth:]) > 20 * sum(levels[:tenth]), "as steady as a tone"
    return seconds


def raw_speech(data, rate=24000, encoding="pcm_s16le", text=LINE):
    return check_speech(samples(bytes(data), encoding), rate, text)


def wav_speech(data, rate=24000, text=LINE):
    """The same for a WAV file. One that was streamed does not know its length, and
    says so with the largest number; its samples are all that follows."""
    data = bytes(data)
    assert data[:4] == b"RIFF" and data[8:12] == b"WAVE", data[:12]
    at = data.index(b"data")
    kind, channels = int.from_bytes(data[20:22], "little"), int.from_bytes(data[22:24], "little")
    found = int.from_bytes(data[24:28], "little")
    assert channels == 1 and found == rate, f"{channels} channels at {found} Hz"
    size = min(int.from_bytes(data[at + 4 : at + 8], "little") or len(data), len(data) - at - 8)
    return raw_speech(data[at + 8 : at + 8 + size], rate, "pcm_f32le" if kind == 3 else "pcm_s16le", text)


def write_wav(data, rate=24000):
    """16-bit samples as a WAV file."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(data)
    return out.getvalue()


def check_words(words, start, end, text, seconds=None):
    """Timestamps repeat the text word for word and go forward."""
    assert list(words) == text.split(), f"{words} for {text!r}"
    assert len(words) == len(start) == len(end), (len(words), len(start), len(end))
    assert all(a < b for a, b in zip(start, end)), list(zip(start, end))
    assert all(a <= b + 1e-3 for a, b in zip(end, start[1:])), list(zip(start, end))
    if seconds is not None:
        assert end[-1] <= seconds + 0.05, f"last word ends at {end[-1]} of {seconds}"


def raises(kind, call, *args, **kwargs):
    """Calls, and returns the exception that must come."""
    try:
        call(*args, **kwargs)
    except kind as error:
        return error
    raise AssertionError(f"no {getattr(kind, '__name__', kind)} was raised")


async def raises_async(kind, awaitable):
    try:
        await awaitable
    except kind as error:
        return error
    raise AssertionError(f"no {getattr(kind, '__name__', kind)} was raised")


CHECKS = []


def check(function):
    """Adds a function, plain or async, to the list."""
    CHECKS.append(function)
    return function


def run(at_end=None):
    """Runs the list, then `at_end`. `NAME...` as arguments runs only the checks of
    those names."""
    only, failed = sys.argv[1:], 0
    chosen = [c for c in CHECKS if not only or c.__name__ in only]
    for function in chosen:
        began = time.monotonic()
        try:
            result = asyncio.run(function()) if inspect.iscoroutinefunction(function) else function()
            print(f"ok    {function.__name__} ({time.monotonic() - began:.2f} s){f': {result}' if result else ''}", flush=True)
        except Exception as error:  # noqa: BLE001
            failed += 1
            # Task groups wrap what went wrong in groups of one.
            while getattr(error, "exceptions", None):
                error = error.exceptions[0]
            print(f"FAIL  {function.__name__} ({time.monotonic() - began:.2f} s): {type(error).__name__}: {error}", flush=True)
            traceback.print_exception(error, limit=-3)
    print(f"{len(chosen) - failed} passed, {failed} failed", flush=True)
    if at_end:
        at_end()
    # Some clients leave threads and sockets behind that would keep us waiting.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1 if failed or not chosen else 0)
