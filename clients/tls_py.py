"""A server with TLS: CARTESIA_BASE_URL alone points cartesia 3.x and 4.x at it,
WebSocket and all, with SSL_CERT_FILE for the certificate. Plain requests are
answered on the same port."""

import os

from cartesia import Cartesia

from common import *

os.environ["CARTESIA_BASE_URL"] = BASE
BASICS = {"model_id": SPEECH_MODEL, "voice": VOICE, "output_format": S16}


@check
def encrypted():
    assert BASE.startswith("https://"), BASE
    client = Cartesia(api_key=KEY)
    raw_speech(client.tts.generate(transcript=LINE, **BASICS).read())
    with client.tts.websocket_connect() as ws:
        context = ws.context(timeout=30)
        context.send(transcript=LINE, continue_=False, **BASICS)
        return f"{raw_speech(b''.join(e.audio for e in context.receive() if e.type == 'chunk')):.2f} s"


@check
def plain_on_the_same_port():
    plain = BASE.replace("https", "http", 1)
    client = Cartesia(api_key=KEY, base_url=plain, websocket_base_url=plain.replace("http", "ws", 1))
    raw_speech(client.tts.generate(transcript=LINE, **BASICS).read())


run()
