"""The requests that Open WebUI makes, in its shapes (the program itself is not run)."""

import json
import urllib.error
import urllib.request

from common import *

URL = f"{BASE}/v1"
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}


def request(method, path, body=None, headers=None):
    """The answer's status, type and bytes, whatever the status is."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **(AUTHORIZED if headers is None else headers)}
    ask = urllib.request.Request(f"{URL}{path}", data, headers, method=method)
    try:
        with urllib.request.urlopen(ask, timeout=120) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read()


@check
def models():
    status, kind, data = request("GET", "/models")
    assert status == 200 and kind.startswith("application/json"), (status, kind)
    assert LM in [m["id"] for m in json.loads(data)["data"]], data


@check
def voices_and_models_of_speech_without_a_key():
    status, _, data = request("GET", "/audio/voices", headers={})
    voices = json.loads(data)["voices"]
    assert status == 200 and all(v["id"] and v["name"] for v in voices), data
    assert VOICE in [v["id"] for v in voices] + [v["name"] for v in voices], data
    status, _, data = request("GET", "/audio/models", headers={})
    assert status == 200 and json.loads(data)["models"][0]["id"], data


@check
def chat():
    """A chat, streamed, and then a title for it, at once."""
    body = {"model": LM, "messages": [{"role": "user", "content": "Begin a story."}], "stream": True,
            "stream_options": {"include_usage": True}, "max_tokens": 12}  # fmt: skip
    status, kind, data = request("POST", "/chat/completions", body)
    assert status == 200 and kind.startswith("text/event-stream"), (status, kind)
    lines = [line[6:] for line in data.decode().split("\n\n") if line.startswith("data: ")]
    assert lines[-1] == "[DONE]", lines[-1]
    chunks = [json.loads(line) for line in lines[:-1]]
    assert "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])
    title = {"model": LM, "messages": [{"role": "user", "content": "Name the story."}], "stream": False,
             "max_completion_tokens": 8}  # fmt: skip
    status, _, data = request("POST", "/chat/completions", title)
    assert status == 200 and json.loads(data)["choices"][0]["message"]["content"], data


@check
def speech():
    """It names no format and keeps what comes as an mp3 file."""
    status, kind, data = request("POST", "/audio/speech", {"model": "tts-1", "input": LINE, "voice": VOICE})
    assert status == 200 and kind.startswith("audio/mpeg"), (status, kind)
    assert data.startswith((b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2")) and len(data) > 5000, data[:4]


@check
def errors_are_json():
    status, kind, data = request("POST", "/audio/speech", {"model": "tts-1", "input": "", "voice": VOICE})
    assert status in (400, 422) and kind.startswith("application/json"), (status, kind)
    assert json.loads(data)["error"]["message"], data
    status, _, data = request("POST", "/chat/completions", {"model": LM})
    assert status in (400, 422) and json.loads(data)["error"]["message"], (status, data)


run()
