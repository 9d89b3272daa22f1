"""PyPI livekit-plugins-openai: `base_url` ending in /v1."""

from livekit.agents import APIConnectOptions, llm
from livekit.plugins import openai

from common import *

ONCE = APIConnectOptions(max_retry=0, timeout=60)
URL = {"base_url": f"{BASE}/v1", "api_key": KEY}


@check
async def speech():
    """mp3 by default, decoded by what the server says it is."""
    told = []
    for more in ({}, {"model": "tts-1"}, {"response_format": "pcm"}, {"response_format": "wav"}, {"response_format": "opus"}):
        tts = openai.TTS(voice=VOICE, **URL, **more)
        frames = [e.frame async for e in tts.synthesize(LINE, conn_options=ONCE)]
        told.append(raw_speech(b"".join(bytes(f.data) for f in frames), frames[0].sample_rate))
        await tts.aclose()
    assert max(told) - min(told) < 0.3, told
    return ", ".join(f"{s:.2f} s" for s in told)


def conversation():
    context = llm.ChatContext.empty()
    context.add_message(role="system", content="You tell stories.")
    context.add_message(role="user", content="Begin one.")
    return context


@check
async def chat():
    model = openai.LLM(model=LM, max_completion_tokens=16, **URL)
    text, usage = "", None
    async for chunk in model.chat(chat_ctx=conversation(), conn_options=ONCE):
        text += (chunk.delta.content or "") if chunk.delta else ""
        usage = chunk.usage or usage
    assert text.strip() and usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, (text, usage)
    await model.aclose()
    return repr(text)


@check
async def chat_tools():
    @llm.function_tool
    async def tide(harbour: str) -> str:
        """The height of the tide.

        Args:
            harbour: Where.
        """
        return "two metres"

    model = openai.LLM(model=LM, max_completion_tokens=80, **URL)
    calls = []
    stream = model.chat(chat_ctx=conversation(), tools=[tide], tool_choice="required", conn_options=ONCE)
    async for chunk in stream:
        calls += chunk.delta.tool_calls if chunk.delta else []
    assert calls and calls[0].name == "tide" and "harbour" in calls[0].arguments, calls
    await model.aclose()


@check
async def responses():
    model = openai.responses.LLM(model=LM, use_websocket=False, **URL)
    text = ""
    async for chunk in model.chat(chat_ctx=conversation(), conn_options=ONCE):
        text += (chunk.delta.content or "") if chunk.delta else ""
    assert text.strip()
    await model.aclose()


run()
