"""Clients that mean harm, or are broken. Each must be told so in its protocol's
own form or be left cleanly; none may cost a 500, a hang, a panic or memory; and
meanwhile one who listens and one who chats must not notice.

The server is our own: it wants a key and has small limits. Bounds, for a machine
of two cores that others use as well: the listener's first sound comes within
FIRST_SOUND at the 95th percentile, the server grows by at most GROWTH MB, and at
no moment beyond PEAK MB."""

import random
import socket
import struct
import threading
import zlib

import bombs
from bare import *
from common import *

KEYS = {"a": "sk_car_hardening_a", "b": "sk_car_hardening_b", "slow": "sk_car_hardening_slow"}
STALL, HEAD, REQUEST, IDLE = 4, 20, 30, 40
CONTEXTS, CONNECTIONS = 64, 600 if QUICK else 3000
BODY = 12 << 20
FIRST_SOUND, GROWTH, PEAK = 1.0, 400, 2000
CONFIG = f"""
wyoming_without_key = true
state_budget = "64MiB"
disk_budget = "512MiB"
[limits]
body_bytes = {BODY}
text_chars = 20000
prompt_tokens = 20000
max_tokens = 8000
contexts = {CONTEXTS}
connections = {CONNECTIONS}
stall_seconds = {STALL}
idle_seconds = {IDLE}
request_seconds = {REQUEST}
clip_seconds = 30
shutdown_seconds = 5
voices = 50
"""
TENANTS = "".join(
    f'[[keys]]\nname = "{n}"\nkey = "{k}"\n' + ("requests_per_minute = 5\n" if n == "slow" else "") for n, k in KEYS.items()
)
RANDOM = random.Random(1)
LONG = " ".join([LINE] * 320)  # 19,000 characters, twenty minutes
# What speaks with a body of JSON, and a body that is right.
POSTS = {
    "/v1/completions": {"model": LM, "prompt": PROMPT, "max_tokens": 2},
    "/v1/chat/completions": chat("Hello.", max_tokens=2),
    "/v1/responses": {"model": LM, "input": "Hello.", "max_output_tokens": 2},
    "/v1/states": {"text": PROMPT},
    "/v1/audio/speech": {"model": "tts-1", "voice": VOICE, "input": "Hello."},
    "/tts/bytes": speech("Hello."),
    "/tts/sse": speech("Hello."),
    "/voices/mix": {"voices": [{"id": VOICE, "weight": 1}]},
    "/pronunciation-dicts": {"name": "d", "items": [{"text": "a", "alias": "b"}]},
    "/access-token": {"grants": {"tts": True}, "expires_in": 5},
    "/tokenize": {"prompt": "Hello."},
}

server = Server(config=CONFIG + TENANTS, key=KEYS["a"])
server.start()


class Listener(threading.Thread):
    """Has one line after the other spoken on one socket, and times first sounds."""

    def __init__(self):
        super().__init__(daemon=True)
        self.over, self.wrong, self.first = threading.Event(), [], []

    def run(self):
        try:
            ws = WebSocket(server)
            for number in range(1 << 30):
                if self.over.is_set():
                    return ws.close()
                began, context, sound = time.monotonic(), f"line-{number}", False
                ws.send(speech(LINE, context_id=context))
                while True:
                    event = ws.event()
                    assert event["type"] in ("chunk", "done"), event
                    if event["type"] == "chunk" and not sound:
                        sound = True
                        self.first.append((time.monotonic() - began, time.monotonic()))
                    if event["type"] == "done":
                        break
                self.over.wait(0.15)
        except Exception as error:  # noqa: BLE001
            self.wrong.append(f"{type(error).__name__}: {error}")


class Chatter(threading.Thread):
    """Chats on one connection."""

    def __init__(self):
        super().__init__(daemon=True)
        self.over, self.wrong, self.took = threading.Event(), [], []

    def run(self):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            while not self.over.is_set():
                began = time.monotonic()
                answer = request(connection, "POST", "/v1/chat/completions", chat(LINE), server.headers())
                assert answer.status == 200 and answer.json()["choices"][0]["message"]["content"], answer
                self.took.append(time.monotonic() - began)
                self.over.wait(0.25)
        except Exception as error:  # noqa: BLE001
            self.wrong.append(f"{type(error).__name__}: {error}")


def vanish(s):
    """Goes without a word: what was on its way is refused."""
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def head(method, path, length=None, extra=(), key=True):
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{server.port}", f"Cartesia-Version: {DATE}"]
    lines += [f"Authorization: Bearer {server.key}"] if key else []
    lines += [f"Content-Length: {length}", "Content-Type: application/json"] if length is not None else []
    return "\r\n".join([*lines, *extra, "", ""]).encode()


def posted(path, body, extra=()):
    body = json.dumps(body).encode()
    return head("POST", path, len(body), extra) + body


def parsed(data):
    """All responses in some bytes, as status and body."""
    found = []
    while data:
        top, found_end, rest = data.partition(b"\r\n\r\n")
        assert top.startswith(b"HTTP/1.") and found_end, data[:200]
        lines = top.split(b"\r\n")
        fields = {l.split(b":")[0].lower(): l.split(b":", 1)[1].strip() for l in lines[1:]}
        if b"content-length" in fields:
            size = int(fields[b"content-length"])
            body, data = rest[:size], rest[size:]
        else:
            body, data = rest, b""
        found.append(Answer(int(lines[0].split()[1]), fields, body))
    return found


def left(data, end, path="/v1/x"):
    """A client that spoke badly was answered once, or not at all, and closed;
    what the library refuses before there is a request has no body."""
    assert end != "open", f"still open after {data[:200]!r}"
    answers = parsed(data)
    # What came first may have been a request by chance.
    assert len(answers) <= 2 and (len(answers) < 2 or answers[1].status == 400), answers
    for answer in answers:
        assert 400 <= answer.status < 500 or answer.status in (501, 505), answer
        if answer.body:
            fault(answer, path)
    return answers[0].status if answers else None


@check
def vanishing_from_http():
    """In a body, in a stream of events, in sound, and before anything came."""
    story = chat(PROMPT, stream=True, max_tokens=4000)
    rounds = 3 if QUICK else 15
    for _ in range(rounds):
        for path, body in POSTS.items():
            s = server.connect()
            whole = posted(path, body)
            s.sendall(whole[: len(whole) - 7])
            vanish(s)
        for path, body in (
            ("/v1/chat/completions", story),
            ("/v1/chat/completions", {**story, "stream": False}),
            ("/v1/responses", {"model": LM, "input": PROMPT, "stream": True, "max_output_tokens": 4000}),
            ("/v1/completions", {"model": LM, "prompt": PROMPT, "stream": True, "max_tokens": 4000}),
            ("/tts/sse", speech(LONG)),
            ("/tts/bytes", speech(LONG)),
            ("/tts/bytes", speech(LINE * 9, output_format=WAV, save=True)),
            ("/v1/audio/speech", {"model": "tts-1", "voice": VOICE, "input": LONG[:3900], "response_format": "mp3"}),
        ):
            for waits in (False, True):
                s = server.connect()
                s.sendall(posted(path, body))
                if waits and body.get("stream", "transcript" in body):
                    assert s.recv(100).startswith(b"HTTP/1.1 200"), path
                vanish(s)
    server.settled()
    return f"{rounds * (len(POSTS) + 16)} clients"


@check
def vanishing_from_sockets():
    """Amid contexts, amid a frame, amid a handshake; and from Wyoming."""
    rounds = 5 if QUICK else 30
    for _ in range(rounds):
        ws = WebSocket(server)
        for context in range(8):
            ws.send(speech(LONG, context_id=str(context), add_timestamps=True))
        ws.until("chunk")
        vanish(ws.s)
        ws = WebSocket(server)
        ws.send(speech(LINE, context_id="open", **{"continue": True}))
        ws.frame(b'{"context_id":', length=1000)
        vanish(ws.s)
        s = server.connect()
        s.sendall(head("GET", "/tts/websocket", extra=("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Ver")))
        vanish(s)
        wyoming = Wyoming(server)
        wyoming.say("synthesize", {"text": LONG})
        wyoming.until("audio-chunk")
        vanish(wyoming.s)
        wyoming = Wyoming(server)
        wyoming.say("synthesize-start", {})
        wyoming.s.sendall(b'{"type": "synthesize-chunk", "data_length": 100}\n{"te')
        vanish(wyoming.s)
    server.settled()
    return f"{rounds * 5} clients"


def stalled_ones(rounds):
    """Clients that ask for much and read nothing, with small buffers."""
    found = []
    for _ in range(rounds):
        for path, body in (
            ("/tts/bytes", speech(LONG)),
            ("/tts/sse", speech(LONG)),
            ("/v1/audio/speech", {"model": "tts-1", "voice": VOICE, "input": LONG, "response_format": "pcm"}),
            ("/v1/chat/completions", chat(PROMPT, stream=True, max_tokens=8000, logprobs=True, top_logprobs=20)),
            ("/v1/responses", {"model": LM, "input": PROMPT, "stream": True, "max_output_tokens": 8000}),
        ):
            s = server.connect(60, room=4096)
            s.sendall(posted(path, body))
            found.append((path, s))
        ws = WebSocket(server, room=4096, timeout=60)
        for context in range(4):
            ws.send(speech(LONG, context_id=str(context)))
        found.append(("websocket", ws.s))
        wyoming = Wyoming(server, 60, room=4096)
        wyoming.say("synthesize", {"text": LONG})
        found.append(("wyoming", wyoming.s))
    return found


@check
def stalling():
    """Nobody reads: memory stays bounded, and all end within stall_seconds and a
    bit: the kernel's own buffers, some MB each, have to be filled at first."""
    before, rounds = server.memory(), 2 if QUICK else 6
    allowed = 3 * STALL + 6 * rounds
    clients, began, most = stalled_ones(rounds), time.monotonic(), 0
    while server.gauge("sessions") > 2 and time.monotonic() - began < allowed:
        most = max(most, server.memory() - before)
        time.sleep(0.1)
    took = time.monotonic() - began
    server.settled(5)
    ends = {}
    for path, s in clients:
        s.settimeout(5)
        got, end = drain(s)
        ends.setdefault(path, []).append(end)
        # A text may have been whole in the kernel's buffers; its connection then waits for the next request.
        whole = got.endswith(b"0\r\n\r\n") and path in ("/v1/chat/completions", "/v1/responses")
        assert end in ("closed", "reset") or whole, f"{path} is {end} after {took:.1f} s"
        # A part must not pass for the whole.
        if path.startswith("/") and "tts" in path or "audio" in path:
            assert not got.endswith(b"\r\n0\r\n\r\n"), path
        s.close()
    assert took < allowed, f"{took:.1f} s, and {STALL} s are allowed without a byte"
    assert most < 200, f"{most:.0f} MB for {len(clients)} clients"
    return f"{len(clients)} clients, {most:.0f} MB, all gone after {took:.1f} s"


@check
def a_stalled_socket_is_told_why():
    """Who reads again in time finds a close frame that says so."""
    ws = WebSocket(server, room=4096, timeout=20)
    ws.send(speech(LONG, context_id="c"))
    ws.until("chunk")
    # The writer gives up a fourth of the time before all is over.
    deadline = time.monotonic() + 3 * STALL
    # Between two lines the listener has no stream either.
    while server.gauge("voice_streams") and time.monotonic() < deadline:
        time.sleep(0.05)
    got, end = drain(ws.s)
    assert end in ("closed", "reset"), end
    server.settled()
    return f"{len(got)} bytes later: {end}, {'told' if b'not read in time' in got else 'not told'}"


@check
def garbage_over_http():
    seen = {}
    for number in range(60 if QUICK else 400):
        data = RANDOM.randbytes(RANDOM.choice((1, 17, 300, 4096, 70000)))
        if number % 3 == 0:
            data = b"POST /v1/completions HTTP/1.1\r\n" + data
        if number % 3 == 1:
            data = data.replace(b"\x16", b"\n") + b"\r\n\r\n"
        status = left(*server.raw(data, 5, shut=True))
        seen[status] = seen.get(status, 0) + 1
    return str(seen)


@check
def garbage_bodies():
    """Bytes that are no JSON, JSON that is no object, objects of wrong types."""
    count = 0
    for path, right in POSTS.items():
        wrong = [b"", b"\xff\xfe", RANDOM.randbytes(500), b"[]", b"7", b"null", b'"text"', b"{", b'{"a":}', b"{}" * 50]
        wrong += [json.dumps({**right, name: value}).encode() for name in right for value in ([[]], {"x": {}}, "\0", -1e300)]
        # Bytes that are no UTF-8, within a string.
        wrong += [json.dumps(right).encode().replace(b'"', b'"\xc3\x28', 3)]
        for body in wrong:
            answer = server.ask("POST", path, body, {"Content-Type": "application/json"})
            if answer.status == 200:
                # Some of these are allowed: a field that is passed over, a token without a body.
                continue
            fault(answer, path, (400, 404, 413, 415, 422))
            count += 1
    return f"{count} refused"


@check
def utf8_that_is_none():
    """In every field that is read. What is passed over is not looked at."""
    fields = {
        "/v1/completions": "prompt", "/v1/chat/completions": "content", "/v1/responses": "input", "/v1/states": "text", "/v1/audio/speech": "input",
        "/tts/bytes": "transcript", "/tts/sse": "transcript", "/voices/mix": "id", "/pronunciation-dicts": "name", "/tokenize": "prompt",
    }  # fmt: skip
    for path, field in fields.items():
        body = json.dumps(POSTS[path]).encode()
        mark = b'"%s": "' % field.encode()
        at = body.index(mark) + len(mark)
        for bad in (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"):
            answer = server.ask("POST", path, body[:at] + bad + body[at:], {"Content-Type": "application/json"})
            fault(answer, path, (400,))
            assert "UTF-8" in answer.body.decode(), f"{path} {bad}: {answer}"
        # Half of a pair, escaped: JSON has it, Unicode has not.
        fault(server.ask("POST", path, body[:at] + b"\\ud800" + body[at:]), path, (400,))


NUMBERS = ("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e308", "-1", "18446744073709551616", "9" * 400, "0.1e", "00")


@check
def numbers_that_are_none():
    fields = {
        "/v1/chat/completions": ["temperature", "top_p", "max_tokens", "n", "seed", "frequency_penalty", "top_logprobs", "top_k"],
        "/v1/completions": ["temperature", "max_tokens", "n", "best_of", "logprobs", "min_p", "repetition_penalty", "echo"],
        "/v1/responses": ["temperature", "max_output_tokens", "top_p", "previous_response_id"],
        "/v1/audio/speech": ["speed", "voice", "stream_format"],
        "/tts/bytes": ["speed", "duration", "generation_config", "output_format", "max_buffer_delay_ms"],
        "/tts/sse": ["speed", "duration"],
        "/access-token": ["expires_in"],
        "/v1/states": ["tokens", "name"],
        "/voices/mix": ["voices"],
    }
    seen = {}
    for path, names in fields.items():
        for name in names:
            for number in NUMBERS:
                for value in (number, f"[{number}]", f'{{"speed": {number}, "sample_rate": {number}, "weight": {number}}}'):
                    rest = json.dumps({k: v for k, v in POSTS[path].items() if k != name})
                    body = f'{{"{name}": {value}, {rest[1:]}'.encode()
                    answer = server.ask("POST", path, body, {"Content-Type": "application/json"})
                    seen[answer.status] = seen.get(answer.status, 0) + 1
                    if answer.status != 200:
                        fault(answer, path, (400, 404, 422))
                    if QUICK:
                        break
    ws = WebSocket(server)
    for number in NUMBERS:
        for name in ("speed", "duration", "max_buffer_delay_ms"):
            ws.send(json.dumps(speech("Hi.", context_id="n"))[:-1] + f', "{name}": {number}}}')
            event = ws.until("error", "done")
            if event["type"] == "error":
                told(event, event["context_id"])
    for vector in ([1e39] * 512, [0] * 512, [1e30, -1e30] * 64, [], [1]):
        ws.send(speech("Hi.", context_id="v", voice={"mode": "embedding", "embedding": vector}))
        told(ws.until("error"), "v")
    ws.close()
    return str(seen)


@check
def deep_nesting():
    """100,000 brackets, wherever JSON is read."""
    for pair in ("[]", "{}"):
        deep = "[" * 100_000 + "]" * 100_000 if pair == "[]" else '{"a":' * 100_000 + "1" + "}" * 100_000
        for path, right in POSTS.items():
            for body in (deep, json.dumps(right)[:-1] + f', "metadata": {deep}, "x": {deep}}}', "[" * 100_000):
                answer = server.ask("POST", path, body.encode(), {"Content-Type": "application/json"})
                # What a request does not know is passed over without being held.
                if answer.status != 200 or body.startswith("["):
                    fault(answer, path, (400,))
        for name in ("response_format", "tools", "text", "messages", "input"):
            for path in ("/v1/chat/completions", "/v1/responses"):
                body = json.dumps({k: v for k, v in POSTS[path].items() if k != name})[:-1] + f', "{name}": {deep}}}'
                fault(server.ask("POST", path, body.encode()), path, (400,))
        ws = WebSocket(server)
        # As many as a frame has room for.
        less = deep[: 100_000] if pair == "[]" else '{"a":' * 40_000 + "1" + "}" * 40_000
        ws.send(less)
        told(ws.until("error"))
        ws.send(json.dumps(speech("Hi.", context_id="d"))[:-1] + f', "x": {less}}}')
        told(ws.until("error"))
        ws.close()
        wyoming = Wyoming(server)
        data = f'{{"text": {deep}}}'.encode()
        wyoming.s.sendall(b'{"type":"synthesize","data_length":%d}\n%s' % (len(data), data))
        assert wyoming.read()[0] == "error" and wyoming.read() is None
        wyoming.close()
    # As deep as is read, and no deeper: schemas and arguments are walked.
    for depth in (100, 120, 126):
        schema = {"type": "string"}
        for _ in range(depth // 2):
            schema = {"properties": {"a": schema}}
        answer = server.ask("POST", "/v1/chat/completions", chat("Hi.", response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}))
        assert answer.status == 200 or fault(answer, "/v1/x", (400,)), answer


@check
def garbage_over_websocket():
    """What can be told is told with its context, and the socket lives on; what
    breaks the protocol closes it."""
    ws = WebSocket(server)
    for text in ("", "{", "[]", "7", "null", '"x"', "\0" * 50, '{"context_id": 5}', '{"context_id": "x", "continue": "maybe"}', "{}" * 9):
        ws.send(text)
        event = ws.until("error")
        told(event, "x" if '"x",' in text else event["context_id"])
    for right, codes in (
        ({"transcript": "Hi.", "voice": None}, None),
        ({"voice": {"id": "../../etc/passwd"}}, ("voice_not_found",)),
        ({"voice": {"id": "no\0voice"}}, ("voice_not_found",)),
        ({"output_format": {"container": "mp3"}}, None),
        ({"output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 1}}, None),
        ({"language": "tlh"}, ("language_not_supported",)),
        ({"transcript": "x" * 30000}, None),
        ({"pronunciation_dict_id": "../secrets/tokens"}, ("dictionary_not_found",)),
    ):
        ws.send({**speech("Hi.", context_id="w"), **right})
        told(ws.until("error", "done"), "w", codes)
    ws.send(speech("Hi.", context_id="x" * 5000))
    told(ws.until("error"))
    ws.frame(RANDOM.randbytes(2000), 2)
    told(ws.until("error"), None, ("binary_frame",))
    ws.send(speech("Still here.", context_id="ok"))
    ws.until("done", context="ok")
    ws.close()
    ends = {}
    for name, frames in {
        "invalid utf-8": [(b'{"context_id": "\xff"}', {})],
        "cut utf-8": [(b"\xe2\x82", {})],
        "utf-8 cut between frames": [(b'"\xe2', {"fin": False}), (b'("', {"code": 0})],
        "reserved bits": [(b"{}", {"reserved": 7})],
        "unmasked": [(b"{}", {"mask": False})],
        "opcode 3": [(b"{}", {"code": 3})],
        "opcode 11": [(b"{}", {"code": 11})],
        "long ping": [(b"x" * 126, {"code": 9})],
        "ping in parts": [(b"x", {"code": 9, "fin": False})],
        "continuation of nothing": [(b"x", {"code": 0})],
        "text within text": [(b"x", {"fin": False}), (b"x", {})],
        "2^62 bytes": [(b"x" * 100, {"length": 1 << 62})],
        "2^63 bytes": [(b"x" * 100, {"length": 1 << 63})],
        "one too large": [(b" " * 400_000, {})],
        "too large in parts": [(b" " * 100_000, {"fin": False, "code": c}) for c in (1, 0, 0, 0, 0)],
        "close of one byte": [(b"x", {"code": 8})],
        "close with a wrong code": [(b"\0\0", {"code": 8})],
        "close that is no utf-8": [(b"\x03\xe8\xff", {"code": 8})],
        "noise": [(b"", {"code": 2})] + [(RANDOM.randbytes(50), {"code": RANDOM.randrange(16), "reserved": RANDOM.randrange(8)})],
    }.items():
        ws = WebSocket(server, timeout=8)
        try:
            for payload, how in frames:
                ws.frame(payload, **how)
        except OSError:
            pass
        end = []
        try:
            while True:
                event = ws.event()
                end.append(event["type"] if event["type"] != "close" else event["code"])
                if event["type"] == "error":
                    told(event)
        except (ConnectionError, TimeoutError) as error:
            assert not isinstance(error, TimeoutError), f"{name}: still open after {end}"
        ends[name] = end
        ws.close()
    assert 1007 in ends["invalid utf-8"] and 1009 in ends["one too large"], ends
    # Thousands of tiny frames, and noise in place of frames.
    ws = WebSocket(server)
    for _ in range(500 if QUICK else 5000):
        ws.frame(b"", 9)
    ws.send(speech("Hi.", context_id="p"))
    ws.until("done", context="p")
    ws.close()
    for _ in range(20):
        ws = WebSocket(server, timeout=8)
        try:
            ws.s.sendall(RANDOM.randbytes(3000))
            ws.s.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        assert drain(ws.s)[1] != "open"
        ws.close()
    server.settled()
    return f"{ends}"


@check
def garbage_over_wyoming():
    big = b'{"type":"synthesize","data_length":%s}\n'
    for data in (
        b"\xff\xfe\n", b"{\n", b"[]\n", b"7\n", b"null\n", b'{"type":7}\n', b'{"data":{}}\n', b'{"type":"ping","data":[]}\n',
        b'{"type":"\xff"}\n', b'{"type":"ping","data_length":3}\n\xff\xff\xff', b'{"type":"ping","data_length":2}\n[]',
        big % b"-1", big % b"1.5", big % b"NaN", big % b"1e999", big % b"99999999999999999999", big % b"9007199254740993",
        big % b'"7"', b'{"type":"ping","payload_length":-5}\n', b'{"type":"ping","payload_length":1099511627776}\n',
        b'{"type":"ping","data":{"text":"' + b"x" * 70000, b"x" * 70000 + b"\n", b'{"type":"ping"' + b" " * 66000 + b"}\n",
    ):  # fmt: skip
        wyoming = Wyoming(server, 8)
        wyoming.s.sendall(data)
        event = wyoming.read()
        assert event and event[0] == "error" and event[1]["text"] and event[1]["code"], (data[:60], event)
        assert wyoming.read() is None, data[:60]
        wyoming.close()
    for _ in range(20 if QUICK else 100):
        wyoming = Wyoming(server, 8)
        try:
            wyoming.s.sendall(RANDOM.randbytes(5000))
            wyoming.s.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        assert drain(wyoming.s)[1] != "open"
        wyoming.close()
    wyoming = Wyoming(server)
    for data in (
        {"text": 7}, {"text": ["x"]}, {}, {"text": "x" * 30000}, {"text": "Hi.", "voice": {"name": "../x"}},
        {"text": "Hi.", "voice": {"name": "no\0one"}}, {"text": "Hi.", "voice": 7}, {"text": "Hi.", "voice": {"language": "tlh"}},
    ):  # fmt: skip
        wyoming.say("synthesize", data)
        wyoming.say("ping", {"text": "on"})
        kinds = []
        while (event := wyoming.read()) and (event[0] != "pong" or not kinds):
            kinds.append(event[0])
            if event[0] in ("error", "audio-stop") and "pong" in kinds:
                break
        assert event, data
    wyoming.close()
    # Order that makes no sense; pings without end.
    wyoming = Wyoming(server)
    for kind in ("synthesize-stop", "synthesize-chunk", "audio-stop", "unknown", "synthesize-stop"):
        wyoming.say(kind, {"text": "x"})
    for _ in range(3000):
        wyoming.say("ping", {})
    for _ in range(3000):
        assert wyoming.read()[0] == "pong"
    wyoming.close()
    server.settled()


@check
def large_bodies():
    """10 MB are read and refused for what they are; more than the limit is
    refused for its size, said or not."""
    for path in POSTS:
        for size, statuses in ((10 << 20, (400, 413, 422)), (BODY + 1, (413,)), (BODY + (1 << 20), (413,))):
            body = b'{"x":"' + b"y" * (size - 8) + b'"}'
            with server.connect(30) as s:
                ended = ""
                try:
                    s.sendall(head("POST", path, len(body)) + body)
                except OSError as error:
                    # Refused while it was being sent.
                    ended = str(error)
                s.settimeout(20)
                data = b""
                try:
                    while b"}" not in data.partition(b"\r\n\r\n")[2] and (more := s.recv(65536)):
                        data += more
                except ConnectionResetError:
                    ended += " reset"
                if size == 10 << 20 and data.startswith(b"HTTP/1.1 200"):
                    continue  # what is not known is passed over
                assert data, f"{path} {size}: nothing was answered ({ended})"
                fault(parsed(data)[0], path, statuses)
    for path in ("/v1/completions", "/tts/bytes"):
        # Chunks without end.
        with server.connect(30) as s:
            s.sendall(head("POST", path, extra=("Transfer-Encoding: chunked",)))
            chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
            try:
                for _ in range(40):
                    s.sendall(chunk)
            except OSError:
                pass
            s.settimeout(10)
            data, end = drain(s)
            if data:
                fault(parsed(data)[0], path, (413,))
            assert end != "open"
    body, headers = form({"name": "x", "recording": ("a.wav", bytes(BODY))})
    answer = server.ask("POST", "/v1/audio/voice_consents", body, headers)
    fault(answer, "/v1/", (413,))


@check
def lengths_that_nobody_could_send():
    """Said to be larger than the limit: refused at once, not after waiting for it."""
    waits = []
    for path in ("/v1/completions", "/tts/bytes", "/v1/audio/voices", "/v1/states/content"):
        for length in (1 << 31, 1 << 60):
            with server.connect(5) as s:
                s.sendall(head("POST", path, length) + b"{")
                try:
                    fault(parsed(s.recv(65536))[0], path, (400, 413))
                except TimeoutError:
                    waits.append((path, length))
    assert not waits, f"nothing within 5 s for {waits}"


@check
def a_thousand_contexts():
    """On one socket: as many as are allowed, the others told so by name."""
    ws = WebSocket(server, timeout=60)
    names = [f"context {n}" for n in range(1000)]

    def send():
        for name in names:
            ws.send(speech("Not yet", context_id=name, max_buffer_delay_ms=5000, **{"continue": True}))

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    refused = {}
    while len(refused) < 1000 - CONTEXTS:
        event = ws.until("error", "chunk")
        if event["type"] == "error":
            refused[event["context_id"]] = told(event, event["context_id"], ("too_many_contexts",))
    sender.join()
    assert set(refused) == set(names[CONTEXTS:]), len(refused)
    for name in names:
        ws.send({"context_id": name, "cancel": True})
    # They are free again, one after the other.
    rounds = 100 if QUICK else 1000
    for n in range(rounds):
        ws.send(speech("No.", context_id=f"again {n}"))
        assert ws.until("done", "error", context=f"again {n}")["type"] == "done"
    # One name, used and cancelled over and over.
    for n in range(rounds):
        ws.send(speech(LONG, context_id="same"))
        ws.send({"context_id": "same", "cancel": True})
    ws.send(speech("No.", context_id="last"))
    ws.until("done", context="last")
    # More frames than wait for one context.
    ws.send(speech(LINE, context_id="full", **{"continue": True}))
    ws.close()
    server.settled()
    return f"{len(refused)} refused"


def operations():
    document = server.ask("GET", "/openapi.json", key=False).json()
    for path, methods in document["paths"].items():
        for method in methods:
            if method in ("get", "post", "put", "patch", "delete"):
                yield method.upper(), path.replace("{", "").replace("}", "")


OPEN = {("GET", p) for p in ("/", "/healthz", "/readyz", "/openapi.json", "/v1/audio/voices", "/v1/audio/models")}


@check
def keys_that_are_wrong():
    """Every operation, without a key and with one that is none."""
    count, key = 0, server.key
    for method, path in operations():
        for headers in (
            {}, {"Authorization": "Bearer "}, {"Authorization": f"Bearer {key[:-1]}"}, {"Authorization": f"Bearer {key}x"},
            {"X-API-Key": ""}, {"X-API-Key": key.upper()}, {"Authorization": f"Basic {key}"}, {"Authorization": "Bearer \xff\xfe"},
            {"Authorization": f"Bearer {'x' * 20000}"}, {"Authorization": f"Bearer {key},{key}"},
        ):  # fmt: skip
            answer = server.ask(method, path, {} if method in ("POST", "PATCH", "PUT") else None, headers, key=False)
            if (method, path) in OPEN:
                assert answer.status == 200, (method, path, answer)
                continue
            code = fault(answer, path, (401,))
            assert code == "invalid_api_key" and key not in answer.body.decode(), answer
            assert answer.headers["WWW-Authenticate"], path
            count += 1
    for query in ("", "&api_key=", "&api_key=wrong", "&access_token=", f"&access_token={key}x", f"&api_key={key}%00"):
        ws = WebSocket(server, query, {})
        assert ws.status == 401 and fault(ws.refusal, "/tts/") == "invalid_api_key", (query, ws.status)
    return f"{count} refused"


@check
def tokens_that_are_none():
    def token(**fields):
        return server.ask("POST", "/access-token", {"grants": {"tts": True}, "expires_in": 60, **fields})

    good = token().json()["token"]
    speak = lambda t: server.ask("POST", "/tts/bytes", speech("Hi."), {"Authorization": f"Bearer {t}"}, key=False)  # noqa: E731
    assert speak(good).status == 200
    body, seal = good[len("sk_tok_") :].split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    richer = base64.urlsafe_b64encode(json.dumps({**claims, "expires": 1 << 62, "all": True}).encode()).decode().rstrip("=")
    other = token().json()["token"].split(".")[1]
    forged = [f"sk_tok_{richer}.{seal}", f"sk_tok_{body}.{other}", f"sk_tok_{body}.", f"sk_tok_{body}", "sk_tok_.", "sk_tok_" + "." * 5000]
    forged += [f"sk_tok_{body}.{'A' * 43}", f"sk_tok_{body[:-2]}.{seal}", good + "x", good.upper(), f"sk_tok_{body}.{seal}.{seal}", "sk_tok_\xff.\xff"]
    for one in forged:
        assert fault(speak(one), "/tts/bytes", (401,)) == "invalid_api_key", one
    mute = token(grants={"tts": False}).json()["token"]
    assert fault(speak(mute), "/tts/bytes", (403,)) == "token_not_allowed"
    # A token speaks and does nothing else, whatever is asked.
    for method, path in operations():
        if (method, path) in OPEN or path.startswith(("/tts/", "/infill/")) or path == "/v1/audio/speech":
            continue
        answer = server.ask(method, path, {} if method != "GET" else None, {"Authorization": f"Bearer {good}"}, key=False)
        assert fault(answer, path, (403,)) == "token_not_allowed", (method, path)
    short = token(expires_in=1).json()["token"]
    assert speak(short).status == 200
    time.sleep(2.2)
    assert fault(speak(short), "/tts/bytes", (401,)) == "expired_token"
    assert WebSocket(server, f"&access_token={short}", {}).status == 401
    for seconds in (0, -1, 0.5, 3601, 1e300, "60", [60]):
        answer = token(expires_in=seconds)
        fault(answer, "/access-token", (400,))
    return f"{len(forged)} forged"


@check
def a_rate_is_kept():
    """429 with Retry-After, in each form."""
    limited = {"Authorization": f"Bearer {KEYS['slow']}"}
    while server.ask("GET", "/v1/models", headers=limited, key=False).status == 200:
        pass
    for path in ("/v1/models", "/voices"):
        answer = server.ask("GET", path, headers=limited, key=False)
        assert fault(answer, path, (429,)) == "rate_limit_exceeded" and 1 <= int(answer.headers["Retry-After"]) <= 60, answer
    ws = WebSocket(server, headers=limited)
    assert ws.status == 429, ws.status


TRICKS = [
    "..", "../secrets/tokens", "..%2fsecrets%2ftokens", "%2e%2e%2fsecrets%2ftokens", "%2e%2e", "%252e%252e%252f", "..%5csecrets", "%00", "a%00b",
    "resp_%00", "resp_..%2f..%2fsecrets%2ftokens", "state_%2e%2e%2f%2e%2e%2fconsent.log", "pdict_../x", "%ff%fe", "%c0%ae%c0%ae%2f", "%e2%80%ae",
    "%f0%9f%91%bb", "%0d%0aX-Injected:%20yes", "con", "nul", ".", "%20", "%25", "%", "%zz", "~root", "-rf", "x" * 81, "x" * 5000, "resp_" + "a" * 200,
    "file_..%2f..%2fsigning.key", "$(id)", "{}", "%7b%22a%22%7d", "*", "?", "#", ";", "//etc/passwd", "%2fetc%2fpasswd", "tokens", "signing.key",
]  # fmt: skip
PLACES = [
    ("GET", "/v1/responses/{}"), ("DELETE", "/v1/responses/{}"), ("GET", "/v1/states/{}"), ("DELETE", "/v1/states/{}"),
    ("GET", "/v1/states/{}/content"), ("POST", "/v1/states/{}/fork"), ("GET", "/voices/{}"), ("DELETE", "/voices/{}"), ("PATCH", "/voices/{}"),
    ("PATCH", "/voices/{}/accents"), ("DELETE", "/voices/{}/accents/{}"), ("DELETE", "/v1/audio/voices/{}"),
    ("GET", "/v1/audio/voice_consents/{}"), ("DELETE", "/v1/audio/voice_consents/{}"), ("GET", "/pronunciation-dicts/{}"),
    ("DELETE", "/pronunciation-dicts/{}"), ("POST", "/pronunciation-dicts/{}/pin"), ("GET", "/files/{}/info"), ("GET", "/files/{}/download"),
    ("GET", "/v1/models/{}"), ("GET", "/playground/{}"),
]  # fmt: skip


@check
def paths_that_lead_elsewhere():
    kept = {p: p.read_bytes() for p in (server.state / "signing.key", server.state / "records/secrets/tokens")}
    count = 0
    for method, place in PLACES:
        for trick in TRICKS:
            path = place.replace("{}", trick)
            body = b"{}" if method in ("POST", "PATCH") else b""
            # By hand, since libraries tidy paths up.
            data, end = server.raw(head(method, path, len(body), ("Connection: close",)) + body)
            assert end == "closed", (method, path, end)
            answers = parsed(data)
            assert len(answers) == 1 and b"x-injected" not in answers[0].headers, (method, path, answers)
            answer = answers[0]
            # A path that ends early is another path, and may be there.
            if answer.status == 200:
                assert trick in ("?", "#", ".", "..", "%20", "{}") or "?" in trick or place == "/playground/{}", (method, path, answer)
                assert not any(secret in answer.body for secret in kept.values()), path
                continue
            if answer.body:
                fault(answer, path, (400, 404, 405, 414, 422))
            count += 1
    for name in TRICKS[:30] + ["../secrets/tokens", "a\0b", "\u202e", "\ud83d\udc7b" * 30, "x" * 100_000, "resp_" + "\0" * 40]:
        for path, body in (
            ("/v1/responses", {"model": LM, "input": "Hi.", "previous_response_id": name}),
            ("/v1/completions", {"model": LM, "prompt": "Hi.", "state": name}),
            ("/v1/chat/completions", chat("Hi.", state=name)),
            ("/v1/states", {"from": name}),
            ("/v1/audio/speech", {"model": "tts-1", "voice": name, "input": "Hi."}),
            ("/tts/bytes", speech("Hi.", voice={"id": name})),
            ("/tts/bytes", speech("Hi.", pronunciation_dict_id=name)),
            ("/voices/mix", {"voices": [{"id": name}]}),
            ("/voices/localize", {"voice_id": name, "name": "n", "language": "en"}),
        ):
            answer = server.ask("POST", path, body)
            assert answer.status != 200, (path, name[:40], answer)
            fault(answer, path, (400, 404, 422))
            count += 1
    # A model's name may be anything: the first model answers. It must lead nowhere.
    for name in ("../../etc/passwd", "\0", "x" * 100_000):
        assert server.ask("POST", "/v1/completions", {"model": name, "prompt": "Hi.", "max_tokens": 1}).status == 200
    assert all(path.read_bytes() == data for path, data in kept.items())
    return f"{count} refused"


@check
def sound_that_is_a_bomb():
    """Small files of hours, headers that lie: refused in a second or so, within
    bounds of memory."""
    files = bombs.all_of_them(2 if QUICK else 20, RANDOM.randbytes(200_000))
    sizes, slowest = {n: len(f) for n, f in files.items()}, (0, "")
    places = (("/v1/audio/voice_consents", "recording"), ("/voices/clone", "clip"), ("/v1/audio/voices", "audio_sample"))
    before, codes = server.memory(), {}
    for name, file in files.items():
        for path, field in places[: 1 if QUICK else 3]:
            body, headers = form({"name": "bomb", field: ("bomb.wav", file), "consent": ("bomb.wav", file), "language": "en"})
            began = time.monotonic()
            answer = server.ask("POST", path, body, headers, timeout=30)
            slowest = max(slowest, (time.monotonic() - began, name))
            fault(answer, path, (400, 413, 422))
            codes[name] = answer.json().get("error", answer.json())["message"][:90]
    body, headers = form({"left_audio": ("l.flac", files["flac of hours"]), "right_audio": ("r", files["noise"]), "transcript": "Hi.", "voice_id": VOICE, "output_format[container]": "wav", "model_id": SPEECH_MODEL})
    fault(server.ask("POST", "/infill/bytes", body, headers), "/infill", (400, 413, 422))
    for body in (b"", b"noise" * 100, bytes(1 << 20), RANDOM.randbytes(100_000), b"SILLAGE" * 1000):
        fault(server.ask("POST", "/v1/states/content", body), "/v1/states/content", (400, 422))
    assert slowest[0] < 10, slowest
    grown = server.memory() - before
    assert "longer than" in codes["flac of hours"] and "longer than" in codes["opus of hours"], codes
    return f"{sizes['flac of hours']} bytes of FLAC, {sizes['opus of hours']} of Opus; slowest {slowest[0]:.2f} s ({slowest[1]}); {grown:+.0f} MB"


@check
def states_that_were_changed():
    """A state that was downloaded, with any byte of it changed or missing."""
    made = server.ask("POST", "/v1/states", {"text": PROMPT}).json()
    file = server.ask("GET", f"/v1/states/{made['id']}/content").body
    assert server.ask("POST", "/v1/states/content", file).status == 200
    for at in [*range(0, 64, 3), *(RANDOM.randrange(len(file)) for _ in range(20 if QUICK else 200))]:
        changed = bytearray(file)
        changed[at] ^= 1 << RANDOM.randrange(8)
        fault(server.ask("POST", "/v1/states/content", bytes(changed)), "/v1/states", (400, 422))
    for size in (1, 8, 100, len(file) // 2, len(file) - 1):
        fault(server.ask("POST", "/v1/states/content", file[:size]), "/v1/states", (400, 422))


@check
def forms_that_are_broken():
    clip = bombs.wav()
    whole, headers = form({"name": "x", "recording": ("a.wav", clip), "language": "en"})
    edge = headers["Content-Type"].split("boundary=")[1]
    part = f'--{edge}\r\nContent-Disposition: form-data; name="'.encode()
    kind = lambda value: {"Content-Type": value}  # noqa: E731
    wrong = [(whole[:at], headers) for at in (0, 1, 20, 60, len(whole) // 2, len(whole) - 30, len(whole) - 4)]
    wrong += [(whole, kind(f"multipart/form-data; boundary={b}")) for b in ("", "x", "x" * 70, "x" * 3000, '"', edge[:-1], edge + "x")]
    wrong += [(whole, kind(k)) for k in ("multipart/form-data", "multipart/mixed; boundary=" + edge, "application/json", "text/plain", "multipart/", ";;;", "\xff")]
    wrong += [(whole, {}), (b"--\r\n" * 1000, kind("multipart/form-data; boundary=")), (RANDOM.randbytes(5000), headers)]
    wrong += [(part + b"n" * 100_000 + b'"\r\n\r\nx\r\n--' + edge.encode() + b"--\r\n", headers)]
    wrong += [(b"".join(part + b'f%d"\r\n\r\nx\r\n' % n for n in range(1000)) + b"--" + edge.encode() + b"--\r\n", headers)]
    wrong += [(part + b'\xff\xfe"\r\n\r\nx\r\n--' + edge.encode() + b"--\r\n", headers)]
    wrong += [(part + b'name"\r\n' + b"X: y\r\n" * 5000 + b"\r\nx\r\n--" + edge.encode() + b"--\r\n", headers)]
    wrong += [(part + b'name"\r\n\r\n' + b"x" * 2_000_000 + b"\r\n--" + edge.encode() + b"--\r\n", headers)]
    wrong += [(whole.replace(b"\r\n", b"\n"), headers), (whole.replace(b'name="', b"name="), headers), (whole.replace(b"form-data", b"attachment"), headers)]
    for path in ("/v1/audio/voice_consents", "/v1/audio/voices", "/voices/clone", "/voices/clone/clip", "/infill/bytes"):
        for body, kinds in wrong:
            fault(server.ask("POST", path, body, kinds), path, (400, 413, 415, 422))
    # One that promises more than it sends.
    for path in ("/v1/audio/voices", "/voices/clone"):
        raw = head("POST", path, extra=(f"Content-Length: {len(whole) + 500}", f"Content-Type: {headers['Content-Type']}")) + whole
        data, end = server.raw(raw, shut=True)
        assert end != "open"
        if data:
            fault(parsed(data)[0], path, (400,))
    return f"{5 * len(wrong)} refused"


@check
def requests_within_requests():
    """What two servers could read differently is refused, or read in one way and
    the connection closed: what was smuggled is never answered."""
    inner = f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {server.key}\r\n\r\n".encode()
    body = json.dumps(POSTS["/v1/completions"]).encode()
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    top = lambda *extra: head("POST", "/v1/completions", extra=extra)  # noqa: E731
    length = f"Content-Length: {len(body)}"
    seen = {}
    for name, data in {
        "length and chunks": top("Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n" + inner,
        "chunks and length": top("Transfer-Encoding: chunked", f"Content-Length: {len(chunked) + len(inner)}") + chunked + inner,
        "two lengths": top(length, "Content-Length: 5") + body + inner,
        "two lengths, turned": top("Content-Length: 5", length) + body + inner,
        "lengths in a list": top(f"Content-Length: {len(body)}, 5") + body + inner,
        "length with a plus": top(f"Content-Length: +{len(body)}") + body + inner,
        "length with a minus": top("Content-Length: -1") + body + inner,
        "length in hex": top(f"Content-Length: {len(body):#x}") + body + inner,
        "length of letters": top("Content-Length: five") + body + inner,
        "length too long": top("Content-Length: 99999999999999999999999") + body + inner,
        "chunked, then not": top("Transfer-Encoding: chunked, identity") + chunked + inner,
        "chunked of another name": top("Transfer-Encoding: xchunked") + chunked + inner,
        "chunked twice": top("Transfer-Encoding: chunked", "Transfer-Encoding: identity") + chunked + inner,
        "chunked behind a tab": top("Transfer-Encoding:\x0bchunked") + chunked + inner,
        "folded head": top("Transfer-Encoding:", " chunked") + chunked + inner,
        "folded length": top("Content-Length:", f" {len(body)}") + body + inner,
        "space before the colon": top("Content-Length : 5") + body + inner,
        "space before the name": top(" Content-Length: 5") + body + inner,
        "nul in a value": top("X: a\0b", length) + body + inner,
        "nul in a name": top("X\0Y: a", length) + body + inner,
        "line end alone in a value": top("X: a\nContent-Length: 5", length) + body + inner,
        "return alone in a value": top("X: a\rContent-Length: 5", length) + body + inner,
        "chunk too large": top("Transfer-Encoding: chunked") + b"FFFFFFFFFFFFFFFF\r\n" + body + inner,
        "chunk far too large": top("Transfer-Encoding: chunked") + b"1" + b"0" * 40 + b"\r\n" + body + inner,
        "chunk that wraps round": top("Transfer-Encoding: chunked") + b"1000000000000000a\r\n" + body + inner,
        "chunk of minus one": top("Transfer-Encoding: chunked") + b"-1\r\n" + body + inner,
        "chunk with 0x": top("Transfer-Encoding: chunked") + b"0x5\r\nhello\r\n0\r\n\r\n" + inner,
        "chunk of another length": top("Transfer-Encoding: chunked") + b"3\r\nhello\r\n0\r\n\r\n" + inner,
        "chunk's line end alone": top("Transfer-Encoding: chunked") + chunked.replace(b"\r\n", b"\n", 1) + inner,
        "chunk's name without end": top("Transfer-Encoding: chunked") + b"5;" + b"x" * 200_000 + b"\r\nhello\r\n0\r\n\r\n" + inner,
        "trailers without end": top("Transfer-Encoding: chunked") + b"0\r\n" + b"X: y\r\n" * 20_000 + b"\r\n" + inner,
        "trailer with a length": top("Transfer-Encoding: chunked") + chunked[:-2] + b"Content-Length: 5\r\n\r\n",
        "http/0.9": b"GET /healthz\r\n\r\n" + inner,
        "http/1.2": b"GET /healthz HTTP/1.2\r\nHost: 127.0.0.1\r\n\r\n" + inner,
        "http/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + inner,
        "no version": b"GET /healthz HTTP/\r\n\r\n",
        "spaces": b"GET  /healthz  HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "old with chunks": top("Transfer-Encoding: chunked").replace(b"HTTP/1.1", b"HTTP/1.0") + chunked + inner,
    }.items():
        # Half of the connection stays open, as a proxy's does.
        got, end = server.raw(data, 6)
        answers = parsed(got)
        seen[name] = [a.status for a in answers] + [end]
        assert not any(a.status >= 500 and a.status not in (501, 505) for a in answers), (name, answers)
    # A second answer is right where the message's end is beyond doubt, wrong where it is not.
    doubtful = [n for n in seen if n not in ("old with chunks", "chunk's line end alone", "line end alone in a value", "http/1.2", "spaces")]
    twice = {n: seen[n] for n in doubtful if len(seen[n]) > 2}
    assert not twice, f"answered what was smuggled: {twice}"
    still = {n: s for n, s in seen.items() if s[-1] == "open" and n in doubtful}
    # One that still waits for its body is no fault; one that was refused must be closed.
    assert not {n for n, s in still.items() if len(s) > 1 and s[0] != 200}, still
    return ", ".join(f"{n} {'/'.join(map(str, s))}" for n, s in seen.items())


@check
def lone_line_ends():
    """RFC 9112 lets a server take LF for CRLF: then it must be one request."""
    data = head("GET", "/healthz", extra=("Connection: close",)).replace(b"\r\n", b"\n")
    got, end = server.raw(data)
    answers = parsed(got)
    assert len(answers) == 1 and answers[0].status in (200, 400), answers
    return str(answers[0].status)


@check
def huge_heads():
    key = f"Authorization: Bearer {server.key}"
    seen = {}
    for name, data in {
        "a header of 100 KB": head("GET", "/voices", extra=(f"X: {'y' * 100_000}",)),
        "a header of 5 MB": head("GET", "/voices", extra=(f"X: {'y' * 5_000_000}",)),
        "10,000 headers": head("GET", "/voices", extra=[f"X-{n}: y" for n in range(10_000)]),
        "99 headers": head("GET", "/voices", extra=[f"X-{n}: y" for n in range(95)]),
        "a path of 100 KB": head("GET", "/" + "x" * 100_000),
        "a query of 60 KB": head("GET", "/voices?q=" + "x" * 60_000),
        "a query of 10,000 fields": head("GET", "/voices?" + "&a=b" * 10_000),
        "a method of 10 KB": head("X" * 10_000, "/"),
        "a name of 70 KB": head("GET", "/voices", extra=("x" * 70_000 + ": y",)),
        "50 keys": head("GET", "/voices", extra=[key] * 50),
    }.items():
        if data.endswith(b"\r\n\r\n"):
            data = data[:-2] + b"Connection: close\r\n\r\n"
        got, end = server.raw(data, 8)
        assert end != "open", name
        answers = parsed(got)
        assert len(answers) <= 1 and all(a.status in (200, 400, 404, 405, 414, 431) for a in answers), (name, answers)
        seen[name] = answers[0].status if answers else end
    return str(seen)


def schema(value, **fields):
    return chat("Hi.", max_tokens=8, response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": value}}, **fields)


@check
def hostile_schemas():
    """Huge, circular, exponential: an answer or a refusal, and soon."""
    twice = {"$defs": {"d0": {"type": "string"}}, "$ref": "#/$defs/d40"}
    for n in range(1, 41):
        twice["$defs"][f"d{n}"] = {"anyOf": [{"$ref": f"#/$defs/d{n - 1}"}, {"$ref": f"#/$defs/d{n - 1}"}]}
    wide = {"$defs": {"d0": {"type": "string"}}, "$ref": "#/$defs/d40"}
    for n in range(1, 41):
        wide["$defs"][f"d{n}"] = {"type": "object", "properties": {x: {"$ref": f"#/$defs/d{n - 1}"} for x in "abcd"}, "required": list("abcd")}
    regex = lambda p: {"type": "string", "pattern": p}  # noqa: E731
    hostile = {
        "100,000 words": {"enum": [f"word {n}" for n in range(100_000)]},
        "20,000 properties": {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(20_000)}},
        "20,000 required": {"type": "object", "properties": {f"p{n}": {} for n in range(20_000)}, "required": [f"p{n}" for n in range(20_000)]},
        "itself": {"$ref": "#"},
        "a list of itself": {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
        "one needs two, forty times": wide,
        "2^40 ways": twice,
        "a circle of references": {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        "a reference outward": {"$ref": "http://127.0.0.1:1/schema.json"},
        "a reference to a file": {"$ref": "file:///etc/passwd"},
        "(a+)+$": regex("^(a+)+$"),
        "(a|a)*b": regex("^(a|a)*b$"),
        "(x+x+)+y": regex("^(x+x+)+y$"),
        "a{1,1000000}": regex("^a{1,1000000}$"),
        "((a{1,999}){1,999}){1,999}": regex("^((a{1,999}){1,999}){1,999}$"),
        ".*a.{200}": regex("^(.*a.{200})*$"),
        "brackets": regex("(" * 50_000 + ")" * 50_000),
        "open bracket": regex("["),
        "look behind": regex("(?<=a)b\\1"),
        "unicode": regex("^[\U00010000-\U0010ffff]{1,500}$"),
        "a billion items": {"type": "array", "items": {"type": "string"}, "minItems": 10**9},
        "a billion letters": {"type": "string", "minLength": 10**9},
        "below nought": {"type": "string", "minLength": -1, "maxLength": -5},
        "never": {"type": "string", "minLength": 5, "maxLength": 2},
        "no type": {"type": "nonsense"},
        "false": False,
        "a number": 7,
        "a list": [],
        "a text": "x",
        "types without end": {"type": ["string"] * 100_000},
        "any of 20,000": {"anyOf": [{"type": "string", "pattern": f"^{n}$"} for n in range(20_000)]},
        "all of 1,000": {"allOf": [{"properties": {f"p{n}": {"type": "string"}}} for n in range(1000)]},
        "constants of 1 MB": {"const": "x" * 1_000_000},
        "numbers": {"type": "number", "minimum": 1e308, "maximum": -1e308, "multipleOf": 0},
        "format": {"type": "string", "format": "x" * 100_000},
    }
    for n in (300, 3000):
        for name, one in {
            "references": lambda n: {"$ref": f"#/$defs/d{n}"},
            "objects": lambda n: {"type": "object", "properties": {"a": {"$ref": f"#/$defs/d{n}"}}, "required": ["a"]},
            "lists": lambda n: {"type": "array", "items": {"$ref": f"#/$defs/d{n}"}, "minItems": 1},
            "choices": lambda n: {"anyOf": [{"$ref": f"#/$defs/d{n}"}, {"type": "number"}]},
            "conditions": lambda n: {"allOf": [{"$ref": f"#/$defs/d{n}"}, {"type": "string"}]},
        }.items():
            hostile[f"{n} {name}, each in the next"] = {"$defs": {**{f"d{i}": one(i + 1) for i in range(n)}, f"d{n}": {"type": "string"}}, **one(0)}
    # On a server of their own: one that dies is started again, so that all that kill it are named.
    other, took, seen, deadly, wordy = Server(), {}, {}, [], []
    other.start()
    try:
        for name, value in hostile.items():
            began = time.monotonic()
            try:
                answer = other.ask("POST", "/v1/chat/completions", schema(value), timeout=40)
            except ConnectionError:
                other.process.wait(10)
                deadly.append(f"{name} ({len(json.dumps(value))} bytes; {other.said().strip().splitlines()[-1]})")
                other.start()
                continue
            took[name], seen[name] = time.monotonic() - began, answer.status
            if answer.status != 200:
                if len(answer.body) > 4000:
                    wordy.append(f"{name}: {len(answer.body)} bytes")
                    answer.body = answer.body[:9] + b'{"message":"x","type":"x","param":"x","code":"x"}}'
                fault(answer, "/v1/x", (400, 413, 422))
    finally:
        other.stop()
    assert not deadly, "these end the process: " + "; ".join(deadly) + f"; and refusals that repeat all of what they refuse: {wordy}"
    assert not wordy, f"refusals that repeat all of what they refuse: {wordy}"
    tools = [{"type": "function", "function": {"name": f"f{n}", "parameters": hostile["a list of itself"]}} for n in range(500)]
    for more in ({"tools": tools}, {"tools": tools, "tool_choice": "required"}, {"tools": [{"type": "function"}]}, {"tools": {"a": 1}}, {"tools": [7]}):
        answer = server.ask("POST", "/v1/chat/completions", chat("Hi.", **more), timeout=40)
        assert answer.status == 200 or fault(answer, "/v1/x", (400, 422)), answer
    worst = max(took, key=took.get)
    slow = {n: round(t, 1) for n, t in took.items() if t > 5}
    assert not slow, f"took long: {slow}"
    return f"{sum(s == 200 for s in seen.values())} answered, {sum(s != 200 for s in seen.values())} refused, slowest {took[worst]:.2f} s ({worst})"


@check
def hostile_settings():
    """Stop strings, biases and counts."""
    for fields in (
        {"stop": ["x"] * 1000}, {"stop": ["x" * 10_000]}, {"stop": "x" * 2_000_000}, {"stop": [["a"]]}, {"stop": 7},
        {"n": 0}, {"n": -1}, {"n": 10**9}, {"n": 129}, {"logit_bias": {"999999999": 1}}, {"logit_bias": {"-1": 1}}, {"logit_bias": {"1": 1000}},
        {"logit_bias": {"\0": 1}}, {"logit_bias": {str(n): 1 for n in range(200_000)}}, {"top_logprobs": 21, "logprobs": True}, {"top_logprobs": -1, "logprobs": True},
        {"temperature": 2.01}, {"temperature": -0.1}, {"top_p": 1.1}, {"min_p": -1}, {"repetition_penalty": 0}, {"frequency_penalty": 3},
        {"max_tokens": -1}, {"max_tokens": 8001}, {"max_tokens": 10**9}, {"max_tokens": 1.5}, {"max_tokens": "16"}, {"max_tokens": 2**63}, {"max_tokens": 2**64},
        {"max_completion_tokens": 10**9}, {"messages": []}, {"messages": None}, {"messages": "Hi."}, {"messages": [{}]}, {"messages": [{"role": "user"}] * 10},
        {"messages": [{"role": "x" * 100_000, "content": "x"}]}, {"stream": "yes"}, {"response_format": 7}, {"response_format": {"type": "xml"}},
    ):  # fmt: skip
        answer = server.ask("POST", "/v1/chat/completions", {**chat("Hi.", max_tokens=2), **fields}, timeout=40)
        assert answer.status == 200 and "messages" in fields or fault(answer, "/v1/x", (400, 413, 422)), (fields, answer)
    # Stops that nearly match without end, on a text that repeats.
    stops = ["a" * 999 + "b", "ab" * 499 + "c", *(" " * n + "!" for n in range(900, 910))]
    for body in ({"stop": stops}, {"stop": [""]}, {"stop": "\0"}, {"stop": []}, {"stop": None}):
        answer = server.ask("POST", "/v1/completions", {"model": LM, "prompt": "a a a a", "max_tokens": 200, **body})
        assert answer.status == 200 or fault(answer, "/v1/x", (400,)), answer
    for fields in ({"best_of": 10**9}, {"logprobs": 1000}, {"prompt": [[1, 2], "x"]}, {"prompt": [2**32]}, {"prompt": [-1]},
                   {"prompt": [10**6]}, {"prompt": [[]]}, {"prompt": ["x"] * 1000}, {"prompt": {"a": 1}}, {"suffix": "x" * 10}, {"echo": 5}):  # fmt: skip
        answer = server.ask("POST", "/v1/completions", {"model": LM, "prompt": "Hi.", "max_tokens": 1, **fields})
        assert answer.status == 200 and "suffix" in fields or fault(answer, "/v1/x", (400, 413, 422, 501)), (fields, answer)
    for tokens in ([2**32], [-1], [10**6], ["a"], {"a": 1}):
        answer = server.ask("POST", "/detokenize", {"tokens": tokens})
        # A token that is none is no text.
        assert answer.status == 200 and answer.json() == {"prompt": ""} or fault(answer, "/detokenize", (400, 422)), answer
        fault(server.ask("POST", "/v1/states", {"tokens": tokens}), "/v1/states", (400, 422))


@check
def prompts_without_end():
    """A million characters, wherever text is taken: refused, and without memory of
    hundreds of bytes for each."""
    took, grown, before = {}, {}, server.memory("VmHWM")
    for text in ("a" * 1_000_000, "word " * 200_000, "\U0001f47b" * 250_000, "\n" * 1_000_000, "<" * 1_000_000, "1" * 1_000_000):
        for path, body in (
            ("/v1/completions", {"model": LM, "prompt": text, "max_tokens": 1}),
            ("/v1/chat/completions", chat(text, max_tokens=1)),
            ("/v1/responses", {"model": LM, "input": text, "max_output_tokens": 1}),
            ("/v1/states", {"text": text}),
            ("/tokenize", {"prompt": text}),
            ("/v1/audio/speech", {"model": "tts-1", "voice": VOICE, "input": text}),
            ("/tts/bytes", speech(text)),
            ("/tts/sse", speech(text)),
            ("/voices/mix", {"name": text, "voices": [{"id": VOICE}]}),
            ("/pronunciation-dicts", {"name": text}),
        ):
            began = time.monotonic()
            answer = server.ask("POST", path, body, timeout=60)
            took[path, text[:2]] = time.monotonic() - began
            grown[path, text[:2]], before = server.memory("VmHWM") - before, server.memory("VmHWM")
            if path == "/tokenize" and answer.status == 200:
                continue
            fault(answer, path, (400, 413, 422))
    # Text that is allowed, and hard to read aloud.
    for text in ("1" * 15_000, "a" * 15_000, "<" * 15_000, "<speed ratio='1'>" * 900, "<<a|b" * 3000, "." * 15_000, "\u0300" * 15_000, "$1,000,000,000.99 " * 800, "<break time='99999s'/>" * 500):
        began = time.monotonic()
        s = server.connect(30)
        s.sendall(posted("/tts/bytes", speech(text)))
        first = s.recv(4096)
        took["speak", text[:6]] = time.monotonic() - began
        assert first and not first.startswith(b"HTTP/1.1 500"), (text[:20], first[:300])
        vanish(s)
    server.settled()
    worst = max(took, key=took.get)
    assert took[worst] < 15, f"{worst} took {took[worst]:.1f} s"
    heavy = max(grown, key=grown.get)
    assert grown[heavy] < 250, f"the peak of memory rose by {grown[heavy]:.0f} MB with {heavy}, a body of 1 MB (by {sum(grown.values()):.0f} MB in all)"
    return f"slowest {took[worst]:.2f} s ({worst})"


@check
def as_many_connections_as_there_may_be():
    """Beyond the limit they are closed at once; those that are open work on."""
    before = server.memory()
    open_ones, refused = [], 0
    for _ in range(CONNECTIONS + 200):
        s = server.connect(5)
        open_ones.append(s)
    # One that was taken answers; one that was not is closed.
    works = 0
    for s in open_ones:
        try:
            s.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            got = s.recv(4096)
        except TimeoutError as error:
            raise AssertionError(f"hung after {works} that worked") from error
        except OSError:
            got = b""
        works += got.startswith(b"HTTP/1.1 200")
        refused += not got
    grown = server.memory() - before
    for s in open_ones:
        s.close()
    # The guests and the slow ones have places as well.
    others = 4 + sum(HEADS.kinds.values())
    assert works >= CONNECTIONS - others and 200 <= refused <= 200 + others, (works, refused)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            if server.ask("GET", "/readyz").status == 200:
                break
        except OSError:
            time.sleep(0.1)
    assert grown < 150, f"{grown:.0f} MB"
    return f"{works} answered, {refused} closed, {grown:.0f} MB"


@check
def origins():
    """Web pages of other origins, by HTTP and WebSocket."""
    own = f"http://127.0.0.1:{server.port}"
    for origin in ("http://evil.example", "null", "", f"{own}.evil.example", f"http://127.0.0.1:{server.port + 1}", f"{own}/", "file://", f"HTTP://x@{own[7:]}", "*"):
        for method, path, body in (("GET", "/v1/models", None), ("POST", "/tts/bytes", speech("Hi.")), ("OPTIONS", "/tts/bytes", None), ("GET", "/healthz", None)):
            answer = server.ask(method, path, body, {"Origin": origin})
            assert fault(answer, path, (403,)) == "origin_not_allowed", (origin, path)
            assert not answer.headers["Access-Control-Allow-Origin"]
        ws = WebSocket(server, headers={**server.headers(), "Origin": origin})
        assert ws.status == 403, origin
    assert server.ask("GET", "/v1/models", headers={"Origin": own}).status == 200
    ws = WebSocket(server, headers={**server.headers(), "Origin": own})
    assert ws.status == 101
    ws.close()


@check
def without_keys():
    """A server that knows no keys is this machine's alone: names that a page
    made point here are refused. And one whose sessions are all taken says so."""
    other = Server(config="max_sessions = 4\n[limits]\nstall_seconds = 4\n")
    other.start()
    try:
        hosts = ("evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "0.0.0.0", "1.2.3.4", "localhost@evil.example")
        for host in hosts:
            for path in ("/v1/models", "/voices", "/healthz", "/"):
                answer = other.ask("GET", path, headers={"Host": host})
                assert fault(answer, path, (403,)) == "host_not_allowed", (host, path, answer)
            same = other.ask("POST", "/tts/bytes", speech("Hi."), {"Host": host, "Origin": f"http://{host}"})
            fault(same, "/tts/bytes", (403,))
            ws = WebSocket(other, headers={"Origin": f"http://{host}"}, host=host)
            assert ws.status == 403, host
        odd = {}
        for host in ("", "127.0.0.1.", "[::1].evil.example", "[::1]evil.example", "[", "127.0.0.1:80.evil.example", "localhost:evil.example", "\xff", "a b"):
            lines = f"GET /v1/models HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            odd[host] = parsed(other.raw(lines.encode("latin1"))[0])[0].status
        for host in ("localhost", "127.0.0.1:9", "[::1]:9", "LOCALHOST", "127.1.2.3"):
            assert other.ask("GET", "/v1/models", headers={"Host": host}).status == 200, host
        # Two hosts: whichever counts, both must be allowed.
        two = f"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
        several = [parsed(other.raw(t.encode())[0])[0].status for t in (two, two.replace("127.0.0.1\r\nHost: evil.example", "evil.example\r\nHost: 127.0.0.1"))]
        absolute = "GET http://evil.example/v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        absolute = parsed(other.raw(absolute.encode())[0])[0].status
        # Sessions, one by one.
        ws = WebSocket(other)
        for n in range(4):
            ws.send(speech("Not yet", context_id=str(n), **{"continue": True}))
        deadline = time.monotonic() + 5
        while other.gauge("sessions") < 4 and time.monotonic() < deadline:
            time.sleep(0.02)
        for path in ("/v1/chat/completions", "/v1/responses", "/v1/audio/speech", "/tts/bytes", "/tts/sse"):
            answer = other.ask("POST", path, POSTS[path])
            assert fault(answer, path, (429,)) == "server_busy" and int(answer.headers["Retry-After"]) > 0, answer
        ws.send(speech("Hi.", context_id="fifth"))
        told(ws.until("error", context="fifth"), "fifth", ("server_busy",))
        wyoming = Wyoming(other)
        wyoming.say("synthesize", {"text": "Hi."})
        assert wyoming.until("error")["code"] == "server_busy"
        ws.close()
        other.settled()
        wyoming.say("synthesize", {"text": "Hi."})
        wyoming.until("audio-stop")
        wyoming.close()
    finally:
        code = other.stop()
    assert code == 0, code
    said = f"two hosts: {several}, absolute: {absolute}, odd ones: {odd}"
    assert set(several) <= {400, 403} and set(odd.values()) <= {400, 403} and absolute in (400, 403), said
    return said


@check
def slow_ones_are_left():
    """Heads and bodies that come a byte a second, or never, and sockets that say
    nothing, or nothing more. They were begun before all else."""
    HEADS.join(max(HEADS.began + IDLE + REQUEST + 10 - time.monotonic(), 0))
    HEADS.most = 0
    HEADS.join(5)  # those that are still there go now, and are not counted twice
    ended = {kind: sorted(round(t, 1) for t in HEADS.ended.get(kind, [])) for kind in HEADS.kinds}
    missing = {k: HEADS.kinds[k] - len(v) for k, v in ended.items() if len(v) < HEADS.kinds[k]}
    told_ = {k: (v[0], v[-1]) if v else None for k, v in ended.items()}
    assert not missing, f"still open after {time.monotonic() - HEADS.began:.0f} s: {missing}; ended after {told_}"
    for kind, times in ended.items():
        most = REQUEST + 10 if "body" in kind else HEAD + 6 if kind in ("head", "line") else IDLE + 6
        assert times[-1] < most, f"{kind}: {told_}"
    return f"closed after {told_}"


class Slow(threading.Thread):
    """Clients that take their time, in one thread."""

    def __init__(self, most):
        super().__init__(daemon=True)
        self.most, self.began, self.ended, self.kinds = most, time.monotonic(), {}, {}

    def run(self):
        body = head("POST", "/v1/completions", 100_000) + b'{"prompt": "'
        sound = head("POST", "/voices/clone", extra=("Content-Length: 100000", "Content-Type: multipart/form-data; boundary=e")) + b"--e\r\n"
        chunks = head("POST", "/tts/bytes", extra=("Transfer-Encoding: chunked",)) + b"1\r\n{\r\n"
        starts = {
            "silent": (b"", b""), "beginning of HTTP/2": (b"PRI * HTTP/2", b""), "head": (b"GET / HTTP/1.1\r\nHost: a\r\n", b"X: y\r\n"), "line": (b"GET /", b"x"),
            "kept alive": (b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b""), "body": (body, b" "), "body of a form": (sound, b"x"), "body in chunks": (chunks, b"1\r\n \r\n"), "body that stops": (body, b""),
        }  # fmt: skip
        alive = []
        for kind, (first, drop) in starts.items():
            self.kinds[kind] = 5 if "body" in kind else 20
            for _ in range(self.kinds[kind]):
                s = server.connect(5)
                s.sendall(first)
                s.setblocking(False)
                alive.append((kind, s, drop, time.monotonic()))
        while alive and time.monotonic() - self.began < self.most:
            for entry in list(alive):
                kind, s, drop, began = entry
                try:
                    if drop:
                        s.send(drop)
                    over = not s.recv(4096) and kind
                except BlockingIOError:
                    over = False
                except OSError:
                    over = True
                if over:
                    self.ended.setdefault(kind, []).append(time.monotonic() - began)
                    alive.remove(entry)
                    s.close()
            time.sleep(1)
        for _, s, _, _ in alive:
            s.close()


@check
def two_guests_did_not_notice():
    time.sleep(1)
    for guest in (listener, chatter):
        guest.over.set()
        guest.join(30)
    assert not listener.wrong and not chatter.wrong, (listener.wrong, chatter.wrong)
    first, took = sorted(t for t, _ in listener.first), sorted(chatter.took)
    at = lambda all_, share: all_[min(int(len(all_) * share), len(all_) - 1)] * 1e3  # noqa: E731
    worst = max(listener.first)
    said = f"{len(first)} lines: first sound {at(first, 0.5):.0f}/{at(first, 0.95):.0f}/{first[-1] * 1e3:.0f} ms (50 %/95 %/most, the worst {worst[1] - began_all:.0f} s after the start), "
    said += f"{len(took)} chats: {at(took, 0.5):.0f}/{at(took, 0.95):.0f}/{took[-1] * 1e3:.0f} ms; load {load()}"
    assert at(first, 0.95) < FIRST_SOUND * 1e3 and first[-1] < 5 and took[-1] < 10, said
    return said


@check
def the_server_is_as_before():
    server.settled()
    assert server.process.poll() is None and server.ask("GET", "/readyz").status == 200
    # A connection that was kept alive ends after twenty seconds of silence; the
    # one that asks counts itself, and the one before it may still be closing.
    for _ in range(300):
        connections, streams = server.gauge("connections"), server.gauge("voice_streams")
        if connections <= 1 and streams == 0:
            break
        time.sleep(0.1)
    assert connections <= 1 and streams == 0, (connections, streams)
    # Memory that is not in use is given back every few seconds.
    for _ in range(150):
        if server.memory() - AT_FIRST < GROWTH:
            break
        time.sleep(0.1)
    now, most = server.memory(), server.memory("VmHWM")
    text = server.ask("GET", "/metrics").body.decode()
    faults = [l for l in text.splitlines() if "requests_total" in l and 'status="500"' in l]
    said = server.said()
    code = server.stop()
    loud = [l for l in said.splitlines() if "panicked" in l or " ERROR sillage" in l]
    assert not faults, faults
    assert not loud, loud[:10]
    assert now - AT_FIRST < GROWTH, f"{AT_FIRST:.0f} MB at first, {now:.0f} MB now"
    assert most < PEAK, f"{most:.0f} MB at most"
    assert code == 0, f"ended with {code}"
    return f"{AT_FIRST:.0f} MB at first, {now:.0f} MB at the end, {most:.0f} MB at most"


# Warm, so that what is compared is growth.
for _ in range(3):
    for path_, body_ in POSTS.items():
        assert server.ask("POST", path_, body_).status == 200, path_
AT_FIRST, began_all = server.memory(), time.monotonic()
HEADS = Slow(600)
HEADS.start()
listener, chatter = Listener(), Chatter()
listener.start()
chatter.start()


def end():
    server.kill()
    shutil.rmtree(server.folder, ignore_errors=True)


run(end)
