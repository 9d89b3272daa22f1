"""PyPI langchain-openai: `base_url` ending in /v1."""

from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAI
from pydantic import BaseModel

from common import *

HERE = {"model": LM, "base_url": f"{BASE}/v1", "api_key": KEY, "max_retries": 0, "timeout": 120}
MESSAGES = [SystemMessage("You tell stories."), HumanMessage("Begin one.")]


class Voyage(BaseModel):
    """A voyage."""

    port: str
    days: int


@check
def completions():
    """All options are sent, most of them as their defaults or null."""
    model = OpenAI(max_tokens=8, temperature=0, **HERE)
    text = model.invoke(PROMPT)
    assert text and "".join(model.stream(PROMPT)) == text
    assert len(model.batch([PROMPT, "It rained"])) == 2
    return repr(text)


@check
def chat():
    model = ChatOpenAI(max_completion_tokens=12, temperature=0, **HERE)
    made = model.invoke(MESSAGES)
    assert made.content and made.usage_metadata["total_tokens"] > 0 and made.response_metadata["finish_reason"]
    assert "".join(c.content for c in model.stream(MESSAGES)) == made.content
    scored = model.bind(logprobs=True, top_logprobs=1).invoke(MESSAGES)
    assert scored.response_metadata["logprobs"]["content"]


@check
def structured_output():
    model = ChatOpenAI(max_completion_tokens=120, **HERE)
    for method in ("json_schema", "function_calling"):
        made = model.with_structured_output(Voyage, method=method).invoke(MESSAGES)
        assert isinstance(made, Voyage), (method, made)
    return repr(made)


@check
def tools():
    model = ChatOpenAI(max_completion_tokens=120, **HERE)
    made = model.bind_tools([Voyage], tool_choice="any").invoke(MESSAGES)
    call = made.tool_calls[0]
    assert call["name"] == "Voyage" and isinstance(call["args"]["days"], int), made
    told = [*MESSAGES, made, ToolMessage("It sailed.", tool_call_id=call["id"])]
    assert model.bind_tools([Voyage], tool_choice="none").invoke(told).content


@check
def responses():
    model = ChatOpenAI(use_responses_api=True, max_completion_tokens=16, **HERE)
    made = model.invoke(MESSAGES)
    assert made.text, made
    assert "".join(c.text for c in model.stream(MESSAGES))


@check
async def several_at_once():
    model = ChatOpenAI(max_completion_tokens=6, **HERE)
    assert len(await model.abatch([MESSAGES] * 4)) == 4


run()
