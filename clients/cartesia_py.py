"""PyPI cartesia 3.x and 4.x. `base_url` is the HTTP side; the WebSocket needs
`websocket_base_url` beside it, or the SDK insists on wss://."""

import asyncio

import cartesia
from cartesia import AsyncCartesia, Cartesia
from pydantic import TypeAdapter

from common import *

NEW = cartesia.__version__ >= "4"
URLS = {"base_url": BASE, "websocket_base_url": WS_BASE}
client = Cartesia(api_key=KEY, timeout=60, **URLS)


def voice(name=VOICE):
    """4.x sends the bare id, 3.x an object with a mode."""
    return name if NEW else {"mode": "id", "id": name}


def strict(model):
    """The SDK takes whatever comes; this holds it to its own types."""
    return TypeAdapter(type(model)).validate_python(model.to_dict(mode="python"))


def audio(events):
    return b"".join(e.audio for e in events if e.type == "chunk")


def timed(events):
    """The word timestamps of all events as three lists."""
    words, start, end = [], [], []
    for e in events:
        if e.type == "timestamps":
            words += e.word_timestamps.words
            start += e.word_timestamps.start
            end += e.word_timestamps.end
    return words, start, end


@check
def status():
    assert client.get_status().ok
    return client.get_status().version


@check
def bytes_in_every_encoding():
    """wav and raw, at all rates and encodings, and mp3."""
    base = {"model_id": SPEECH_MODEL, "transcript": LINE, "voice": voice()}
    for rate in (8000, 16000, 22050, 24000, 44100, 48000):
        format = {"container": "wav", "encoding": "pcm_s16le", "sample_rate": rate}
        wav_speech(client.tts.generate(output_format=format, **base).read(), rate)
    format = {"container": "wav", "encoding": "pcm_f32le", "sample_rate": 44100}
    wav_speech(client.tts.generate(output_format=format, **base).read(), 44100)
    seconds = raw_speech(client.tts.generate(output_format=F32, **base).read(), 44100, "pcm_f32le")
    for law in ("pcm_mulaw", "pcm_alaw"):
        format = {"container": "raw", "encoding": law, "sample_rate": 8000}
        data = client.tts.generate(output_format=format, **base).read()
        assert abs(len(data) / 8000 - seconds) < 0.2, (law, len(data) / 8000, seconds)
        assert len(set(data)) > 30, f"{law} has {len(set(data))} values"
    mp3 = {"container": "mp3", "sample_rate": 44100, "bit_rate": 128000}
    answer = client.tts.generate(output_format=mp3, **base)
    data = answer.read()
    assert answer.headers["content-type"].startswith("audio/mpeg"), answer.headers["content-type"]
    assert data.startswith((b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2")), data[:4]
    assert 0.7 * seconds < len(data) * 8 / 128000 < 1.3 * seconds + 0.3, len(data)
    return f"{seconds:.2f} s"


@check
def bytes_are_streamed():
    """A long text arrives in pieces, and the first of them before the last."""
    text = " ".join([LINE] * 4)
    with client.tts.with_streaming_response.generate(
        model_id=SPEECH_MODEL, transcript=text, voice=voice(), output_format=S16
    ) as answer:
        pieces = [p for p in answer.iter_bytes() if p]
    assert len(pieces) > 2, len(pieces)
    return f"{raw_speech(b''.join(pieces), text=text):.2f} s in {len(pieces)} pieces"


@check
def generation_config():
    """Speed and volume are heard; an emotion nobody knows does no harm."""
    say = lambda **config: client.tts.generate(  # noqa: E731
        model_id=SPEECH_MODEL, transcript=LINE, voice=voice(), output_format=S16, generation_config=config
    ).read()
    slow, fast = raw_speech(say(speed=0.7)), raw_speech(say(speed=1.4))
    assert slow > 1.4 * fast, (slow, fast)
    loud, quiet = (max(map(abs, samples(say(volume=v)))) for v in (1.0, 0.5))
    assert 1.5 < loud / quiet < 2.7, (loud, quiet)
    raw_speech(say(emotion="Happy"))
    raw_speech(say(emotion="wistful beyond measure"))


@check
def known_voices():
    for name in KNOWN_VOICES:
        answer = client.tts.generate(model_id="sonic-latest", transcript=LINE, voice=voice(name), output_format=S16)
        raw_speech(answer.read())


@check
def save_gives_a_file_id():
    answer = client.tts.generate(model_id=SPEECH_MODEL, transcript=LINE, voice=voice(), output_format=WAV, save=True)
    answer.read()
    assert answer.headers.get("cartesia-file-id"), dict(answer.headers)


@check
def errors():
    """Each with its status, and in the words of the current version."""
    base = {"model_id": SPEECH_MODEL, "output_format": S16}
    error = raises(cartesia.NotFoundError, client.tts.generate, transcript=LINE, voice=voice("no-such-voice"), **base)
    assert {"error_code", "title", "message", "request_id"} <= set(error.body), error.body
    raises(cartesia.BadRequestError, client.tts.generate, transcript="", voice=voice(), **base)
    odd = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 12345}
    kinds = (cartesia.BadRequestError, cartesia.UnprocessableEntityError)
    raises(kinds, client.tts.generate, model_id=SPEECH_MODEL, transcript=LINE, voice=voice(), output_format=odd)
    raises(cartesia.NotFoundError, client.get, "/no/such/place", cast_to=object)


@check
def sse():
    events = list(
        client.tts.generate_sse(
            model_id=SPEECH_MODEL, transcript=LINE, voice=voice(), output_format=F32,
            add_timestamps=True, add_phoneme_timestamps=True, context_id="here",
        )
    )  # fmt: skip
    kinds = [e.type for e in events]
    assert kinds[-1] == "done" and kinds.count("done") == 1 and events[-1].done, kinds
    assert {"chunk", "timestamps", "phoneme_timestamps"} <= set(kinds), kinds
    assert all(e.context_id == "here" for e in events)
    for e in events:
        strict(e)
    seconds = raw_speech(audio(events), 44100, "pcm_f32le")
    check_words(*timed(events), LINE, seconds)
    phonemes = [p for e in events if e.type == "phoneme_timestamps" for p in e.phoneme_timestamps.phonemes]
    assert len(phonemes) > len(LINE.split()), phonemes
    return f"{seconds:.2f} s"


@check
def websocket_context():
    """Pieces, a flush in the middle, and the end; words of both halves."""
    with client.tts.websocket_connect() as ws:
        context = ws.context(
            model_id=SPEECH_MODEL, voice=voice(), output_format=S16, language="en", add_timestamps=True, timeout=30
        )
        first, second = LINE[:29], LINE[29:]
        context.push(first)
        context.push("", flush=True)
        context.push(second)
        context.no_more_inputs()
        events = list(context.receive())
    kinds = [e.type for e in events]
    assert kinds[-1] == "done" and kinds.count("flush_done") == 1, kinds
    assert all(e.context_id == context._context_id for e in events)
    for e in events:
        strict(e)
    at = kinds.index("flush_done")
    assert "chunk" in kinds[:at] and "chunk" in kinds[at:], kinds
    # At these versions, sound before the first flush has number 1.
    assert events[at].flush_id == 1 and {e.flush_id for e in events[at:] if e.type == "chunk"} == {2}
    seconds = raw_speech(audio(events))
    check_words(*timed(events), LINE, seconds)
    return f"{seconds:.2f} s, {len(events)} events"


@check
def websocket_settings_of_the_first_frame_hold():
    """no_more_inputs() sends another model, voice, encoding and rate."""
    with client.tts.websocket_connect() as ws:
        context = ws.context(timeout=30)
        format = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 16000}
        context.send(transcript=LINE, model_id=SPEECH_MODEL, voice=voice(), output_format=format)
        context.no_more_inputs()
        events = list(context.receive())
    assert events[-1].type == "done", events[-1]
    return f"{raw_speech(audio(events), 16000):.2f} s"


@check
def websocket_many_contexts():
    """Three contexts on one socket: each gets its own sound, and all of it."""
    texts = [LINE, "Rain fell on the harbour all night long.", "Two boats came home."]
    with client.tts.websocket_connect() as ws:
        contexts = []
        for text in texts:
            context = ws.context(timeout=30)
            context.send(transcript=text, model_id=SPEECH_MODEL, voice=voice(), output_format=S16,
                         add_timestamps=True, continue_=False)  # fmt: skip
            contexts.append(context)
        for text, context in reversed(list(zip(texts, contexts))):
            events = list(context.receive())
            assert events[-1].type == "done"
            check_words(*timed(events), text, raw_speech(audio(events), text=text))


@check
def websocket_cancel():
    """No more sound comes for a cancelled context, and the socket lives on."""
    long = " ".join([LINE] * 60)
    with client.tts.websocket_connect() as ws:
        context = ws.context("to-cancel", timeout=30)
        context.send(transcript=long, model_id=SPEECH_MODEL, voice=voice(), output_format=S16, continue_=False)
        next(e for e in context.receive() if e.type == "chunk")
        context.cancel()
        after = ws.context("after", timeout=30)
        after.send(transcript=LINE, model_id=SPEECH_MODEL, voice=voice(), output_format=S16, continue_=False)
        late, mine = b"", b""
        while True:
            e = ws.recv()
            if e.context_id == "to-cancel":
                late += e.audio if e.type == "chunk" else b""
                continue
            mine += e.audio if e.type == "chunk" else b""
            if e.type == "done":
                break
        raw_speech(mine)
        whole = len(long.split()) * 0.25 * 24000 * 2
        assert len(late) < whole / 2, f"{len(late)} bytes came after cancelling"


@check
def websocket_error():
    """An error names its context and its cause, and spares the other contexts."""
    with client.tts.websocket_connect() as ws:
        bad = ws.context("bad", timeout=30)
        bad.send(transcript=LINE, model_id=SPEECH_MODEL, voice=voice("no-such-voice"), output_format=S16, continue_=False)
        events = list(bad.receive())
        error = events[-1]
        assert error.type == "error" and error.context_id == "bad" and error.status_code == 404, error
        assert error.title and error.message and error.request_id, error
        good = ws.context(timeout=30)
        good.send(transcript=LINE, model_id=SPEECH_MODEL, voice=voice(), output_format=S16, continue_=False)
        raw_speech(audio(list(good.receive())))
        # An empty context ends without a sound.
        empty = ws.context(timeout=30)
        empty.send(transcript="", model_id=SPEECH_MODEL, voice=voice(), output_format=S16, continue_=False)
        assert [e.type for e in empty.receive()] == ["done"]


@check
async def websocket_async():
    async with AsyncCartesia(api_key=KEY, **URLS) as c, c.tts.websocket_connect() as ws:
        context = ws.context(
            model_id=SPEECH_MODEL, voice=voice(), output_format=F32, add_timestamps=True, max_buffer_delay_ms=100, timeout=30
        )

        async def feed():
            for word in LINE.split(" "):
                await context.push(word + " ")
                await asyncio.sleep(0.01)
            await context.no_more_inputs()

        feeding = asyncio.create_task(feed())
        events = [e async for e in context.receive()]
        await feeding
    assert events[-1].type == "done"
    # Clients refuse messages of over a mebibyte.
    assert max(len(e.data) for e in events if e.type == "chunk") <= 256 << 10
    seconds = raw_speech(audio(events), 44100, "pcm_f32le")
    check_words(*timed(events), LINE, seconds)
    return f"{seconds:.2f} s"


@check
def voices_list():
    """Pages of two end, and give what one page gives, each voice once."""
    whole = client.voices.list(limit=100).data
    paged = [v.id for v in client.voices.list(limit=2)]
    assert paged == [v.id for v in whole] and len(set(paged)) == len(paged), paged
    for v in whole:
        strict(v)
    assert [v.id for v in client.voices.list(limit=2).data] == paged[:2]
    assert client.voices.list(starting_after=paged[-1]).data == []
    assert [v.id for v in client.voices.list(ending_before=paged[-1], limit=100).data] == paged[:-1]
    one = client.voices.get(whole[0].id)
    assert one.name == whole[0].name
    found = client.voices.list(q=whole[0].name).data
    assert whole[0].id in [v.id for v in found], found
    return f"{len(paged)} voices"


@check
def voices_clone():
    """Cloned, spoken with, renamed, listed and deleted."""
    made = client.voices.clone(clip=open(CLIP, "rb"), name="a guest", language="en", description="for a test")
    assert made.name == "a guest" and made.language == "en"
    strict(made)
    answer = client.tts.generate(model_id=SPEECH_MODEL, transcript=LINE, voice=voice(made.id), output_format=S16)
    raw_speech(answer.read())
    changed = client.voices.update(made.id, name="another guest", description="still")
    assert changed.name == "another guest" and client.voices.get(made.id).description == "still"
    assert client.voices.get(made.id).is_owner
    assert made.id in [v.id for v in client.voices.list(is_owner=True, limit=100)]
    client.voices.delete(made.id)
    raises(cartesia.NotFoundError, client.voices.get, made.id)
    assert made.id not in [v.id for v in client.voices.list(limit=100)]


@check
def access_token():
    """A token opens what its key opens, over HTTP and WebSocket."""
    token = client.access_token.create(grants={"tts": True}, expires_in=60).token
    guest = Cartesia(token=token, **URLS)
    answer = guest.tts.generate(model_id=SPEECH_MODEL, transcript=LINE, voice=voice(), output_format=S16)
    raw_speech(answer.read())
    with guest.tts.websocket_connect() as ws:
        context = ws.context(timeout=30)
        context.send(transcript=LINE, model_id=SPEECH_MODEL, voice=voice(), output_format=S16, continue_=False)
        raw_speech(audio(list(context.receive())))


@check
def pronunciation_dicts():
    """Made, changed, heard, listed and deleted."""
    made = client.pronunciation_dicts.create(name="names", items=[{"text": "kettle", "alias": "extraordinary teapot"}])
    try:
        assert made.name == "names" and made.items[0].text == "kettle"
        say = lambda **more: client.tts.generate(  # noqa: E731
            model_id=SPEECH_MODEL, transcript=LINE, voice=voice(), output_format=S16, **more
        ).read()
        assert raw_speech(say(pronunciation_dict_id=made.id)) > raw_speech(say()) + 0.2
        changed = client.pronunciation_dicts.update(made.id, name="other names")
        assert changed.name == "other names" == client.pronunciation_dicts.retrieve(made.id).name
        assert made.id in [d.id for d in client.pronunciation_dicts.list(limit=1)]
    finally:
        client.pronunciation_dicts.delete(made.id)
    raises(cartesia.NotFoundError, client.pronunciation_dicts.retrieve, made.id)


@check
def accents():
    """Only 4.x asks for them."""
    if not NEW:
        return "not in this SDK"
    answer = client.voices.list_accents()
    strict(answer)  # the ids are a closed list
    listed = answer.accents
    assert listed and all(a.id and a.name and a.language for a in listed), listed
    return f"{len(listed)} accents"


@check
def what_is_not_there_is_refused():
    """Infilling and changing voices either work or say that they do not."""
    clip = ("clip.wav", open(CLIP, "rb").read(), "audio/wav")
    told = []
    for name, call in {
        "infill": lambda: client.tts.infill(
            left_audio=clip, language="en", model_id="sonic-2", transcript="and so", voice_id=VOICE, output_format=WAV
        ),
        "voice changer": lambda: client.voice_changer.generate(
            clip=clip, voice_id=VOICE, output_format_container="wav",
            output_format_encoding="pcm_s16le", output_format_sample_rate=24000,
        ),
    }.items():  # fmt: skip
        try:
            data = call().read()
            assert data[:4] == b"RIFF", data[:16]
            told.append(f"{name} works")
        except cartesia.APIStatusError as error:
            assert error.status_code in (400, 404, 501) and error.body and error.body["message"], error
            told.append(f"{name}: {error.status_code}")
    return ", ".join(told)


run()
