"""A WebSocket client of Cartesia's protocol that costs little, so that what is measured is the server."""

import asyncio
import base64
import json
import os
import struct
import time

RATE = 24_000
SAMPLE_BYTES = 2


class Socket:
    """One connection; contexts come and go on it."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET /tts/websocket?cartesia_version=2026-08-14 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 101 " not in head.split(b"\r\n", 1)[0]:
            raise RuntimeError(head.decode(errors="replace"))
        return cls(reader, writer)

    def send(self, message, kind=1):
        """A frame of our side is masked; a mask of noughts changes nothing."""
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        size = bytes([0x80 | len(body)]) if len(body) < 126 else struct.pack(">BH", 0xFE, len(body))
        self.writer.write(bytes([0x80 | kind]) + size + b"\0\0\0\0" + body)

    async def receive(self):
        """The next message; pings are answered on the way."""
        while True:
            first, second = await self.reader.readexactly(2)
            size = second & 127
            if size == 126:
                (size,) = struct.unpack(">H", await self.reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack(">Q", await self.reader.readexactly(8))
            body = await self.reader.readexactly(size)
            match first & 15:
                case 1:
                    return json.loads(body)
                case 8:
                    raise ConnectionError(f"the server closed the socket: {body[2:].decode(errors='replace')}")
                case 9:
                    self.send(body, kind=10)

    def close(self):
        self.writer.close()


class Heard:
    """One text, as a player would have heard it."""

    def __init__(self):
        self.first_ms, self.seconds, self.late = None, 0.0, 0


async def speak(socket, number, text, voice):
    """Has a text spoken and plays it in real time: comes back when the last sound would have ended."""
    heard, began, playing = Heard(), time.perf_counter(), None
    socket.send(
        {
            "context_id": f"c{number}", "model_id": "sillage", "transcript": text, "continue": False,
            "voice": {"mode": "id", "id": voice}, "max_buffer_delay_ms": 0, "language": "en",
            "output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": RATE},
        }
    )  # fmt: skip
    while True:
        message = await socket.receive()
        now = time.perf_counter()
        if message["type"] == "chunk":
            if playing is None:
                playing, heard.first_ms = now, 1e3 * (now - began)
            elif now > playing + heard.seconds:
                heard.late += 1
                playing = now - heard.seconds
            # Four letters of base64 are three bytes.
            size = len(message["data"]) * 3 // 4 - message["data"][-2:].count("=")
            heard.seconds += size / SAMPLE_BYTES / RATE
        elif message["type"] == "done":
            await asyncio.sleep(max(0.0, playing + heard.seconds - now) if playing else 0)
            return heard
        elif message["type"] == "error":
            raise RuntimeError(message)
