"""What hardening.py, killing.py and replicas.py share: a server of one's own,
and HTTP, WebSocket and Wyoming by hand, so that they can be spoken wrongly.
Only the standard library is needed."""

import base64
import ctypes
import http.client
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path

from common import LM, SPEECH_MODEL, S16, VOICE

HERE = Path(__file__).resolve().parent
QUICK = bool(os.environ.get("SILLAGE_QUICK"))
DATE = "2026-08-14"
LIBC = ctypes.CDLL(None)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def die_with_parent():
    """A child of ours goes when we do, however we go."""
    LIBC.prctl(1, signal.SIGKILL)


class Server:
    """`sillage serve` with a configuration of its own, which may be killed and
    started again on the same folder and ports."""

    def __init__(self, *arguments, config="", key=None, folder=None):
        program = os.environ.get("SILLAGE_BIN", str(HERE.parent / "target/release/sillage"))
        self.folder = Path(folder or tempfile.mkdtemp(prefix="sillage-bare-"))
        # A copy, since a build may replace the file while the tests run.
        self.program = shutil.copy2(program, self.folder / "sillage")
        self.port, self.wyoming, self.key = free_port(), free_port(), key
        self.state, self.log = self.folder / "state", self.folder / "log"
        (self.folder / "config.toml").write_text('host = ["127.0.0.1"]\n' + config)
        self.command = [self.program, "serve", "--config", self.folder / "config.toml", "--port", str(self.port)]
        self.command += ["--wyoming-port", str(self.wyoming), "--state-dir", self.state, *arguments]
        self.process = None

    def start(self):
        """Starts it; gives the seconds until it was ready."""
        began = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.folder, preexec_fn=die_with_parent
            )
        while time.monotonic() - began < 60:
            if self.process.poll() is not None:
                raise SystemExit(f"the server ended with {self.process.returncode}:\n{self.said()[-3000:]}")
            try:
                if self.ask("GET", "/readyz", timeout=5).status == 200:
                    return time.monotonic() - began
            except OSError:
                time.sleep(0.01)
        raise SystemExit(f"the server was not ready after 60 s:\n{self.said()[-3000:]}")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Ends it as it should end; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()

    def said(self):
        return self.log.read_text(errors="replace")

    def memory(self, which="VmRSS"):
        """Megabytes."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(which):
                return int(line.split()[1]) / 1024
        raise AssertionError(f"no {which}")

    def headers(self):
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def ask(self, method, path, body=None, headers=None, timeout=60, key=True):
        """A request as it should be made, on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            return request(connection, method, path, body, {**(self.headers() if key else {}), **(headers or {})})
        finally:
            connection.close()

    def connect(self, timeout=30, room=None, port=None):
        """A socket; `room` makes the buffer small in which it receives."""
        s = socket.socket()
        if room:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        s.settimeout(timeout)
        s.connect(("127.0.0.1", port or self.port))
        return s

    def raw(self, data, timeout=10, shut=False):
        """Sends bytes; what came back until the server closed, and whether it did."""
        with self.connect(timeout) as s:
            try:
                s.sendall(data)
                if shut:
                    s.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            return drain(s)

    def gauge(self, name):
        text = self.ask("GET", "/metrics").body.decode()
        return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"sillage_{name} "))

    def settled(self, seconds=30):
        """Waits until no session is left."""
        until = time.monotonic() + seconds
        while (left := self.gauge("sessions")) and time.monotonic() < until:
            time.sleep(0.1)
        assert not left, f"{left:.0f} sessions are still there after {seconds} s"


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.body[:300]!r}"


def request(connection, method, path, body=None, headers=None):
    headers = {"Cartesia-Version": DATE, **(headers or {})}
    if isinstance(body, (dict, list)):
        body, headers = json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return Answer(answer.status, answer.headers, answer.read())


def drain(s, most=1 << 26):
    """All that comes, and how it ended: closed, reset or still open."""
    got = bytearray()
    try:
        while len(got) < most:
            more = s.recv(1 << 16)
            if not more:
                return bytes(got), "closed"
            got += more
    except TimeoutError:
        return bytes(got), "open"
    except OSError:
        return bytes(got), "reset"
    return bytes(got), "long"


def form(fields, boundary="edge-of-the-form"):
    """A multipart body: `fields` maps names to texts, or to (file name, bytes)."""
    out = b""
    for name, value in fields.items():
        file, value = value if isinstance(value, tuple) else (None, value.encode())
        out += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"'.encode()
        out += f'; filename="{file}"\r\nContent-Type: audio/wav'.encode() if file else b""
        out += b"\r\n\r\n" + value + b"\r\n"
    return out + f"--{boundary}--\r\n".encode(), {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def speech(text, **fields):
    """A request of Cartesia's to speak."""
    return {"model_id": SPEECH_MODEL, "transcript": text, "voice": {"mode": "id", "id": VOICE}, "output_format": S16, **fields}


def chat(text, **fields):
    return {"model": LM, "messages": [{"role": "user", "content": text}], "max_tokens": 16, **fields}


def fault(answer, path, statuses=None):
    """Holds an answer to the error form of its path; gives its code."""
    assert 400 <= answer.status < 600 and answer.status != 500, f"{path}: {answer}"
    if statuses:
        assert answer.status in statuses, f"{path}: {answer}, not {statuses}"
    said = answer.json()
    if path.startswith("/v1/"):
        assert set(said) == {"error"} and set(said["error"]) == {"message", "type", "param", "code"}, f"{path}: {answer}"
        said = said["error"]
    else:
        assert set(said) == {"error_code", "title", "message", "request_id"}, f"{path}: {answer}"
    assert said["message"] and len(answer.body) < 4000, f"{path}: {answer}"
    return said.get("code") or said.get("error_code")


class WebSocket:
    """A WebSocket by hand: frames may be anything."""

    def __init__(self, server, query="", headers=None, room=None, timeout=30, host=None):
        self.s = server.connect(timeout, room)
        lines = [f"GET /tts/websocket?cartesia_version={DATE}{query} HTTP/1.1", f"Host: {host or f'127.0.0.1:{server.port}'}"]
        lines += ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
        lines.append(f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}")
        lines += [f"{name}: {value}" for name, value in (server.headers() if headers is None else headers).items()]
        self.s.sendall("\r\n".join([*lines, "", ""]).encode())
        head = b""
        while b"\r\n\r\n" not in head:
            more = self.s.recv(4096)
            if not more:
                raise ConnectionError(f"closed after {head!r}")
            head += more
        head, self.held = head.split(b"\r\n\r\n", 1)
        self.status = int(head.split()[1])
        if self.status != 101:
            self.refusal = Answer(self.status, {}, self.held + self._body(head))
            self.s.close()

    def _body(self, head):
        length = next((int(l.split(b":")[1]) for l in head.split(b"\r\n") if l.lower().startswith(b"content-length")), 0)
        rest = b""
        while len(self.held) + len(rest) < length:
            rest += self.s.recv(4096)
        return rest

    def frame(self, payload, code=1, fin=True, mask=True, reserved=0, length=None):
        size = len(payload) if length is None else length
        first, flag = (0x80 if fin else 0) | (reserved << 4) | code, 0x80 if mask else 0
        if size < 126:
            head = struct.pack("!BB", first, flag | size)
        elif size < 1 << 16:
            head = struct.pack("!BBH", first, flag | 126, size)
        else:
            head = struct.pack("!BBQ", first, flag | 127, size)
        # A key of nought leaves the bytes as they are.
        self.s.sendall(head + (b"\0\0\0\0" if mask else b"") + payload)

    def send(self, value):
        self.frame(value.encode() if isinstance(value, str) else json.dumps(value).encode())

    def _take(self, size):
        while len(self.held) < size:
            more = self.s.recv(1 << 16)
            if not more:
                raise ConnectionError("closed")
            self.held += more
        taken, self.held = self.held[:size], self.held[size:]
        return taken

    def recv(self):
        """The next frame: its opcode and its bytes."""
        while True:
            first, size = self._take(2)
            if size == 126:
                (size,) = struct.unpack("!H", self._take(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", self._take(8))
            payload = self._take(size)
            if first & 15 == 9:
                self.frame(payload, 10)
            elif first & 15 != 10:
                return first & 15, payload

    def event(self):
        """The next event; a close is one too."""
        code, payload = self.recv()
        if code == 8:
            return {"type": "close", "code": struct.unpack("!H", payload[:2])[0] if payload else None}
        return json.loads(payload)

    def until(self, *kinds, context=None):
        """Events up to one of these kinds, of this context."""
        while True:
            event = self.event()
            if event["type"] == "close" and "close" not in kinds:
                raise AssertionError(f"closed: {event}")
            if event["type"] in kinds and (context is None or event.get("context_id") == context):
                return event

    def close(self):
        self.s.close()


def told(event, context=None, codes=None):
    """Holds a WebSocket's event to the form of errors."""
    assert event["type"] == "error", event
    for field in ("title", "message", "error_code", "request_id"):
        assert event[field], event
    assert event["context_id"] == context, event
    assert 400 <= event["status_code"] < 600 and event["status_code"] != 500, event
    assert codes is None or event["error_code"] in codes, event
    return event["error_code"]


class Wyoming:
    """A Wyoming connection by hand."""

    def __init__(self, server, timeout=30, room=None):
        self.s = server.connect(timeout, room, server.wyoming)
        self.held = b""

    def say(self, kind, data=None, payload=b""):
        self.s.sendall(json.dumps({"type": kind, "data": data or {}, "payload_length": len(payload)}).encode() + b"\n" + payload)

    def _take(self, size):
        while len(self.held) < size:
            more = self.s.recv(1 << 16)
            if not more:
                raise ConnectionError("closed")
            self.held += more
        taken, self.held = self.held[:size], self.held[size:]
        return taken

    def read(self):
        """The next event, or None at the end."""
        while b"\n" not in self.held:
            more = self.s.recv(1 << 16)
            if not more:
                assert not self.held, f"an event was cut: {self.held!r}"
                return None
            self.held += more
        head = json.loads(self._take(self.held.index(b"\n") + 1))
        data = {**(head.get("data") or {})}
        if head.get("data_length"):
            data.update(json.loads(self._take(head["data_length"])))
        self._take(head.get("payload_length") or 0)
        return head["type"], data

    def until(self, kind):
        while (event := self.read()) is not None:
            if event[0] == kind:
                return event[1]
        raise AssertionError(f"closed before {kind}")

    def close(self):
        self.s.close()


def load():
    """The load of the machine, as one reads it."""
    return " ".join(f"{x:.1f}" for x in os.getloadavg())
