"""A client of both servers that costs them little: many streams on one thread.

Bytes are noted with the time at which they came and looked at only when all
streams have ended, so that two cores are left to the server.
"""

import json
import selectors
import socket
import time
from dataclasses import dataclass, field

PATIENCE = 900


@dataclass
class Reply:
    """One answered request."""

    began: float
    status: int
    text: str = ""
    # When each piece of text came.
    times: list = field(default_factory=list)
    usage: dict = field(default_factory=dict)
    timings: dict = field(default_factory=dict)
    tokens: list = field(default_factory=list)
    id: str = ""
    ended: float = 0.0

    @property
    def first(self):
        """Seconds until the first text."""
        return self.times[0] - self.began

    @property
    def prompt_tokens(self):
        return self.usage.get("prompt_tokens", self.usage.get("input_tokens", 0))

    @property
    def written(self):
        return self.usage.get("completion_tokens", self.usage.get("output_tokens", 0))

    @property
    def cached(self):
        details = self.usage.get("prompt_tokens_details") or self.usage.get("input_tokens_details") or {}
        return details.get("cached_tokens", 0)

    @property
    def read(self):
        """Prompt tokens that the server had to read."""
        return self.prompt_tokens - self.cached


class Broken(Exception):
    """The server did not answer as it should."""


class Stream:
    """One request in flight."""

    def __init__(self, port, path, body):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(data)}\r\nConnection: close\r\n\r\n"
        self.request = head.encode() + data
        self.chunks = []
        self.began = 0.0

    def send(self):
        self.began = time.perf_counter()
        self.socket.sendall(self.request)
        self.socket.setblocking(False)

    def take(self):
        """Notes what is there; False at the end."""
        chunk = self.socket.recv(1 << 18)
        if chunk:
            self.chunks.append((time.perf_counter(), chunk))
        return bool(chunk)

    def reply(self):
        head, events = opened(self.chunks)
        status = int(head.split(None, 2)[1])
        if status != 200:
            body = b"".join(chunk for _, chunk in self.chunks)
            raise Broken(f"status {status}: {body[-600:]!r}")
        reply = Reply(began=self.began, status=status)
        for at, event in events:
            digest(reply, at, event)
        reply.ended = self.chunks[-1][0]
        return reply


def opened(chunks):
    """The head of a response, and its events with the times at which they came."""
    head, _, rest = b"".join(chunk for _, chunk in chunks).partition(b"\r\n\r\n")
    # Where each noted chunk ends in the raw bytes.
    ends, total = [], 0
    for at, chunk in chunks:
        total += len(chunk)
        ends.append((total, at))
    body, places = unchunked(rest, len(head) + 4) if b"chunked" in head.lower() else (rest, [(0, len(head) + 4)])
    events, start, step, place = [], 0, 0, 0
    # Events end with an empty line; what comes without streaming is one event.
    for line_end in line_ends(body):
        line = body[start:line_end].strip()
        while place + 1 < len(places) and places[place + 1][0] < line_end:
            place += 1
        raw = places[place][1] + line_end - places[place][0]
        while step + 1 < len(ends) and ends[step][0] < raw:
            step += 1
        start = line_end
        if line.startswith(b"data:"):
            line = line[5:].strip()
        if line.startswith(b"{"):
            events.append((ends[step][1], json.loads(line)))
    return head.decode(), events


def line_ends(body):
    at = body.find(b"\n")
    while at >= 0:
        yield at
        at = body.find(b"\n", at + 1)
    if not body.endswith(b"\n"):
        yield len(body)


def unchunked(rest, offset):
    """A chunked body, and where its parts begin: [(in the body, in the raw bytes)]."""
    parts, places, at, length = [], [], 0, 0
    while True:
        end = rest.find(b"\r\n", at)
        if end < 0:
            raise Broken("a body ended within a chunk")
        size = int(rest[at:end].split(b";")[0], 16)
        if size == 0:
            return b"".join(parts), places
        places.append((length, offset + end + 2))
        parts.append(rest[end + 2 : end + 2 + size])
        length += size
        at = end + 2 + size + 2


def digest(reply, at, event):
    """Adds one event of any of the protocols to a reply."""
    if "error" in event and event["error"]:
        raise Broken(json.dumps(event["error"]))
    piece = event.get("content") or ""
    for choice in event.get("choices") or []:
        message = choice.get("delta") or choice.get("message") or {}
        piece = message.get("content") or choice.get("text") or ""
    if event.get("type") == "response.output_text.delta":
        piece = event["delta"]
    if event.get("object") == "response":
        event = {"response": event}
        piece = "".join(p["text"] for i in event["response"]["output"] for p in i.get("content", []))
    if piece:
        reply.text += piece
        reply.times.append(at)
    response = event.get("response") or {}
    reply.id = response.get("id") or reply.id
    reply.usage = response.get("usage") or event.get("usage") or reply.usage
    reply.timings = event.get("timings") or reply.timings
    reply.tokens += event.get("tokens") or [] if isinstance(event.get("tokens"), list) else []


def ask_all(port, requests):
    """Sends [(path, body)] at once and waits for all; replies in the same order."""
    streams = [Stream(port, path, body) for path, body in requests]
    with selectors.DefaultSelector() as watched:
        for stream in streams:
            stream.send()
            watched.register(stream.socket, selectors.EVENT_READ, stream)
        while watched.get_map():
            for key, _ in watched.select(PATIENCE):
                if not key.data.take():
                    watched.unregister(key.fileobj)
                    key.fileobj.close()
    return [stream.reply() for stream in streams]


def ask(port, path, body):
    return ask_all(port, [(path, body)])[0]


def plain(port, method, path, body=None, patience=PATIENCE):
    """A request that is not streamed: (status, JSON or text)."""
    import http.client

    link = http.client.HTTPConnection("127.0.0.1", port, timeout=patience)
    data = None if body is None else json.dumps(body)
    link.request(method, path, data, {"Content-Type": "application/json"})
    answer = link.getresponse()
    text = answer.read().decode("utf-8", "replace")
    link.close()
    try:
        return answer.status, json.loads(text)
    except ValueError:
        return answer.status, text
