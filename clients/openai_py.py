"""PyPI openai 2.x and 3.x: `base_url` ending in /v1."""

import asyncio
import base64
import io
import json
import math

import openai
import soundfile
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel, TypeAdapter

from common import *

client = OpenAI(base_url=f"{BASE}/v1", api_key=KEY, max_retries=0, timeout=120)
MESSAGES = [{"role": "user", "content": "Tell me about the sea."}]


def strict(model):
    """The SDK takes whatever comes; this holds it to its own types."""
    return TypeAdapter(type(model)).validate_python(model.to_dict(mode="python"))


@check
def models():
    listed = list(client.models.list())
    assert LM in [m.id for m in listed], listed
    for m in listed:
        strict(m)
    assert client.models.retrieve(LM).object == "model"
    error = raises(openai.NotFoundError, client.models.retrieve, "no-such-model")
    assert error.code and error.body["message"]
    return ", ".join(m.id for m in listed)


@check
def unknown_model_names_are_mapped():
    made = client.completions.create(model="gpt-4o-mini", prompt=PROMPT, max_tokens=3)
    assert made.choices[0].text


@check
def completions():
    """One choice for each prompt and each of n, in order; seeds repeat."""
    ask = {"model": LM, "prompt": [PROMPT, "It rained"], "max_tokens": 6, "seed": 7, "n": 2, "temperature": 0.9}
    made = client.completions.create(**ask)
    strict(made)
    assert [c.index for c in made.choices] == [0, 1, 2, 3]
    assert made.choices[0].text != made.choices[1].text, "two samples are the same"
    again = client.completions.create(**ask)
    assert [c.text for c in again.choices] == [c.text for c in made.choices]
    assert made.usage.completion_tokens == sum(1 for c in made.choices for _ in range(6)), made.usage
    assert all(c.finish_reason == "length" for c in made.choices)


@check
def completions_echo_and_logprobs():
    """The prompt's tokens are scored too: the text they spell is the text."""
    made = client.completions.create(model=LM, prompt=PROMPT, max_tokens=4, echo=True, logprobs=3, temperature=0)
    choice, scores = made.choices[0], made.choices[0].logprobs
    assert choice.text.startswith(PROMPT), choice.text
    assert "".join(scores.tokens) == choice.text, scores.tokens
    assert scores.token_logprobs[0] is None and all(p <= 0 for p in scores.token_logprobs[1:])
    assert len(scores.tokens) == len(scores.token_logprobs) == len(scores.top_logprobs) == len(scores.text_offset)
    for at, token in zip(scores.text_offset, scores.tokens):
        assert choice.text[at : at + len(token)] == token, (at, token)
    assert scores.top_logprobs[0] is None and all(len(top) >= 3 for top in scores.top_logprobs[1:])
    # At temperature 0 the token that was taken is the likeliest.
    for taken, top in list(zip(scores.token_logprobs, scores.top_logprobs))[-4:]:
        assert taken == max(top.values()), (taken, top)
    none = client.completions.create(model=LM, prompt=PROMPT, max_tokens=0, echo=True, logprobs=0)
    assert none.choices[0].text == PROMPT and none.usage.completion_tokens == 0


@check
def completions_of_token_ids():
    """Ids give what their text gives, and no token is put before them."""
    answer = client.with_options(base_url=BASE).post("/tokenize", body={"prompt": PROMPT}, cast_to=object)
    ids = answer["tokens"]
    same = {"model": LM, "max_tokens": 8, "temperature": 0, "logprobs": 1}
    one = client.completions.create(prompt=ids, **same)
    two = client.completions.create(prompt=[ids, ids], **same)
    text = client.completions.create(prompt=PROMPT, **same)
    assert one.choices[0].text == two.choices[1].text == text.choices[0].text
    assert one.usage.prompt_tokens == len(ids), (one.usage, len(ids))


@check
def completions_stop_and_stream():
    whole = client.completions.create(model=LM, prompt=PROMPT, max_tokens=24, temperature=0).choices[0].text
    word = whole.split()[2]
    stopped = client.completions.create(model=LM, prompt=PROMPT, max_tokens=24, temperature=0, stop=[word, "\x00"])
    assert stopped.choices[0].finish_reason == "stop"
    assert stopped.choices[0].text == whole[: whole.index(word)], (whole, stopped.choices[0].text)
    stream = list(
        client.completions.create(
            model=LM, prompt=PROMPT, max_tokens=24, temperature=0, stop=word,
            stream=True, stream_options={"include_usage": True},
        )
    )  # fmt: skip
    assert "".join(c.choices[0].text for c in stream if c.choices) == stopped.choices[0].text
    assert stream[-1].usage.completion_tokens > 0 and not stream[-1].choices


@check
def completions_bias_and_penalties():
    """A bias of 100 leaves no choice, one of -100 no hope; penalties are taken."""
    tokenize = lambda text: client.with_options(base_url=BASE).post(  # noqa: E731
        "/tokenize", body={"prompt": text, "add_special_tokens": False}, cast_to=object
    )["tokens"]
    same = {"model": LM, "prompt": PROMPT, "max_tokens": 4, "temperature": 0, "logprobs": 0}
    plain = client.completions.create(**same).choices[0]
    first = tokenize(plain.logprobs.tokens[0])
    assert len(first) == 1, first
    forced = client.completions.create(logit_bias={str(first[0]): 100}, **same).choices[0]
    assert set(forced.logprobs.tokens) == {plain.logprobs.tokens[0]}, forced.logprobs.tokens
    banned = client.completions.create(logit_bias={str(first[0]): -100}, **same).choices[0]
    assert plain.logprobs.tokens[0] not in banned.logprobs.tokens, banned.logprobs.tokens
    client.completions.create(frequency_penalty=0.5, presence_penalty=-0.5, top_p=0.9, best_of=1, user="me", **same)


@check
def chat():
    made = client.chat.completions.create(model=LM, messages=MESSAGES, max_completion_tokens=20, seed=3, n=2)
    strict(made)
    assert len(made.choices) == 2 and made.choices[0].message.role == "assistant"
    assert all(c.message.content for c in made.choices)
    assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens
    again = client.chat.completions.create(model=LM, messages=MESSAGES, max_completion_tokens=20, seed=3, n=2)
    assert [c.message.content for c in again.choices] == [c.message.content for c in made.choices]
    parts = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Hello"}]}]
    assert client.chat.completions.create(model=LM, messages=parts, max_tokens=5).choices[0].message.content


@check
def chat_stream():
    same = {"model": LM, "messages": MESSAGES, "max_tokens": 20, "temperature": 0}
    chunks = list(client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **same))
    for c in chunks:
        strict(c)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason in ("stop", "length")
    assert not chunks[-1].choices and chunks[-1].usage.total_tokens > 0
    several = [c.choices[0] for c in client.chat.completions.create(stream=True, n=2, **same) if c.choices]
    assert {c.index for c in several} == {0, 1} and sum(bool(c.finish_reason) for c in several) == 2
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == client.chat.completions.create(**same).choices[0].message.content


@check
def chat_logprobs():
    made = client.chat.completions.create(
        model=LM, messages=MESSAGES, max_tokens=6, logprobs=True, top_logprobs=2, temperature=0
    )
    scores = made.choices[0].logprobs.content
    assert len(scores) == made.usage.completion_tokens, (len(scores), made.usage)
    for s in scores:
        assert s.logprob <= 0 and len(s.top_logprobs) == 2 and s.top_logprobs[0].logprob == s.logprob, s
        assert bytes(s.bytes).decode(errors="replace") == s.token
        assert sum(math.exp(t.logprob) for t in s.top_logprobs) <= 1 + 1e-4
    assert "".join(s.token for s in scores) == made.choices[0].message.content


TOOL = {
    "type": "function",
    "function": {
        "name": "tide",
        "description": "The height of the tide.",
        "parameters": {
            "type": "object",
            "properties": {"harbour": {"type": "string"}, "hour": {"type": "integer"}},
            "required": ["harbour", "hour"],
            "additionalProperties": False,
        },
    },
}


@check
def chat_tools():
    """A named tool is called with arguments of its schema, whole and streamed."""
    choice = {"type": "function", "function": {"name": "tide"}}
    same = {"model": LM, "messages": MESSAGES, "tools": [TOOL], "tool_choice": choice, "max_tokens": 120, "seed": 1}
    made = client.chat.completions.create(**same).choices[0]
    call = made.message.tool_calls[0]
    assert call.function.name == "tide" and call.id and call.type == "function"
    given = json.loads(call.function.arguments)
    assert isinstance(given["harbour"], str) and isinstance(given["hour"], int), given
    assert made.finish_reason in ("tool_calls", "stop"), made.finish_reason
    chunks = [c.choices[0] for c in client.chat.completions.create(stream=True, **same) if c.choices]
    pieces = [t for c in chunks for t in c.delta.tool_calls or []]
    assert pieces[0].function.name == "tide" and pieces[0].id and pieces[0].index == 0
    json.loads("".join(p.function.arguments or "" for p in pieces))
    # What the tool said is read, and an answer without a call is allowed.
    told = [*MESSAGES, made.message, {"role": "tool", "tool_call_id": call.id, "content": "two metres"}]
    client.chat.completions.create(model=LM, messages=told, tools=[TOOL], tool_choice="none", max_tokens=6)


class Voyage(BaseModel):
    port: str
    days: int
    safe: bool


@check
def chat_as_objects():
    """parse() sends a strict schema; a small book model keeps to it all the same."""
    made = client.chat.completions.parse(model=LM, messages=MESSAGES, response_format=Voyage, max_tokens=200)
    assert isinstance(made.choices[0].message.parsed, Voyage), made.choices[0].message
    plain = client.chat.completions.create(
        model=LM, messages=MESSAGES, response_format={"type": "json_object"}, max_tokens=200, seed=2
    )
    if plain.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(plain.choices[0].message.content), dict)
    return repr(made.choices[0].message.parsed)


@check
def chat_stop():
    whole = client.chat.completions.create(model=LM, messages=MESSAGES, max_tokens=24, temperature=0)
    text = whole.choices[0].message.content
    word = text.split()[2]
    stopped = client.chat.completions.create(model=LM, messages=MESSAGES, max_tokens=24, temperature=0, stop=word)
    assert stopped.choices[0].message.content == text[: text.index(word)]
    assert stopped.choices[0].finish_reason == "stop"


@check
def responses():
    """A chain of responses remembers what was said before."""
    first = client.responses.create(model=LM, input="Begin a story.", instructions="Be brief.", max_output_tokens=16)
    strict(first)
    assert first.output_text and first.status in ("completed", "incomplete") and first.usage.output_tokens > 0
    again = client.responses.create(model=LM, input="Go on.", previous_response_id=first.id, max_output_tokens=16)
    assert again.id != first.id and again.previous_response_id == first.id
    alone = client.responses.create(model=LM, input="Go on.", max_output_tokens=16)
    assert again.usage.input_tokens > alone.usage.input_tokens, "the first response was forgotten"
    items = [{"role": "user", "content": [{"type": "input_text", "text": "Begin."}]}]
    assert client.responses.create(model=LM, input=items, max_output_tokens=8).output_text
    assert client.responses.retrieve(first.id).output_text == first.output_text
    client.responses.delete(first.id)
    raises(openai.NotFoundError, client.responses.retrieve, first.id)
    error = raises(openai.APIStatusError, client.responses.create, model=LM, input="x", previous_response_id="resp_none")
    assert error.status_code in (400, 404), error


@check
def responses_stream():
    events = list(client.responses.create(model=LM, input="Begin a story.", stream=True, max_output_tokens=16))
    kinds = [e.type for e in events]
    assert kinds[:2] == ["response.created", "response.in_progress"], kinds
    assert kinds[-1] in ("response.completed", "response.incomplete"), kinds
    order = ["response.output_item.added", "response.content_part.added", "response.output_text.delta",
             "response.output_text.done", "response.content_part.done", "response.output_item.done"]  # fmt: skip
    assert [kinds.index(k) for k in order] == sorted(kinds.index(k) for k in order), kinds
    assert [e.sequence_number for e in events] == list(range(events[0].sequence_number, events[0].sequence_number + len(events)))
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert text and text == events[-1].response.output_text


@check
def responses_as_objects():
    made = client.responses.parse(model=LM, input="A voyage.", text_format=Voyage, max_output_tokens=200)
    assert isinstance(made.output_parsed, Voyage), made.output


def decoded(data, rate=None):
    """A sound file, read by libsndfile, held to what speech looks like."""
    values, found = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    assert values.shape[1] == 1 and rate in (None, found), (values.shape, found)
    return check_speech(values[:, 0].tolist(), found)


@check
def speech_in_every_format():
    told = {}
    for format, kind in (
        ("mp3", "audio/mpeg"), ("opus", "audio/ogg"), ("flac", "audio/flac"), ("wav", "audio/wav"), ("pcm", "audio/pcm"),
    ):  # fmt: skip
        answer = client.audio.speech.with_raw_response.create(
            model="gpt-4o-mini-tts", voice=VOICE, input=LINE, response_format=format
        )
        assert answer.headers["content-type"].split(";")[0] == kind, (format, answer.headers["content-type"])
        data = answer.content
        if format == "wav":
            told[format] = wav_speech(data)
        else:
            told[format] = raw_speech(data) if format == "pcm" else decoded(data)
    assert max(told.values()) - min(told.values()) < 0.2, told
    with client.audio.speech.with_streaming_response.create(model="tts-1", voice=VOICE, input=LINE) as answer:
        assert answer.headers["content-type"].startswith("audio/mpeg"), "mp3 is the default"
        answer.read()
    error = raises(
        openai.BadRequestError, client.audio.speech.create, model="tts-1", voice=VOICE, input=LINE, response_format="aac"
    )
    assert "aac" in error.body["message"], error.body
    return ", ".join(f"{f} {s:.2f} s" for f, s in told.items())


@check
def speech_with_options():
    say = lambda **more: client.audio.speech.create(  # noqa: E731
        model="tts-1", input=LINE, response_format="pcm", **{"voice": VOICE, **more}
    ).content
    assert raw_speech(say(speed=0.5)) > 1.5 * raw_speech(say(speed=1.5))
    raw_speech(say(instructions="Speak like an old sailor."))
    raw_speech(say(voice={"id": VOICE}))
    # Names of OpenAI's own voices, which many clients send without asking.
    raw_speech(say(voice="alloy"))


@check
def speech_as_events():
    with client.audio.speech.with_streaming_response.create(
        model="gpt-4o-mini-tts", voice=VOICE, input=LINE, response_format="pcm", stream_format="sse"
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream"), answer.headers["content-type"]
        events = [json.loads(line[5:]) for line in answer.iter_lines() if line.startswith("data:")]
    kinds = [e["type"] for e in events]
    assert kinds[-1] == "speech.audio.done" and set(kinds[:-1]) == {"speech.audio.delta"} and len(kinds) > 2, kinds
    assert events[-1]["usage"]["total_tokens"] > 0
    raw_speech(b"".join(base64.b64decode(e["audio"]) for e in events[:-1]))


@check
def a_voice_of_ones_own():
    """Consent first, then the voice, then speech with it."""
    audio = client.audio
    if not hasattr(audio, "voices"):
        return "not in this SDK"
    sound = lambda path: (path.rsplit("/", 1)[-1], open(path, "rb").read(), "audio/wav")  # noqa: E731
    consent = audio.voice_consents.create(name="a guest", language="en-US", recording=sound(CONSENT))
    strict(consent)
    made = audio.voices.create(name="a guest", audio_sample=sound(CLIP), consent=consent.id)
    strict(made)
    said = audio.speech.create(model="tts-1", voice={"id": made.id}, input=LINE, response_format="pcm")
    return f"{raw_speech(said.content):.2f} s"


@check
def consents_are_kept():
    """Consents are listed, read, and withdrawn."""
    if not hasattr(client.audio, "voice_consents"):
        return "not in this SDK"
    consents = client.audio.voice_consents
    made = consents.create(name="another guest", language="en-US", recording=("yes.wav", open(CONSENT, "rb"), "audio/wav"))
    assert consents.retrieve(made.id).name == "another guest"
    assert made.id in [c.id for c in consents.list()]
    assert consents.delete(made.id).deleted
    raises(openai.NotFoundError, consents.retrieve, made.id)


@check
def errors():
    """Kinds, codes and statuses that clients tell apart."""
    error = raises(openai.NotFoundError, client.get, "/nowhere", cast_to=object)
    assert error.body["message"] and error.code, error.body
    error = raises(openai.BadRequestError, client.chat.completions.create, model=LM, messages=[])
    assert error.type == "invalid_request_error", error.body
    kinds = (openai.BadRequestError, openai.UnprocessableEntityError)
    error = raises(kinds, client.chat.completions.create, model=LM, messages=MESSAGES, temperature=-3)
    assert "temperature" in error.body["message"], error.body
    raises(kinds, client.completions.create, model=LM, prompt=PROMPT, max_tokens=-1)
    raises(kinds, client.audio.speech.create, model="tts-1", voice=VOICE, input="")
    raises(kinds, client.audio.speech.create, model="tts-1", voice=VOICE, input=LINE, speed=9)
    error = raises(
        (*kinds, openai.NotFoundError), client.audio.speech.create, model="tts-1", voice="no-such-voice", input=LINE
    )
    assert "no-such-voice" in error.body["message"], error.body
    assert error.request_id


@check
async def several_at_once():
    """Eight requests together give what each gives alone."""
    async with AsyncOpenAI(base_url=f"{BASE}/v1", api_key=KEY, max_retries=0, timeout=120) as c:
        ask = lambda i: c.completions.create(  # noqa: E731
            model=LM, prompt=f"{PROMPT} {i}", max_tokens=12, temperature=0.8, seed=i
        )
        together = await asyncio.gather(*(ask(i) for i in range(8)))
        for i in range(0, 8, 3):
            assert (await ask(i)).choices[0].text == together[i].choices[0].text, i


run()
