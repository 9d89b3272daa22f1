"""PyPI cartesia 2.x: `base_url` with "localhost" in it, or the WebSocket goes to
wss://. Every answer is validated by the SDK itself, extra fields allowed."""

import base64

from cartesia import AsyncCartesia, Cartesia
from cartesia.core.api_error import ApiError

from common import *

URL = f"http://{LOCALHOST}"
client = Cartesia(api_key=KEY, base_url=URL, timeout=60)
SAID = {"mode": "id", "id": VOICE}
BASICS = {"model_id": "sonic-2", "voice": SAID, "output_format": S16}


def words_of(chunks):
    words, start, end = [], [], []
    for c in chunks:
        if c.word_timestamps:
            words += c.word_timestamps.words
            start += c.word_timestamps.start
            end += c.word_timestamps.end
    return words, start, end


@check
def status():
    assert client.api_status.get().ok


@check
def tts_bytes():
    data = b"".join(client.tts.bytes(transcript=LINE, language="en", **BASICS))
    wav = b"".join(client.tts.bytes(**{**BASICS, "transcript": LINE, "output_format": WAV}))
    return f"{raw_speech(data):.2f} s, {wav_speech(wav):.2f} s"


@check
def tts_bytes_with_legacy_controls():
    """`speed`, and the experimental controls inside the voice."""
    seconds = []
    for speed in ("slow", "fast"):
        seconds.append(raw_speech(b"".join(client.tts.bytes(transcript=LINE, speed=speed, **BASICS))))
    assert seconds[0] > 1.15 * seconds[1], seconds
    old = {**SAID, "experimental_controls": {"speed": "slow", "emotion": ["positivity:high"]}}
    raw_speech(b"".join(client.tts.bytes(**{**BASICS, "transcript": LINE, "voice": old})))


@check
def errors():
    absent = {**BASICS, "voice": {"mode": "id", "id": "no-such-voice"}}
    error = raises(ApiError, lambda: b"".join(client.tts.bytes(transcript=LINE, **absent)))
    assert error.status_code == 404 and error.body["message"], error


@check
def sse():
    events = list(client.tts.sse(transcript=LINE, add_timestamps=True, **BASICS))
    kinds = [e.type for e in events]
    assert kinds[-1] == "done" and "timestamps" in kinds, kinds
    seconds = raw_speech(b"".join(base64.b64decode(e.data) for e in events if e.type == "chunk"))
    check_words(*words_of([e for e in events if e.type == "timestamps"]), LINE, seconds)
    return f"{seconds:.2f} s"


@check
def websocket():
    ws = client.tts.websocket()
    chunks = list(ws.send(transcript=LINE, add_timestamps=True, add_phoneme_timestamps=True, **BASICS))
    seconds = raw_speech(b"".join(c.audio for c in chunks if c.audio))
    check_words(*words_of(chunks), LINE, seconds)
    assert any(c.phoneme_timestamps for c in chunks)
    whole = ws.send(transcript=LINE, stream=False, **BASICS)
    assert abs(raw_speech(whole.audio) - seconds) < 0.3
    ws.close()
    return f"{seconds:.2f} s"


@check
def websocket_context_of_an_iterator():
    ws = client.tts.websocket()
    pieces = (word + " " for word in LINE.split(" "))
    chunks = list(ws.context().send(transcript=pieces, **BASICS))
    seconds = raw_speech(b"".join(c.audio for c in chunks if c.audio))
    ws.close()
    return f"{seconds:.2f} s"


@check
def websocket_error():
    ws = client.tts.websocket()
    absent = {**BASICS, "voice": {"mode": "id", "id": "no-such-voice"}}
    error = raises(RuntimeError, lambda: list(ws.send(transcript=LINE, **absent)))
    assert "no-such-voice" in str(error) or "oice" in str(error), error


@check
async def websocket_flushes():
    """Each flush gives the sound of what was said before it: the SDK sorts
    chunks into queues by their flush ids, which must begin at 0."""
    c = AsyncCartesia(api_key=KEY, base_url=URL)
    ws = await c.tts.websocket()
    context = ws.context()
    first, second = "The kettle began to sing.", "Nobody in the kitchen noticed."
    # A generator of a flush ends at its flush_done; what follows goes to the next.
    await context.send(transcript=first, continue_=True, **BASICS)
    flushed = await context.flush()
    await context.send(transcript=second, continue_=True, **BASICS)
    again = await context.flush()
    await context.no_more_inputs()
    seconds = []
    for generator, text in ((flushed, first), (again, second)):
        data = b"".join([c.audio async for c in generator() if c.audio])
        seconds.append(raw_speech(data, text=text))
    await ws.close()
    return ", ".join(f"{s:.2f} s" for s in seconds)


@check
async def websocket_async():
    """no_more_inputs() sends another model, voice and format: they must not count."""
    c = AsyncCartesia(api_key=KEY, base_url=URL)
    ws = await c.tts.websocket()
    context = ws.context()
    for piece in (LINE[:29], LINE[29:]):
        await context.send(transcript=piece, continue_=True, add_timestamps=True, **BASICS)
    await context.no_more_inputs()
    chunks = [c async for c in context.receive()]
    seconds = raw_speech(b"".join(c.audio for c in chunks if c.audio))
    check_words(*words_of(chunks), LINE, seconds)
    await ws.close()


@check
def voices():
    """Pages of two give every voice once; each has what the SDK's types ask for."""
    listed = [v.id for v in client.voices.list(limit=2)]
    assert len(listed) == len(set(listed)) and len(listed) >= 1, listed
    assert [v.id for v in client.voices.list(limit=100)] == listed
    assert client.voices.get(listed[0]).id == listed[0]
    expanded = client.voices.list(limit=1, expand=["embedding"]).items[0]
    assert expanded.embedding and len(expanded.embedding) == 192, expanded.embedding
    return f"{len(listed)} voices"


@check
def voices_clone():
    made = client.voices.clone(clip=open(CLIP, "rb"), name="a guest", language="en", mode="similarity", enhance=True)
    raw_speech(b"".join(client.tts.bytes(**{**BASICS, "transcript": LINE, "voice": {"mode": "id", "id": made.id}})))
    assert client.voices.update(made.id, name="renamed", description="d").name == "renamed"
    client.voices.delete(made.id)
    error = raises(ApiError, client.voices.get, made.id)
    assert error.status_code == 404, error


@check
def voices_mix_and_create():
    """An embedding from two voices speaks by itself and as a voice of its own."""
    names = [v.id for v in client.voices.list(limit=2).items]
    mixed = client.voices.mix(voices=[{"id": names[0], "weight": 0.5}, {"id": names[-1], "weight": 0.5}]).embedding
    assert len(mixed) == 192, len(mixed)
    spoken = {"mode": "embedding", "embedding": mixed}
    raw_speech(b"".join(client.tts.bytes(**{**BASICS, "transcript": LINE, "voice": spoken})))
    made = client.voices.create(name="mixed", description="of two", embedding=mixed, language="en")
    raw_speech(b"".join(client.tts.bytes(**{**BASICS, "transcript": LINE, "voice": {"mode": "id", "id": made.id}})))
    client.voices.delete(made.id)


@check
def access_token():
    token = client.auth.access_token(grants={"tts": True}, expires_in=60).token
    assert token


run()
