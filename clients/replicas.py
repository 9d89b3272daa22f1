"""Two servers that share a Redis: one conversation on both, what is made on one
is there on the other, whoever dies; Redis away and back; and tenants who do not
see each other. Needs Debian's redis-server, which root installs if it is missing."""

import socket
import threading

import bombs
from bare import *
from common import *

ANNA, BERT = "sk_car_replicas_anna", "sk_car_replicas_bert"
CONFIG = f"""
wyoming_without_key = true
[[keys]]
name = "anna"
key = "{ANNA}"
rehearse = true
[[keys]]
name = "bert"
key = "{BERT}"
rehearse = true
"""
# Each of these asks once.
GUESTS = [f"sk_car_replicas_guest_{n}" for n in range(6)]
CONFIG += "".join(f'[[keys]]\nname = "{g}"\nkey = "{g}"\n' for g in GUESTS)
BERTS = {"Authorization": f"Bearer {BERT}"}
CLIP = bombs.wav(b"".join(int(3000 * math.sin(n / 20)).to_bytes(2, "little", signed=True) for n in range(24000)))


class Redis:
    """redis-server in a folder of its own, which keeps what it is told."""

    def __init__(self):
        program = shutil.which("redis-server")
        if program is None and os.geteuid() == 0:
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
            subprocess.run(["apt-get", "update"], check=False, **quiet)
            subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", "redis-server"], check=False, **quiet)
            program = shutil.which("redis-server")
        if program is None:
            raise SystemExit("there is no redis-server: apt-get install redis-server")
        self.folder, self.port = tempfile.mkdtemp(prefix="sillage-redis-"), free_port()
        self.command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder, "--save", "", "--appendonly", "yes"]
        self.url = f"redis://127.0.0.1:{self.port}"
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            [*self.command, "--appendfsync", "always"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=die_with_parent
        )
        for _ in range(200):
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as s:
                    s.sendall(b"PING\r\n")
                    if s.recv(7) == b"+PONG\r\n":
                        return self
            except OSError:
                pass
            time.sleep(0.05)
        raise SystemExit("redis-server does not answer")

    def stop(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        self.process.wait(20)


redis = Redis().start()
one, two = (Server("--redis", redis.url, config=CONFIG, key=ANNA) for _ in range(2))
for server_ in (one, two):
    server_.start()


def turn(server, text, before=None, headers=None, **fields):
    body = {"model": LM, "input": text, "max_output_tokens": 12, **fields}
    answer = server.ask("POST", "/v1/responses", {**body, "previous_response_id": before} if before else body, headers)
    assert answer.status == 200, answer
    made = answer.json()
    usage = made["usage"]
    return made["id"], usage["total_tokens"], usage["input_tokens_details"]["cached_tokens"], usage["input_tokens"]


@check
def a_conversation_goes_back_and_forth():
    """Every turn costs its own tokens, whoever answers; nothing is read twice."""
    name, total, cached, _ = turn(one, f"{LINE} {time.time()}")
    assert cached == 0, cached
    read = []
    for number in range(10 if QUICK else 40):
        server = (two, one)[number % 2]
        before, (name, total, cached, asked) = total, turn(server, f"And then, {number}?", name)
        # The last token that was written is read with the next turn.
        assert before - 1 <= cached <= before, f"turn {number}: {cached} of {before} tokens had not to be read again"
        read.append(asked - cached)
    # And by chat, where the whole conversation is sent again.
    messages = [{"role": "user", "content": f"{PROMPT} {time.time()}"}]
    total = 0
    for number in range(6):
        server = (one, two)[number % 2]
        time.sleep(0.3)  # chats keep states for their own sake: they are shared a little later
        answer = server.ask("POST", "/v1/chat/completions", {"model": LM, "messages": messages, "max_tokens": 12}).json()
        cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"]
        if number:
            assert cached >= shared - 8, f"chat {number}: {cached} of {shared} tokens had not to be read again"
        shared = answer["usage"]["prompt_tokens"]
        messages += [answer["choices"][0]["message"], {"role": "user", "content": f"And {number}?"}]
        messages = [{"role": m["role"], "content": m["content"]} for m in messages]
    return f"tokens read by turn: {read[:12]}"


@check
def forks_on_both_sides():
    """One answer gone on from by both at once gives two conversations, and the
    same words where the seed is the same."""
    name, total, _, _ = turn(one, f"{LINE} {time.time()}")
    texts = []
    for server in (one, two):
        answer = server.ask("POST", "/v1/responses", {"input": "Go on.", "previous_response_id": name, "max_output_tokens": 16, "seed": 7})
        assert answer.json()["usage"]["input_tokens_details"]["cached_tokens"] >= total - 1, answer
        texts.append(answer.json()["output"][0]["content"][0]["text"])
    assert texts[0] == texts[1], texts
    found = []
    threads = [threading.Thread(target=lambda s=s: found.append(turn(s, "At once.", name)[0])) for s in (one, two) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 8, found
    for made in found:
        for server in (one, two):
            assert server.ask("GET", f"/v1/responses/{made}").status == 200


@check
def what_one_makes_the_other_has():
    made = one.ask("POST", "/voices/mix", {"name": f"both {time.time()}", "voices": [{"id": VOICE}, {"id": "george"}]}).json()
    spoken = [s.ask("POST", "/tts/bytes", speech(LINE, voice={"id": made["id"]})) for s in (one, two)]
    assert all(a.status == 200 and len(a.body) > 50_000 for a in spoken), spoken
    raw_speech(spoken[1].body)
    body, headers = form({"name": "anna", "recording": ("a.wav", CLIP), "language": "en-US"})
    consent = two.ask("POST", "/v1/audio/voice_consents", body, headers).json()
    assert one.ask("GET", f"/v1/audio/voice_consents/{consent['id']}").json()["name"] == "anna"
    body, headers = form({"name": "anna", "audio_sample": ("a.wav", CLIP), "consent": consent["id"]})
    voice = one.ask("POST", "/v1/audio/voices", body, headers).json()
    assert voice["id"] in {v["id"] for v in two.ask("GET", "/v1/audio/voices").json()["voices"]}
    changed = two.ask("PATCH", f"/voices/{voice['id']}", {"name": "annette"})
    assert changed.status == 200 and one.ask("GET", f"/voices/{voice['id']}").json()["name"] == "annette"
    words = one.ask("POST", "/pronunciation-dicts", {"name": "d", "items": [{"text": "kettle", "alias": "teapot"}]}).json()
    assert two.ask("POST", "/tts/bytes", speech(LINE, pronunciation_dict_id=words["id"])).status == 200
    state = two.ask("POST", "/v1/states", {"text": PROMPT}).json()
    file = one.ask("GET", f"/v1/states/{state['id']}/content")
    assert file.status == 200 and len(file.body) > 100_000, file
    ended = one.ask("POST", "/v1/completions", {"model": LM, "state": state["id"], "prompt": " so", "max_tokens": 2})
    assert ended.status == 200 and ended.json()["usage"]["prompt_tokens_details"]["cached_tokens"] >= state["tokens"], ended
    token = one.ask("POST", "/access-token", {"grants": {"tts": True}, "expires_in": 60}).json()["token"]
    guest = {"Authorization": f"Bearer {token}"}
    assert two.ask("POST", "/tts/bytes", speech("Hi.", voice={"id": made["id"]}), guest, key=False).status == 200
    ws = WebSocket(two, f"&access_token={token}", {})
    ws.send(speech("Hi.", context_id="t"))
    ws.until("done")
    ws.close()
    saved = one.ask("POST", "/tts/bytes", speech(LINE, save=True, output_format=WAV))
    name = next(v for k, v in saved.headers.items() if k.lower() == "cartesia-file-id")
    assert two.ask("GET", f"/files/{name}/download").body == saved.body
    # What one deletes is gone on the other, at once.
    for server, path in ((one, f"/voices/{made['id']}"), (two, f"/voices/{voice['id']}"), (one, f"/v1/states/{state['id']}"), (two, f"/v1/audio/voice_consents/{consent['id']}"), (two, f"/pronunciation-dicts/{words['id']}")):
        assert server.ask("DELETE", path).status in (200, 204), path
        for other in (one, two):
            assert other.ask("GET", path).status == 404, path
    gone = two.ask("POST", "/tts/bytes", speech("Hi.", voice={"id": made["id"]}))
    assert fault(gone, "/tts/bytes", (404,)) == "voice_not_found"


@check
def one_dies_and_no_finished_turn_is_lost():
    """kill -9 of the one that answers, mid-conversation: the other goes on from
    every turn that was told as finished."""
    rounds = 3 if QUICK else 15
    lost = []
    for number in range(rounds):
        victim, other = ((one, two), (two, one))[number % 2]
        finished, over = [], threading.Event()

        def talk():
            name = None
            while not over.is_set():
                try:
                    name, total, _, _ = turn(victim, f"{LINE} {len(finished)}", name)
                    finished.append((name, total))
                except (OSError, http.client.HTTPException, ValueError, AssertionError):
                    return

        talkers = [threading.Thread(target=talk) for _ in range(3)]
        for talker in talkers:
            talker.start()
        time.sleep(0.3 + 0.13 * number % 0.5)
        victim.kill()
        over.set()
        for talker in talkers:
            talker.join(30)
        assert finished
        for name, total in finished:
            _, _, cached, _ = turn(other, "Go on.", name)
            if cached < total - 1:
                lost.append((name, cached, total))
        victim.start()
        name, total = finished[-1]
        _, _, cached, _ = turn(victim, "Go on.", name)
        assert cached >= total - 1, (cached, total)
    assert not lost, f"{len(lost)} turns had to be read again: {lost[:3]}"
    return f"{rounds} kills"


@check
def tenants_do_not_see_each_other():
    """Another key's things are not there: 404 as for ids that never were, in the
    same words; and a text that one has read costs the other all its tokens."""
    text = f"{LINE} {PROMPT} {time.time()} " * 8
    name, total, _, _ = turn(one, text)
    state = one.ask("POST", "/v1/states", {"text": text}).json()
    voice = one.ask("POST", "/voices/mix", {"name": f"annas {time.time()}", "voices": [{"id": VOICE}]}).json()
    body, headers = form({"name": "anna", "recording": ("a.wav", CLIP), "language": "en"})
    consent = one.ask("POST", "/v1/audio/voice_consents", body, headers).json()
    words = one.ask("POST", "/pronunciation-dicts", {"name": "d", "items": [{"text": "kettle", "alias": "teapot"}]}).json()
    saved = one.ask("POST", "/tts/bytes", speech(LINE, save=True, output_format=WAV))
    file = next(v for k, v in saved.headers.items() if k.lower() == "cartesia-file-id")
    differ = []
    for server in (one, two):
        bert = lambda method, path, body=None, headers=None: server.ask(method, path, body, {**BERTS, **(headers or {})}, key=False)  # noqa: E731
        for method, path, mine, body in (
            ("GET", "/v1/responses/{}", name, None), ("DELETE", "/v1/responses/{}", name, None), ("GET", "/v1/states/{}", state["id"], None),
            ("GET", "/v1/states/{}/content", state["id"], None), ("POST", "/v1/states/{}/fork", state["id"], {}), ("DELETE", "/v1/states/{}", state["id"], None),
            ("POST", "/v1/responses", name, {"input": "Hi.", "previous_response_id": "{}"}), ("POST", "/v1/completions", state["id"], {"model": LM, "prompt": "x", "state": "{}"}),
            ("POST", "/v1/chat/completions", name, chat("Hi.", state="{}")), ("POST", "/v1/states", name, {"from": "{}"}),
            ("GET", "/voices/{}", voice["id"], None), ("PATCH", "/voices/{}", voice["id"], {"name": "x"}), ("DELETE", "/voices/{}", voice["id"], None),
            ("GET", "/voices/{}", voice["name"].replace(" ", "%20"), None), ("DELETE", "/v1/audio/voices/{}", voice["id"], None),
            ("POST", "/tts/bytes", voice["id"], speech("Hi.", voice={"id": "{}"})), ("POST", "/v1/audio/speech", voice["id"], {"model": "tts-1", "voice": "{}", "input": "Hi."}),
            ("POST", "/voices/mix", voice["id"], {"voices": [{"id": "{}"}]}), ("POST", "/voices/localize", voice["id"], {"voice_id": "{}", "name": "n", "description": "", "language": "en"}),
            ("GET", "/v1/audio/voice_consents/{}", consent["id"], None), ("DELETE", "/v1/audio/voice_consents/{}", consent["id"], None),
            ("GET", "/pronunciation-dicts/{}", words["id"], None), ("PATCH", "/pronunciation-dicts/{}", words["id"], {"name": "x"}), ("DELETE", "/pronunciation-dicts/{}", words["id"], None),
            ("POST", "/tts/bytes", words["id"], speech("Hi.", pronunciation_dict_id="{}")),
            ("GET", "/files/{}/info", file, None), ("GET", "/files/{}/download", file, None), ("POST", "/links", file, {"file_id": "{}"}),
        ):  # fmt: skip
            told_ = []
            # One that never was, of the same form.
            never = mine[:-6] + ("abcdef" if mine[-6:] != "abcdef" else "fedcba")
            for wanted in (mine, never):
                filled = json.loads(json.dumps(body).replace("{}", wanted)) if body else body
                answer = bert(method, path.replace("{}", wanted), filled)
                fault(answer, path, (404,))
                plain = {k: v for k, v in answer.json().get("error", answer.json()).items() if k != "request_id"}
                told_.append(json.dumps(plain).replace(wanted, "ID").replace(wanted.replace("%20", " "), "ID"))
            if told_[0] != told_[1]:
                differ.append((method, path, told_))
        for path, mine in (("/voices?limit=100", voice["id"]), ("/v1/audio/voices", voice["id"]), ("/v1/states", state["id"]), ("/v1/audio/voice_consents", consent["id"]), ("/pronunciation-dicts", words["id"])):
            assert mine not in bert("GET", path).body.decode(), path
            assert mine in server.ask("GET", path).body.decode(), path
    # What anna has read, guests read themselves, on either server: states of prompts are kept every 512 tokens.
    guests = iter(GUESTS)
    for path, field in (("/v1/responses", "input"), ("/v1/chat/completions", "messages"), ("/v1/completions", "prompt")):
        for first, second in ((one, two), (two, two)):
            secret = f"{time.time()} " + f"{LINE} {PROMPT} " * 60
            body = {"model": LM, field: [{"role": "user", "content": secret}] if field == "messages" else secret}

            def cached(server, headers=None):
                usage = server.ask("POST", path, {**body, "max_tokens": 2, "max_output_tokens": 2}, headers).json()["usage"]
                return (usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}).get("cached_tokens") or 0

            cached(first)
            time.sleep(0.5)  # what is kept for its own sake is shared a little later
            again, others = cached(second), cached(second, {"Authorization": f"Bearer {next(guests)}"})
            assert again >= 512, f"{path}: anna herself had to read her text again ({again} tokens were known)"
            assert others == 0, f"{path}: a guest did not have to read {others} tokens that anna had read"
    # All is still anna's.
    assert one.ask("GET", f"/v1/responses/{name}").status == 200 and two.ask("GET", f"/voices/{voice['id']}").status == 200
    assert not differ, f"told in other words than what never was: {differ}"


def away(kind):
    """What each path says while Redis is away; built-in voices speak."""
    seen, slow = {}, {}
    own = {"POST": True, "GET": True}
    for method, path, body in (
        ("POST", "/v1/responses", {"model": LM, "input": f"{LINE} {kind}", "max_output_tokens": 2}),
        ("POST", "/v1/responses", {"input": "Hi.", "previous_response_id": NAME, "max_output_tokens": 2}),
        ("GET", f"/v1/responses/{NAME}", None), ("DELETE", f"/v1/responses/{NAME}", None),
        ("GET", "/v1/states", None), ("POST", "/v1/states", {"text": PROMPT}), ("GET", f"/v1/states/{STATE}", None),
        ("GET", f"/v1/states/{STATE}/content", None), ("POST", f"/v1/states/{STATE}/fork", {}), ("DELETE", f"/v1/states/{STATE}", None),
        ("POST", "/v1/completions", {"model": LM, "state": STATE, "prompt": "x", "max_tokens": 1}),
        ("GET", "/voices", None), ("GET", f"/voices/{VOICES}", None), ("PATCH", f"/voices/{VOICES}", {"name": "x"}), ("DELETE", f"/voices/{VOICES}", None),
        ("POST", "/voices/mix", {"name": "x", "voices": [{"id": VOICE}]}), ("POST", "/tts/bytes", speech("Hi.", voice={"id": VOICES})),
        ("POST", "/v1/audio/speech", {"model": "tts-1", "voice": VOICES, "input": "Hi."}), ("GET", "/v1/audio/voices", None),
        ("GET", "/v1/audio/voice_consents", None), ("GET", f"/v1/audio/voice_consents/{CONSENT_ID}", None), ("DELETE", f"/v1/audio/voice_consents/{CONSENT_ID}", None),
        ("POST", "/v1/audio/voice_consents", "form"), ("POST", "/v1/audio/voices", "form"),
        ("GET", "/pronunciation-dicts", None), ("POST", "/pronunciation-dicts", {"name": "d", "items": []}), ("GET", f"/pronunciation-dicts/{DICT}", None),
        ("PATCH", f"/pronunciation-dicts/{DICT}", {"name": "x"}), ("DELETE", f"/pronunciation-dicts/{DICT}", None),
        ("POST", "/tts/bytes", speech("Hi.", pronunciation_dict_id=DICT)), ("POST", "/tts/bytes", speech("Hi.", save=True, output_format=WAV)),
        ("GET", f"/files/{FILE}/info", None), ("GET", f"/files/{FILE}/download", None), ("GET", "/readyz", None),
    ):  # fmt: skip
        headers = None
        if body == "form":
            body, headers = form({"name": "anna", "recording": ("a.wav", CLIP), "audio_sample": ("a.wav", CLIP), "language": "en"})
        began = time.monotonic()
        answer = one.ask(method, path, body, headers, timeout=60)
        took = time.monotonic() - began
        shown = f"{method} {path}" + (" (own)" if isinstance(body, dict) and VOICES in str(body) else "")
        for long, short in ((NAME, "ID"), (STATE, "ID"), (VOICES, "ID"), (CONSENT_ID, "ID"), (DICT, "ID"), (FILE, "ID")):
            shown = shown.replace(long, short)
        if isinstance(body, dict):
            shown += " " + ",".join(k for k in body if k in ("previous_response_id", "state", "pronunciation_dict_id", "save", "name"))
        if took > 12:
            slow[shown] = round(took, 1)
        right = answer.status == 503 and answer.headers["Retry-After"]
        if not right:
            seen[shown] = f"{answer.status}" + ("" if answer.status != 503 else " without Retry-After") + f" {answer.body[:120]!r}"
    return seen, slow


def prepare():
    global NAME, STATE, VOICES, CONSENT_ID, DICT, FILE
    NAME = turn(one, f"{LINE} {time.time()}")[0]
    STATE = one.ask("POST", "/v1/states", {"text": PROMPT}).json()["id"]
    VOICES = one.ask("POST", "/voices/mix", {"name": f"own {time.time()}", "voices": [{"id": VOICE}]}).json()["id"]
    body, headers = form({"name": "anna", "recording": ("a.wav", CLIP), "language": "en"})
    CONSENT_ID = one.ask("POST", "/v1/audio/voice_consents", body, headers).json()["id"]
    DICT = one.ask("POST", "/pronunciation-dicts", {"name": "d", "items": [{"text": "kettle", "alias": "teapot"}]}).json()["id"]
    saved = one.ask("POST", "/tts/bytes", speech(LINE, save=True, output_format=WAV))
    FILE = next(v for k, v in saved.headers.items() if k.lower() == "cartesia-file-id")


def speaks(server, most):
    """Built-in voices speak, in every protocol, and soon; a chat that is not kept
    is written."""
    worst = 0
    for ask in (
        lambda: server.ask("POST", "/tts/bytes", speech("Hi.")),
        lambda: server.ask("POST", "/v1/audio/speech", {"model": "tts-1", "voice": VOICE, "input": "Hi."}),
        lambda: server.ask("POST", "/tts/sse", speech("Hi.")),
    ):
        began = time.monotonic()
        answer = ask()
        worst = max(worst, time.monotonic() - began)
        assert answer.status == 200 and len(answer.body) > 3000, answer
    began = time.monotonic()
    ws = WebSocket(server)
    ws.send(speech("Hi.", context_id="w"))
    ws.until("done")
    ws.close()
    wyoming = Wyoming(server)
    wyoming.say("describe")
    assert wyoming.read()[0] == "info"
    wyoming.say("synthesize", {"text": "Hi."})
    wyoming.until("audio-stop")
    wyoming.close()
    worst = max(worst, time.monotonic() - began)
    assert worst < most, f"a built-in voice took {worst:.1f} s"
    return worst


def back():
    """All goes on as if nothing had been."""
    for _ in range(100):
        if all(s.ask("GET", "/readyz").status == 200 for s in (one, two)):
            break
        time.sleep(0.1)
    _, _, cached, _ = turn(two, "Go on.", NAME)
    assert cached > 0, cached
    for path in (f"/v1/states/{STATE}", f"/voices/{VOICES}", f"/v1/audio/voice_consents/{CONSENT_ID}", f"/pronunciation-dicts/{DICT}", f"/files/{FILE}/info"):
        for server in (one, two):
            answer = server.ask("GET", path)
            assert answer.status == 200, (path, answer)
    name, total, _, _ = turn(one, f"{LINE} {time.time()}")
    assert turn(two, "And?", name)[2] >= total - 1


@check
def redis_stops_and_comes_back():
    prepare()
    redis.stop()
    try:
        worst = speaks(one, 3)
        # A chat needs nothing that is kept.
        began = time.monotonic()
        answer = two.ask("POST", "/v1/chat/completions", chat(LINE))
        assert answer.status == 200 and time.monotonic() - began < 3, answer
        seen, slow = away("stopped")
    finally:
        redis.start()
    back()
    assert not seen and not slow, f"not 503 with Retry-After: {json.dumps(seen, indent=1)}; slow: {slow}"
    return f"a built-in voice took {worst:.2f} s at most"


@check
def redis_hangs_and_comes_back():
    """It takes connections and says nothing: every wait is bounded, and those who
    need nothing from it do not wait at all."""
    prepare()
    redis.process.send_signal(signal.SIGSTOP)
    wrong = []
    try:
        speaks(one, 3)
        # Some who need it, and wait, must not stop those who do not.
        waits = [
            ("GET", f"/v1/responses/{NAME}", None), ("POST", "/v1/responses", {"input": "Hi.", "previous_response_id": NAME}), ("GET", f"/v1/states/{STATE}/content", None),
            ("POST", "/v1/chat/completions", chat("Hi.", state=NAME)), ("GET", "/voices", None), ("POST", "/tts/bytes", speech("Hi.", voice={"id": VOICES})),
        ]  # fmt: skip
        answers = []

        def wait(method, path, body):
            began = time.monotonic()
            try:
                answer = one.ask(method, path, body, timeout=60)
                answers.append((f"{method} {path}", answer.status, answer.headers["Retry-After"], time.monotonic() - began))
            except OSError as error:
                answers.append((f"{method} {path}", str(error), None, time.monotonic() - began))

        threads = [threading.Thread(target=wait, args=w) for w in waits * 2]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        took = []
        for probe in (
            lambda: one.ask("GET", "/healthz", timeout=30),
            lambda: one.ask("POST", "/tts/bytes", speech("Hi."), timeout=30),
        ):
            began = time.monotonic()
            try:
                assert probe().status == 200
            except TimeoutError:
                pass
            took.append(time.monotonic() - began)
        for thread in threads:
            thread.join()
        if max(took) > 2:
            wrong.append(f"while others waited for Redis, /healthz took {took[0]:.1f} s and a built-in voice {took[1]:.1f} s")
        late = [(p, round(t, 1)) for p, _, _, t in answers if t > 25]
        if late:
            wrong.append(f"waited long: {late}")
        bad = {(p, s, r) for p, s, r, _ in answers if s != 503 or not r}
        if bad:
            wrong.append(f"not 503 with Retry-After: {sorted(map(str, bad))}")
        began = time.monotonic()
        answer = two.ask("POST", "/v1/chat/completions", chat(f"{LINE} hang"), timeout=60)
        took = time.monotonic() - began
        if answer.status != 200 or took > 12:
            wrong.append(f"a chat that needs nothing kept: {answer.status} after {took:.1f} s")
    finally:
        redis.process.send_signal(signal.SIGCONT)
    back()
    assert not wrong, "; ".join(wrong)


@check
def both_end_well():
    for server in (one, two):
        said = server.said()
        assert server.process.poll() is None and "panicked" not in said, said[-2000:]
        server.settled()
        code = server.stop()
        assert code == 0, f"ended with {code}"


def end():
    for server in (one, two):
        if server.process.poll() is None:
            server.kill()
        shutil.rmtree(server.folder, ignore_errors=True)
    redis.stop()
    shutil.rmtree(redis.folder, ignore_errors=True)


run(end)
