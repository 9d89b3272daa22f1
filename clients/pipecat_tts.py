"""PyPI pipecat-ai: `url` with the path for the WebSocket, `base_url` for HTTP."""

import sys

from loguru import logger
from pipecat.frames.frames import (
    ErrorFrame, LLMFullResponseEndFrame, LLMFullResponseStartFrame, LLMTextFrame,
    TTSAudioRawFrame, TTSSpeakFrame, TTSStartedFrame, TTSStoppedFrame, TTSTextFrame,
)  # fmt: skip
from pipecat.services.cartesia.tts import CartesiaHttpTTSService, CartesiaTTSService, GenerationConfig
from pipecat.tests.utils import SleepFrame, run_test

from common import *

logger.remove()
logger.add(sys.stderr, level="WARNING")


def websocket(voice=VOICE, **more):
    settings = CartesiaTTSService.Settings(voice=voice, **more)
    return CartesiaTTSService(api_key=KEY, url=f"{WS_BASE}/tts/websocket", sample_rate=24000, settings=settings)


async def spoken(service, frames):
    """What comes out of a pipeline with this service in it."""
    down, up = await run_test(service, frames_to_send=frames, start_timeout=10)
    errors = [f.error for f in [*down, *up] if isinstance(f, ErrorFrame)]
    sound = b"".join(f.audio for f in down if isinstance(f, TTSAudioRawFrame))
    words = [w for f in down if isinstance(f, TTSTextFrame) for w in f.text.split()]
    return sound, words, [type(f) for f in down], errors


@check
async def over_http():
    service = CartesiaHttpTTSService(
        api_key=KEY, base_url=BASE, sample_rate=24000, settings=CartesiaHttpTTSService.Settings(voice=VOICE)
    )
    sound, _, kinds, errors = await spoken(service, [TTSSpeakFrame(LINE), SleepFrame(3)])
    assert not errors, errors
    assert kinds.index(TTSStartedFrame) < kinds.index(TTSAudioRawFrame) < kinds.index(TTSStoppedFrame), kinds
    return f"{raw_speech(sound):.2f} s"


@check
async def over_a_websocket():
    """The words that the server times are what the pipeline says was spoken."""
    sound, words, kinds, errors = await spoken(websocket(), [TTSSpeakFrame(LINE), SleepFrame(4)])
    assert not errors, errors
    assert words == LINE.split(), words
    assert kinds.index(TTSStartedFrame) < kinds.index(TTSAudioRawFrame) < kinds.index(TTSStoppedFrame), kinds
    return f"{raw_speech(sound):.2f} s"


@check
async def tokens_of_a_language_model():
    text = "It began at dusk. The lamps were lit, one by one. Nobody spoke."
    frames = [LLMFullResponseStartFrame()]
    frames += [LLMTextFrame(word + " ") for word in text.split(" ")]
    frames += [LLMFullResponseEndFrame(), SleepFrame(5)]
    service = websocket(generation_config=GenerationConfig(speed=1.1, volume=1.0, emotion="calm"))
    sound, words, _, errors = await spoken(service, frames)
    assert not errors, errors
    assert words == text.split(), words
    return f"{raw_speech(sound, text=text):.2f} s"


@check
async def markup():
    """What pipecat's helpers write into a text is heard, not read out."""
    tags = f"{CartesiaTTSService.PAUSE_TAG(0.5)}{CartesiaTTSService.EMOTION_TAG('happy')}"
    sound, _, _, errors = await spoken(websocket(), [TTSSpeakFrame(f"It was late. {tags} Very late."), SleepFrame(4)])
    assert not errors, errors
    return f"{raw_speech(sound, text='It was late. Very late.'):.2f} s"


@check
async def errors_are_told():
    _, _, _, errors = await spoken(websocket(voice="no-such-voice"), [TTSSpeakFrame(LINE), SleepFrame(2)])
    assert errors and "no-such-voice" in errors[0], errors


run()
