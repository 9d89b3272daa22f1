"""PyPI wyoming, as Home Assistant uses it: over TCP, one connection an utterance."""

import asyncio

from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong
from wyoming.tts import (
    Synthesize, SynthesizeChunk, SynthesizeStart, SynthesizeStop, SynthesizeStopped, SynthesizeVoice,
)  # fmt: skip

from common import *


def connection():
    host, port = WYOMING.rsplit(":", 1)
    return AsyncTcpClient(host, int(port))


async def read(client, seconds=30):
    return await asyncio.wait_for(client.read_event(), seconds)


async def listen(client, last):
    """Events until `last`, and the sound in them."""
    events, sound, rate = [], b"", None
    while True:
        event = await read(client)
        assert event is not None, f"closed after {events}"
        assert not Error.is_type(event.type), event.data
        if AudioStart.is_type(event.type):
            start = AudioStart.from_event(event)
            assert (start.width, start.channels) == (2, 1) and rate in (None, start.rate), start
            rate = start.rate
        elif AudioChunk.is_type(event.type):
            chunk = AudioChunk.from_event(event)
            assert (chunk.rate, chunk.width, chunk.channels) == (rate, 2, 1), chunk
            sound += chunk.audio
        if not events or events[-1] != event.type:
            events.append(event.type)
        if last.is_type(event.type):
            return events, sound, rate


async def first_voice():
    async with connection() as client:
        await client.write_event(Describe().event())
        info = Info.from_event(await read(client, 1))
    program = next(t for t in info.tts if t.installed)
    return program, next(v for v in program.voices if v.installed)


@check
async def describe():
    """Within a second, since Home Assistant waits no longer."""
    program, voice = await first_voice()
    assert program.supports_synthesize_streaming and program.attribution.name and program.attribution.url
    assert any(language.startswith("en") for v in program.voices for language in v.languages)
    assert len({v.name for v in program.voices}) == len(program.voices)
    return f"{program.name}, {len(program.voices)} voices"


@check
async def ping():
    async with connection() as client:
        await client.write_event(Ping(text="still there?").event())
        assert Pong.from_event(await read(client)).text == "still there?"


@check
async def one_shot():
    _, voice = await first_voice()
    told = []
    for wanted in (SynthesizeVoice(name=voice.name), SynthesizeVoice(language="en"), None):
        async with connection() as client:
            await client.write_event(Synthesize(text=LINE, voice=wanted).event())
            events, sound, rate = await listen(client, AudioStop)
        assert events == ["audio-start", "audio-chunk", "audio-stop"], events
        told.append(raw_speech(sound, rate))
    return ", ".join(f"{s:.2f} s" for s in told)


@check
async def two_on_one_connection():
    async with connection() as client:
        for _ in range(2):
            await client.write_event(Synthesize(text=LINE).event())
            _, sound, rate = await listen(client, AudioStop)
            raw_speech(sound, rate)


@check
async def streamed():
    """The whole text comes again inside the stream, for older servers: it must
    not be spoken twice."""
    text = f"{LINE} Then the door opened. Someone came in."
    async with connection() as client:
        await client.write_event(SynthesizeStart(voice=SynthesizeVoice(name=VOICE)).event())
        for word in text.split(" "):
            await client.write_event(SynthesizeChunk(text=word + " ").event())
        await client.write_event(Synthesize(text=text, voice=SynthesizeVoice(name=VOICE)).event())
        await client.write_event(SynthesizeStop().event())
        events, sound, rate = await listen(client, SynthesizeStopped)
    assert events[0] == "audio-start" and events[-2:] == ["audio-stop", "synthesize-stopped"], events
    seconds = raw_speech(sound, rate, text=text)
    async with connection() as client:
        await client.write_event(Synthesize(text=text, voice=SynthesizeVoice(name=VOICE)).event())
        _, alone, _ = await listen(client, AudioStop)
    assert abs(seconds - len(alone) / 2 / rate) < 0.25 * seconds, (seconds, len(alone) / 2 / rate)
    return f"{seconds:.2f} s"


@check
async def speaks_before_all_text_is_there():
    async with connection() as client:
        await client.write_event(SynthesizeStart().event())
        await client.write_event(SynthesizeChunk(text=f"{LINE} And ").event())
        event = await read(client, 20)
        assert AudioStart.is_type(event.type), event.type
        await client.write_event(SynthesizeChunk(text="so it ends.").event())
        await client.write_event(SynthesizeStop().event())
        while not SynthesizeStopped.is_type((await read(client)).type):
            pass


@check
async def unknown_voice():
    """An error that says so, on a connection that then still works."""
    async with connection() as client:
        await client.write_event(Synthesize(text=LINE, voice=SynthesizeVoice(name="no-such-voice")).event())
        event = await read(client)
        assert Error.is_type(event.type) and "no-such-voice" in Error.from_event(event).text, event
        await client.write_event(Ping().event())
        assert Pong.is_type((await read(client)).type)


@check
async def hanging_up_cancels():
    """A client that leaves in the middle costs the next one nothing."""
    client = connection()
    await client.connect()
    await client.write_event(Synthesize(text=" ".join([LINE] * 20)).event())
    await read(client)
    await client.disconnect()
    async with connection() as client:
        await client.write_event(Synthesize(text=LINE).event())
        _, sound, rate = await listen(client, AudioStop)
        raw_speech(sound, rate)


run()
