"""PyPI cartesia 1.x: `base_url` without a scheme and with "localhost" in it."""

from cartesia import AsyncCartesia, Cartesia

from common import *

client = Cartesia(api_key=KEY, base_url=LOCALHOST)
BASICS = {"model_id": "sonic-english", "voice_id": VOICE, "output_format": S16}


def words_of(chunks):
    words, start, end = [], [], []
    for c in chunks:
        if "word_timestamps" in c:
            words += c["word_timestamps"]["words"]
            start += c["word_timestamps"]["start"]
            end += c["word_timestamps"]["end"]
    return words, start, end


def audio(chunks):
    return b"".join(c["audio"] for c in chunks if "audio" in c)


@check
def tts_bytes():
    wav = client.tts.bytes(**{**BASICS, "transcript": LINE, "output_format": WAV})
    return f"{raw_speech(client.tts.bytes(transcript=LINE, **BASICS)):.2f} s, {wav_speech(wav):.2f} s"


@check
def tts_bytes_with_experimental_controls():
    said = {}
    for speed in ("slowest", "fastest"):
        controls = {"speed": speed, "emotion": ["sadness:high"]}
        said[speed] = raw_speech(client.tts.bytes(transcript=LINE, _experimental_voice_controls=controls, **BASICS))
    assert said["slowest"] > 1.3 * said["fastest"], said


@check
def sse():
    """The SDK looks for braces in the stream: one flat object an event."""
    chunks = list(client.tts.sse(transcript=LINE, **BASICS))
    return f"{raw_speech(audio(chunks)):.2f} s"


@check
def websocket():
    ws = client.tts.websocket()
    chunks = list(ws.send(transcript=LINE, add_timestamps=True, **BASICS))
    seconds = raw_speech(audio(chunks))
    check_words(*words_of(chunks), LINE, seconds)
    assert abs(raw_speech(ws.send(transcript=LINE, stream=False, **BASICS)["audio"]) - seconds) < 0.3
    ws.close()
    return f"{seconds:.2f} s"


@check
def websocket_context_of_an_iterator():
    ws = client.tts.websocket()
    pieces = (word + " " for word in LINE.split(" "))
    raw_speech(audio(list(ws.context().send(transcript=pieces, **BASICS))))
    ws.close()


@check
def websocket_error():
    ws = client.tts.websocket()
    error = raises(RuntimeError, lambda: list(ws.send(**{**BASICS, "transcript": LINE, "voice_id": "no-such-voice"})))
    assert "error" in str(error), error


@check
async def websocket_async():
    """no_more_inputs() sends another voice and format: they must not count."""
    c = AsyncCartesia(api_key=KEY, base_url=LOCALHOST)
    ws = await c.tts.websocket()
    context = ws.context()
    for piece in (LINE[:29], LINE[29:]):
        await context.send(transcript=piece, continue_=True, add_timestamps=True, **BASICS)
    await context.no_more_inputs()
    chunks = [c async for c in context.receive()]
    check_words(*words_of(chunks), LINE, raw_speech(audio(chunks)))
    await ws.close()


@check
async def websocket_flushes():
    """Flush ids index a list in this SDK: they begin at 0."""
    c = AsyncCartesia(api_key=KEY, base_url=LOCALHOST)
    ws = await c.tts.websocket()
    context = ws.context()
    first, second = "The kettle began to sing.", "Nobody in the kitchen noticed."
    await context.send(transcript=first, continue_=True, **BASICS)
    flushed = await context.flush()
    await context.send(transcript=second, continue_=True, **BASICS)
    again = await context.flush()
    await context.no_more_inputs()
    for generator, text in ((flushed, first), (again, second)):
        raw_speech(audio([chunk async for chunk in generator()]), text=text)
    await ws.close()


@check
def voices():
    """A bare list at this version, each with its embedding."""
    listed = client.voices.list()
    assert isinstance(listed, list) and listed
    for v in listed:
        missing = {"id", "name", "description", "created_at", "language", "is_public", "embedding"} - set(v)
        assert not missing, f"{v['id']} lacks {missing}"
        assert len(v["embedding"]) == 192
    assert client.voices.get(listed[0]["id"])["name"] == listed[0]["name"]
    return f"{len(listed)} voices"


@check
def voices_clone():
    """In the old way to an embedding, and in the newer to a voice."""
    embedding = client.voices.clone(filepath=CLIP)
    assert len(embedding) == 192
    spoken = {"model_id": "sonic-english", "voice_embedding": embedding, "output_format": S16}
    raw_speech(client.tts.bytes(transcript=LINE, **spoken))
    made = client.voices.create(name="a guest", description="d", embedding=embedding)
    raw_speech(client.tts.bytes(**{**BASICS, "transcript": LINE, "voice_id": made["id"]}))
    client.voices.delete(made["id"])
    raises(ValueError, client.voices.get, made["id"])
    other = client.voices.clone(filepath=CLIP, mode="similarity", name="another", description="d")
    client.voices.delete(other["id"])


@check
def voices_mix():
    names = [v["id"] for v in client.voices.list()][:2]
    mixed = client.voices.mix([{"id": names[0], "weight": 0.5}, {"id": names[-1], "weight": 0.5}])
    assert len(mixed) == 192, len(mixed)


run()
