"""PyPI huggingface_hub, InferenceClient and its async twin: `base_url` ending in /v1."""

import json

from huggingface_hub import AsyncInferenceClient, InferenceClient

from common import *

client = InferenceClient(base_url=f"{BASE}/v1", api_key=KEY, timeout=120)
MESSAGES = [{"role": "user", "content": "Tell me about the sea."}]


@check
def chat():
    made = client.chat_completion(MESSAGES, max_tokens=12, temperature=0.01, seed=1, stop=["\n\n"])
    assert made.choices[0].message.content and made.usage.completion_tokens > 0
    return repr(made.choices[0].message.content)


@check
def chat_stream():
    """Chunks and the usage at the end."""
    chunks = list(client.chat.completions.create(
        model=LM, messages=MESSAGES, max_tokens=12, stream=True, stream_options={"include_usage": True}
    ))  # fmt: skip
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert chunks[-1].usage.total_tokens > 0


@check
def chat_logprobs_and_schema():
    made = client.chat_completion(MESSAGES, max_tokens=4, logprobs=True, top_logprobs=2)
    assert len(made.choices[0].logprobs.content) == made.usage.completion_tokens
    schema = {"type": "object", "properties": {"days": {"type": "integer"}}, "required": ["days"]}
    form = {"type": "json_schema", "json_schema": {"name": "voyage", "schema": schema, "strict": True}}
    made = client.chat_completion(MESSAGES, max_tokens=80, response_format=form)
    assert isinstance(json.loads(made.choices[0].message.content)["days"], int), made


@check
async def chat_async():
    async with AsyncInferenceClient(base_url=f"{BASE}/v1", api_key=KEY) as c:
        stream = await c.chat_completion(MESSAGES, max_tokens=8, stream=True)
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])


run()
