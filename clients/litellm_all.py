"""PyPI litellm: `api_base` ending in /v1, under three provider names."""

import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or the import asks the network

import litellm

from common import *

litellm.telemetry = False
HERE = {"api_base": f"{BASE}/v1", "api_key": KEY, "num_retries": 0, "timeout": 120}
MESSAGES = [{"role": "user", "content": "Tell me about the sea."}]


@check
def chat_of_every_provider():
    for provider in ("openai", "hosted_vllm"):
        made = litellm.completion(model=f"{provider}/{LM}", messages=MESSAGES, max_tokens=12, temperature=0, **HERE)
        assert made.choices[0].message.content and made.usage.completion_tokens > 0, made
        chunks = list(
            litellm.completion(
                model=f"{provider}/{LM}", messages=MESSAGES, max_tokens=12, temperature=0, stream=True,
                stream_options={"include_usage": True}, **HERE,
            )
        )  # fmt: skip
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == made.choices[0].message.content


@check
def text_completion():
    made = litellm.text_completion(
        model=f"text-completion-openai/{LM}", prompt=PROMPT, max_tokens=6, logprobs=1, temperature=0, **HERE
    )
    assert made.choices[0].text and len(made.choices[0].logprobs.token_logprobs) == 6, made
    return repr(made.choices[0].text)


@check
def chat_tools():
    parameters = {"type": "object", "properties": {"harbour": {"type": "string"}}, "required": ["harbour"]}
    tool = {"type": "function", "function": {"name": "tide", "parameters": parameters}}
    made = litellm.completion(
        model=f"openai/{LM}", messages=MESSAGES, tools=[tool], tool_choice="required", max_tokens=80, **HERE
    )
    assert made.choices[0].message.tool_calls[0].function.name == "tide", made


@check
def responses():
    made = litellm.responses(model=f"openai/{LM}", input="Begin a story.", max_output_tokens=12, **HERE)
    assert any(part.text for item in made.output for part in item.content), made


@check
def speech():
    made = litellm.speech(model="openai/tts-1", voice=VOICE, input=LINE, response_format="pcm", **HERE)
    return f"{raw_speech(made.content):.2f} s"


@check
async def several_at_once():
    asks = [litellm.acompletion(model=f"openai/{LM}", messages=MESSAGES, max_tokens=6, seed=i, **HERE) for i in range(4)]
    assert all(made.choices[0].message.content for made in await asyncio.gather(*asks))


@check
def errors():
    error = raises(litellm.BadRequestError, litellm.completion, model=f"openai/{LM}", messages=[], **HERE)
    return type(error).__name__


run()
