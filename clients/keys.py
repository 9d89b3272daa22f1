"""A server with a key: each place in which the clients put it opens, and nothing
else does. Run in the environment of cartesia 4.x, for its HTTP and WebSocket."""

import json

import cartesia
import httpx
import websockets
from websockets.sync.client import connect

from common import *

SPEECH = {"model_id": SPEECH_MODEL, "transcript": "One word.", "voice": VOICE, "output_format": S16}
DATE = "2026-08-14"


def speak(headers=None, query=None):
    headers = {"Cartesia-Version": DATE, **(headers or {})}
    return httpx.post(f"{BASE}/tts/bytes", json=SPEECH, headers=headers, params=query, timeout=60)


def dial(headers=None, query=""):
    return connect(f"{WS_BASE}/tts/websocket?cartesia_version={DATE}{query}", additional_headers=headers or {})


def token():
    return cartesia.Cartesia(api_key=KEY, base_url=BASE).access_token.create(grants={"tts": True}, expires_in=60).token


@check
def every_place_for_a_key_opens():
    for headers, query in (
        ({"Authorization": f"Bearer {KEY}"}, None),
        ({"X-API-Key": KEY}, None),
        (None, {"api_key": KEY}),
        ({"Authorization": f"Bearer {token()}"}, None),
        (None, {"access_token": token()}),
    ):
        answer = speak(headers, query)
        assert answer.status_code == 200 and answer.content, (headers, query, answer.text)


@check
def without_a_key_nothing_opens():
    for headers, query in (
        (None, None),
        ({"Authorization": "Bearer wrong"}, None),
        ({"X-API-Key": KEY + "x"}, None),
        (None, {"api_key": KEY[:-1]}),
        (None, {"access_token": KEY + "x"}),
    ):
        answer = speak(headers, query)
        assert answer.status_code == 401 and answer.json()["message"], (headers, query, answer.text)
    answer = httpx.post(f"{BASE}/v1/completions", json={"model": LM, "prompt": "x"})
    assert answer.status_code == 401 and answer.json()["error"]["message"], answer.text
    assert httpx.get(f"{BASE}/voices").status_code == 401


@check
def a_token_makes_no_tokens():
    """A guest's token speaks, but cannot prolong itself."""
    grants = {"grants": {"tts": True}, "expires_in": 60}
    answer = httpx.post(f"{BASE}/access-token", json=grants, headers={"Authorization": f"Bearer {token()}"})
    assert answer.status_code in (401, 403), answer.text


@check
def sockets_too():
    for headers, query in (
        ({"Authorization": f"Bearer {KEY}"}, ""),
        ({"X-API-Key": KEY}, ""),
        (None, f"&api_key={KEY}"),
        (None, f"&access_token={token()}"),
    ):
        with dial(headers, query) as socket:
            socket.send(json.dumps({"context_id": "one", **SPEECH, "continue": False}))
            assert json.loads(socket.recv(timeout=30))["type"] == "chunk"
    for headers, query in ((None, ""), (None, "&api_key=wrong"), ({"X-API-Key": "wrong"}, "")):
        error = raises(websockets.exceptions.InvalidStatus, dial, headers, query)
        assert error.response.status_code == 401, error


@check
def what_open_webui_asks_without_a_key_is_open():
    assert httpx.get(f"{BASE}/v1/audio/voices").json()["voices"]
    assert httpx.get(f"{BASE}/v1/audio/models").json()["models"]


@check
def health_is_open():
    assert httpx.get(f"{BASE}/readyz").status_code == 200


run()
