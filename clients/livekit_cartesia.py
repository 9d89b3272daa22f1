"""PyPI livekit-plugins-cartesia: `base_url` gives both sides, http becoming ws."""

import aiohttp
from livekit.agents import APIConnectOptions, APIStatusError
from livekit.agents._exceptions import APIError
from livekit.plugins import cartesia

from common import *

ONCE = APIConnectOptions(max_retry=0, timeout=30)


def service(session, **more):
    return cartesia.TTS(api_key=KEY, base_url=BASE, http_session=session, **{"voice": VOICE, "model": SPEECH_MODEL, **more})


async def spoken(stream):
    """The sound of all frames, its rate, and the words that came with them."""
    sound, rate, words = b"", None, []
    async for event in stream:
        rate = event.frame.sample_rate
        sound += bytes(event.frame.data)
        words += event.frame.userdata.get("lk.timed_transcripts", [])
    return sound, rate, words


@check
async def synthesize():
    async with aiohttp.ClientSession() as session:
        sound, rate, _ = await spoken(service(session).synthesize(LINE, conn_options=ONCE))
        return f"{raw_speech(sound, rate):.2f} s at {rate} Hz"


@check
async def default_voice_and_emotions():
    """The plugin's own default voice, and emotions with a capital."""
    async with aiohttp.ClientSession() as session:
        plain = cartesia.TTS(api_key=KEY, base_url=BASE, http_session=session)
        raw_speech((await spoken(plain.synthesize(LINE, conn_options=ONCE)))[0])
        fast = service(session, speed=1.4, emotion="Happy", volume=0.9)
        slow = service(session, speed=0.8)
        one = raw_speech((await spoken(fast.synthesize(LINE, conn_options=ONCE)))[0])
        two = raw_speech((await spoken(slow.synthesize(LINE, conn_options=ONCE)))[0])
        assert two > 1.3 * one, (one, two)


@check
async def stream_with_aligned_words():
    async with aiohttp.ClientSession() as session:
        text = f"{LINE} Nobody at all, they said. Then it was quiet."
        stream = service(session).stream(conn_options=ONCE)
        for word in text.split(" "):
            stream.push_text(word + " ")
        stream.end_input()
        sound, rate, words = await spoken(stream)
        await stream.aclose()
    assert "".join(str(w) for w in words).split() == text.split(), words
    starts = [w.start_time for w in words]
    assert starts == sorted(starts), starts
    return f"{raw_speech(sound, rate, text=text):.2f} s, {len(words)} words"


@check
async def errors_are_told():
    async with aiohttp.ClientSession() as session:
        bad = service(session, voice="no-such-voice")
        error = await raises_async(APIStatusError, spoken(bad.synthesize(LINE, conn_options=ONCE)))
        assert error.status_code == 404, error
        stream = bad.stream(conn_options=ONCE)
        stream.push_text(LINE)
        stream.end_input()
        error = await raises_async(APIError, spoken(stream))
        assert "oice" in str(error) and "no audio frames" not in str(error), error
        await stream.aclose()
        return str(error)[:80]


run()
