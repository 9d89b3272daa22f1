"""kill -9 at random moments under load, again and again: what was acknowledged
is there afterwards and answers, the server is ready within READY seconds, and
no file that was cut stops it or is taken for whole.

    clients/killing.py [N]     # N kills: 5 in `quick`, 100 otherwise"""

import random
import threading

import bombs
from bare import *
from common import *

COUNT = 5 if QUICK else 100
if len(sys.argv) > 1 and sys.argv[1].isdigit():
    COUNT = int(sys.argv.pop(1))
READY = 2.0
RANDOM = random.Random(int.from_bytes(os.urandom(4), "big"))
CLIP = bombs.wav(b"".join(int(3000 * math.sin(n / 20)).to_bytes(2, "little", signed=True) for n in range(24000)))

server = Server("--rehearse", config='disk_budget = "1GiB"\nstate_budget = "32MiB"\n[limits]\nvoices = 100000\n')


class Kept:
    """What the server said that it has kept."""

    def __init__(self):
        self.lock = threading.Lock()
        self.responses = {}  # id: text, tokens of all that was said
        self.states, self.voices, self.consents, self.dictionaries, self.files = {}, {}, {}, {}, {}
        self.deleted = []  # paths

    def note(self, where, name, value):
        with self.lock:
            getattr(self, where)[name] = value

    def some(self, where, count):
        with self.lock:
            found = list(getattr(self, where).items())
        # The newest, which are the likeliest to be missing, and some of all.
        return found[-count:] + RANDOM.sample(found, min(count, len(found)))


kept = Kept()


def said(response):
    return response["output"][0]["content"][0]["text"]


def chats(ask):
    """A conversation of a few turns, each noted when it was answered."""
    before, turn = None, 0
    for turn in range(RANDOM.randrange(1, 5)):
        body = {"model": LM, "input": f"{LINE} {turn}", "max_output_tokens": RANDOM.randrange(2, 24), "previous_response_id": before}
        stream = RANDOM.random() < 0.4
        answer = ask("POST", "/v1/responses", {**body, "stream": stream})
        if stream:
            events = [json.loads(l[6:]) for l in answer.body.decode().splitlines() if l.startswith("data: ")]
            last = events[-1]
            if last["type"] not in ("response.completed", "response.incomplete"):
                return
            made = last["response"]
        else:
            made = answer.json()
        kept.note("responses", made["id"], (said(made), made["usage"]["total_tokens"], before))
        before = made["id"]
    if RANDOM.random() < 0.5:
        state = ask("POST", "/v1/states", {"from": before, "name": "saved"}).json()
        kept.note("states", state["id"], (state["tokens"], state["messages"]))
    if RANDOM.random() < 0.1:
        with kept.lock:
            gone = kept.responses.pop(before, None)
        if gone and ask("DELETE", f"/v1/responses/{before}").status == 200:
            kept.deleted.append(f"/v1/responses/{before}")


def states(ask):
    text = f"{PROMPT} {RANDOM.random()}"
    made = ask("POST", "/v1/states", {"text": text}).json()
    kept.note("states", made["id"], (made["tokens"], made["messages"]))
    copy = ask("POST", f"/v1/states/{made['id']}/fork", {"name": "fork"}).json()
    kept.note("states", copy["id"], (copy["tokens"], copy["messages"]))


def voices(ask):
    name = f"mix {RANDOM.random()}"
    made = ask("POST", "/voices/mix", {"name": name, "voices": [{"id": VOICE, "weight": RANDOM.random()}, {"id": "george", "weight": 0.3}]}).json()
    kept.note("voices", made["id"], name)
    body, headers = form({"name": f"clone {RANDOM.random()}", "clip": ("a.wav", CLIP), "language": "en"})
    clone = ask("POST", "/voices/clone", body, headers).json()
    kept.note("voices", clone["id"], clone["name"])
    changed = ask("PATCH", f"/voices/{clone['id']}", {"name": "renamed", "description": "later"}).json()
    kept.note("voices", clone["id"], changed["name"])
    if RANDOM.random() < 0.3:
        # Before it is asked: killed between the deed and the answer, it is gone all the same.
        with kept.lock:
            del kept.voices[clone["id"]]
        if ask("DELETE", f"/voices/{clone['id']}").status == 204:
            kept.deleted.append(f"/voices/{clone['id']}")


def consents(ask):
    body, headers = form({"name": f"anna {RANDOM.random()}", "recording": ("a.wav", CLIP), "language": "en-US"})
    made = ask("POST", "/v1/audio/voice_consents", body, headers).json()
    kept.note("consents", made["id"], made["name"])
    time.sleep(0.02)


def dictionaries(ask):
    items = [{"text": f"word{n}", "alias": "tea"} for n in range(RANDOM.randrange(1, 300))]
    made = ask("POST", "/pronunciation-dicts", {"name": "d", "items": items}).json()
    kept.note("dictionaries", made["id"], len(items))
    more = items + [{"text": "more", "alias": "less"}]
    changed = ask("PATCH", f"/pronunciation-dicts/{made['id']}", {"items": more}).json()
    kept.note("dictionaries", made["id"], len(changed["items"]))
    # There may be 1,000; and what is made fast would be all there is.
    with kept.lock:
        old = next(iter(kept.dictionaries)) if len(kept.dictionaries) > 300 else None
        kept.dictionaries.pop(old, None)
    if old and ask("DELETE", f"/pronunciation-dicts/{old}").status == 204:
        kept.deleted.append(f"/pronunciation-dicts/{old}")
    time.sleep(0.02)


def sounds(ask):
    """Speech that is kept, as a file. Of one key the newest 1,000 are."""
    if len(kept.files) > 800:
        return time.sleep(0.05)
    answer = ask("POST", "/tts/bytes", speech(LINE, save=True, output_format=WAV))
    name = next((v for k, v in answer.headers.items() if k.lower() == "cartesia-file-id"), None)
    if name:
        kept.note("files", name, answer.body)


class Worker(threading.Thread):
    """Does one thing until the server is gone."""

    def __init__(self, work):
        super().__init__(daemon=True)
        self.work, self.wrong = work, []

    def ask(self, method, path, body=None, headers=None):
        answer = server.ask(method, path, body, headers, timeout=30)
        if answer.status >= 400:
            # Whoever does not get a whole answer has none.
            raise AssertionError(f"{method} {path}: {answer}")
        return answer

    def run(self):
        while True:
            try:
                self.work(self.ask)
            except (OSError, http.client.HTTPException):
                return
            except (ValueError, IndexError, KeyError, StopIteration):
                return  # a body that was cut
            except AssertionError as error:
                self.wrong.append(str(error))
                return


def verify(everything):
    """What was acknowledged is there, and what was deleted is not."""
    count = 10**9 if everything else 12
    ask, seen = server.ask, 0
    for name, (text, tokens, before) in kept.some("responses", count):
        answer = ask("GET", f"/v1/responses/{name}")
        assert answer.status == 200 and said(answer.json()) == text, f"{name}: {answer}, not {text!r}"
        assert answer.json()["previous_response_id"] == before
        seen += 1
    # The disk has room for some 1,200 states: older ones are read anew when they are wanted.
    with kept.lock:
        newest = list(kept.responses.items())[-6 if not everything else -100 :]
        oldest = list(kept.responses)[:5]
    for name in oldest:
        answer = ask("POST", "/v1/responses", {"input": "And then?", "previous_response_id": name, "max_output_tokens": 2, "store": False})
        assert answer.status == 200, f"{name} cannot be gone on from: {answer}"
    for name, (text, tokens, _) in newest:
        answer = ask("POST", "/v1/responses", {"input": "And then?", "previous_response_id": name, "max_output_tokens": 2, "store": False})
        assert answer.status == 200, f"{name} cannot be gone on from: {answer}"
        cached = answer.json()["usage"]["input_tokens_details"]["cached_tokens"]
        # The last token that was written has not been read yet.
        assert cached >= tokens - 1, f"{name}: {cached} of {tokens} tokens had not to be read again"
    for name, (tokens, messages) in kept.some("states", count):
        answer = ask("GET", f"/v1/states/{name}")
        assert answer.status == 200 and answer.json()["tokens"] == tokens and answer.json()["messages"] == messages, f"{name}: {answer}"
        seen += 1
    for name, (tokens, _) in kept.some("states", 3 if not everything else 30):
        answer = ask("GET", f"/v1/states/{name}/content")
        assert answer.status == 200 and len(answer.body) > 100_000, f"{name}: {answer}"
        answer = ask("POST", "/v1/completions", {"model": LM, "state": name, "prompt": " then", "max_tokens": 1})
        assert answer.status == 200, f"{name} cannot be gone on from: {answer}"
    listed = {v["id"]: v["name"] for v in ask("GET", "/v1/audio/voices").json()["voices"]}
    missing = {i: n for i, n in kept.voices.items() if listed.get(i) is None}
    assert not missing, f"{len(missing)} voices of {len(kept.voices)} are missing: {list(missing.items())[:3]}"
    for name, title in kept.some("voices", 2):
        answer = ask("POST", "/tts/bytes", speech("Hi.", voice={"id": name}))
        assert answer.status == 200 and len(answer.body) > 5000, f"{name}: {answer}"
        assert listed[name] in (title, "renamed"), (listed[name], title)
    listed = {c["id"]: c["name"] for c in ask("GET", "/v1/audio/voice_consents").json()["data"]}
    assert kept.consents.items() <= listed.items(), f"{len(kept.consents.items() - listed.items())} consents are missing"
    for name, items in kept.some("dictionaries", count):
        answer = ask("GET", f"/pronunciation-dicts/{name}")
        assert answer.status == 200 and len(answer.json()["items"]) >= items, f"{name}: {answer}"
        seen += 1
    for name, data in kept.some("files", 3):
        answer = ask("GET", f"/files/{name}/download")
        assert answer.status == 200 and answer.body == data, f"{name}: {answer}"
    for path in kept.deleted[-20:]:
        assert ask("GET", path).status == 404, f"{path} was deleted and is back"
    log = server.state / "consent.log"
    if log.exists():
        # It verifies the log of its own folder, which the server's is as well.
        home = {**os.environ, "SILLAGE_HOME": str(server.state)}
        done = subprocess.run([server.program, "log", "verify"], capture_output=True, text=True, env=home)
        assert done.returncode == 0, f"consent.log: {done.stdout}{done.stderr}"
        assert str(log) in done.stdout, done.stdout
        text = log.read_text()
        unlogged = [c for c in kept.consents if c not in text]
        assert not unlogged, f"not in the log: {unlogged[:3]}"
    return seen


def verify_leftovers():
    """Files that a kill cut short are not among those that count."""
    cut = [p for p in server.state.rglob("*") if p.is_file() and (p.name.startswith(".") or ".tmp" in p.name or p.name.endswith("~"))]
    return [p for p in cut if p.name != ".lock"]


@check
def what_was_acknowledged_survives():
    ready, wrong, checked, leftovers, loads = [server.start()], [], 0, 0, []
    for number in range(COUNT):
        workers = [Worker(w) for w in (chats, chats, chats, states, voices, consents, dictionaries, sounds)]
        for worker in workers:
            worker.start()
        time.sleep(RANDOM.uniform(0.02, 1.2))
        server.kill()
        for worker in workers:
            worker.join(40)
            wrong += worker.wrong
        leftovers = max(leftovers, len(verify_leftovers()))
        ready.append(server.start())
        loads.append(os.getloadavg()[0])
        checked += verify(number == COUNT - 1 or number % 20 == 19)
    assert not wrong, f"{len(wrong)}: {wrong[:5]}"
    ordered = sorted(ready)
    report = f"{COUNT} kills; {len(kept.responses)} answers, {len(kept.states)} states, {len(kept.voices)} voices, {len(kept.consents)} consents, "
    report += f"{len(kept.dictionaries)} dictionaries, {len(kept.files)} sounds, {len(kept.deleted)} deletions; "
    report += f"ready after {ordered[len(ordered) // 2]:.2f} s (median), {ordered[-1]:.2f} s (most), load {min(loads):.1f} to {max(loads):.1f}; at most {leftovers} unfinished files"
    assert ordered[-1] < READY, report
    return report


@check
def nothing_is_left_lying_about():
    """Unfinished files of killed writers do not pile up for ever."""
    left = verify_leftovers()
    kinds = {}
    for path in left:
        place = str(path.parent.relative_to(server.state))
        kinds[place] = kinds.get(place, 0) + 1
    assert len(left) <= 8, f"{len(left)} unfinished files in the state folder after {COUNT} kills, by folder {kinds}, such as {left[0].name}"


@check
def half_a_file_stops_nothing():
    """Files cut as a disk that lies would leave them: the server starts, says what
    is damaged, and serves the rest."""
    server.kill()
    damaged = {}
    for kind in ("responses", "states", "voices", "consents", "dictionaries"):
        files = sorted((server.state / "records" / kind).iterdir(), key=lambda p: p.stat().st_size)
        files = [f for f in files if not f.name.startswith(".")]
        for file, size in zip(RANDOM.sample(files, min(3, len(files))), (0, 0.5, None)):
            data = file.read_bytes()
            file.write_bytes(data[: int(len(data) * size)] if size is not None else bytes(len(data)))
            damaged.setdefault(kind, []).append(file.name)
    snapshots = [p for p in (server.state / "states").rglob("*.state")]
    for file in RANDOM.sample(snapshots, min(10, len(snapshots))):
        file.write_bytes(file.read_bytes()[: RANDOM.randrange(1000)])
    took = server.start()
    statuses = {}
    for kind, path in (("responses", "/v1/responses/"), ("states", "/v1/states/"), ("voices", "/voices/"), ("consents", "/v1/audio/voice_consents/"), ("dictionaries", "/pronunciation-dicts/")):
        for name in damaged[kind]:
            statuses.setdefault(kind, []).append(server.ask("GET", path + name).status)
    # One damaged record must not hide the others.
    for path in ("/v1/audio/voices", "/voices", "/v1/states", "/v1/audio/voice_consents", "/pronunciation-dicts?limit=100"):
        answer = server.ask("GET", path)
        statuses[path] = answer.status
    names = [n for n in kept.responses if n not in damaged["responses"]][-10:]
    for name in names:
        answer = server.ask("POST", "/v1/responses", {"input": "And?", "previous_response_id": name, "max_output_tokens": 2, "store": False})
        assert answer.status == 200, f"{name}: {answer}"
    hidden = {p: s for p, s in statuses.items() if p.startswith("/") and s != 200}
    assert not hidden, f"a damaged record hides the rest: {hidden}; {statuses}"
    return f"ready after {took:.2f} s; {statuses}"


def end():
    if server.process and server.process.poll() is None:
        server.kill()
    shutil.rmtree(server.folder, ignore_errors=True)


run(end)
