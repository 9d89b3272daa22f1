"""Word error rate and quality of the voice and of its attention twin, as points of the lab.

    benches/lab/voice.py [--out FILE] [--short 40] [--minute 3] [--long 1] [--threads 1]

Both models (models/voice, models/voice-twin, or SILLAGE_VOICE_MODEL and SILLAGE_VOICE_TWIN) speak the same texts with
the same voice and seed: `short` texts of about 5 s, `minute` of 60 s, `long` of 600 s, all drawn from the plain
sentences of benches/voice, going back to the voice's state at the ends of sentences (`carry` false) and carrying it on
(true). Longer sound is cut after every fourth sentence (about 11 s), where the model says that it ends, so that every
length is heard alike: by two recognisers, and by DNSMOS. Every piece is one sample, of the same words for both models.

Writes JSON lines (`kind: point`) to FILE, a group at a time; what FILE already holds of the same weights and texts is
not done again. `sillage lab voice` reads it from SILLAGE_LAB_VOICE_SCORES. The binary is SILLAGE_BIN, or the release
build. Without the recognisers' packages it goes on in the voice benchmark's environment, made on first use.
"""

import argparse
import datetime
import hashlib
import json
import os
import platform
import random
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
VOICE_BENCH = REPOSITORY / "benches" / "voice"
sys.path.append(str(VOICE_BENCH))

SERIES = {"state space": REPOSITORY / "models" / "voice" / "voice.safetensors",
          "attention": REPOSITORY / "models" / "voice-twin" / "attention.safetensors"}  # fmt: skip
NAMED = {"state space": "SILLAGE_VOICE_MODEL", "attention": "SILLAGE_VOICE_TWIN"}
# Sentences of about 2.8 s that make up a text of each length.
SENTENCES = {5: 2, 60: 22, 600: 215}
SPEAKER, SEED = "nova", 17
PIECE_SENTENCES = 4


def environment():
    """Goes on in the voice benchmark's own Python environment (the one that scripts/bench makes) if this one will not do."""
    try:
        import faster_whisper, moonshine_voice, onnxruntime, soundfile  # noqa: E401, F401

        return
    except ImportError:
        pass
    needs = VOICE_BENCH / "requirements.txt"
    venv = Path(os.environ.get("SILLAGE_BENCH_CACHE", Path.home() / ".cache" / "sillage-bench")) / "venv-voice"
    python, stamp = venv / "bin" / "python", venv / "requirements.sha256"
    wanted = hashlib.sha256(needs.read_bytes()).hexdigest()
    if os.environ.get("SILLAGE_LAB_IN_VENV"):
        raise SystemExit(f"{venv} lacks the recognisers' packages: delete it and run this again")
    if not stamp.exists() or stamp.read_text(encoding="utf-8").strip() != wanted:
        print(f"setting up {venv} (the packages are large: this takes a while)", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--requirement", str(needs)], check=True, stdout=sys.stderr)
        stamp.write_text(wanted + "\n", encoding="utf-8")
    os.environ["SILLAGE_LAB_IN_VENV"] = "1"
    os.execv(str(python), [str(python), __file__, *sys.argv[1:]])


def models():
    """Where the two models lie."""
    return {name: Path(os.environ.get(NAMED[name]) or path) for name, path in SERIES.items()}


def binary():
    named = os.environ.get("SILLAGE_BIN")
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    return shlex.split(named) if named else [str(target / "release" / "sillage")]


def texts(plain, seconds, count):
    """`count` texts of about `seconds`, each a list of sentences; always the same ones, no sentence twice in a text."""
    size, found, waiting = SENTENCES[seconds], [], []
    order = random.Random(f"{SEED} {seconds}")
    while len(found) < count:
        if len(waiting) < size:
            waiting = order.sample(plain, len(plain))
        found.append(waiting[:size])
        waiting = waiting[size:]
    return found


def sentence_ends(sentences, words):
    """Seconds at which each sentence is over: halfway between its last word and the next one's first.

    `words` are the timestamps of `say`: each word exactly as it was written, in order.
    """
    text, at, owners = " ".join(sentences), 0, []
    limits, total = [], 0
    for sentence in sentences:
        total += len(sentence) + 1
        limits.append(total)
    for word in words:
        found = text.find(word["text"], at)
        if found < 0:
            raise SystemExit(f"the word '{word['text']}' of the timestamps is not in the text after character {at}")
        owners.append(next(number for number, limit in enumerate(limits) if found < limit))
        at = found + len(word["text"])
    ends = []
    for number in range(len(sentences)):
        mine = [word for word, owner in zip(words, owners, strict=True) if owner == number]
        later = [word for word, owner in zip(words, owners, strict=True) if owner > number]
        if not mine:
            raise SystemExit(f"no word of the sentence '{sentences[number]}' is in the timestamps")
        ends.append((mine[-1]["end"] + later[0]["start"]) / 2 if later else None)
    return ends


def pieces(sentences, ends, total, size=PIECE_SENTENCES):
    """(begin, end, text) of every `size` sentences, the same words whoever spoke; what is left over joins the last."""
    found, count = [], max(1, len(sentences) // size)
    for number in range(count):
        first = number * size
        last = len(sentences) if number == count - 1 else first + size
        begin = 0.0 if number == 0 else found[-1][1]
        end = total if ends[last - 1] is None else ends[last - 1]
        found.append((begin, end, " ".join(sentences[first:last])))
    return found


def spoken(model, sentences, carry, folder):
    """The pieces of one text in a model's voice, as (path, text); and the fingerprint of its weights."""
    import audio

    text = " ".join(sentences)
    name = hashlib.sha256(f"{model}\0{carry}\0{text}".encode()).hexdigest()[:16]
    wav, stamps = folder / f"{name}.wav", folder / f"{name}.json"
    line = [*binary(), "say", text, "-o", str(wav), "--timestamps", str(stamps), "--voice", SPEAKER, "--model", str(model)]
    told = subprocess.run(line + (["--carry"] if carry else []), check=False, capture_output=True, text=True)
    if told.returncode:
        raise SystemExit(f"{binary()[0]} could not speak with {model}: {told.stderr.strip()}")
    signed = subprocess.run([*binary(), "manifest", str(wav), "--json"], check=True, capture_output=True, text=True)
    sound, rate = audio.read(wav)
    total = len(sound) / rate
    parts = [(0.0, total, text)]
    if len(sentences) > SENTENCES[5]:
        ends = sentence_ends(sentences, json.loads(stamps.read_text(encoding="utf-8")))
        parts = pieces(sentences, ends, total)
    found = []
    for number, (begin, end, part) in enumerate(parts):
        # Written anew even where it is whole: without the manifest the same sound is the same file, heard once.
        path = folder / f"{name}-{number:03d}.wav"
        audio.write(path, sound[int(begin * rate) : int(end * rate)], rate)
        found.append((path, part))
    return found, total, fingerprint(json.loads(signed.stdout))


def fingerprint(manifest):
    """The weights' fingerprint out of a manifest, wherever in it it stands."""
    if isinstance(manifest, dict):
        if isinstance(manifest.get("model"), str):
            return manifest["model"]
        found = [fingerprint(value) for value in manifest.values()]
        return next((value for value in found if value), None)
    return None


def point(metric, series, at, unit, better, samples, config, seconds):
    """One line as `sillage lab` reads it."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return {"kind": "point", "measure": "voice", "metric": metric, "series": series, "at": at, "unit": unit, "better": better,
            "outcome": "measured", "samples": samples, "config": config, "machine": machine(),
            "time": f"{now:%Y-%m-%dT%H:%M:%SZ}", "seconds": round(seconds, 1)}  # fmt: skip


def machine():
    return f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"


def scored(pairs, series, at, config, seconds):
    """Points of one group of pieces: WER by each recogniser, and DNSMOS."""
    import quality
    import recognise

    found = []
    for ear in recognise.RECOGNISERS:
        began = time.monotonic()
        rows = recognise.word_errors([(path, [text]) for path, text in pairs], ear)["rows"]
        wrong, words = [row["errors"] for row in rows], [row["words"] for row in rows]
        more = {**config, "statistic": "sum of errors over sum of words; samples weigh as their words", "errors": wrong, "words": words}
        rates = [e / max(1, w) for e, w in zip(wrong, words, strict=True)]
        found.append(point("word error rate", series, {**at, "recogniser": ear}, "errors/word", "lower", rates, more,
                           seconds + time.monotonic() - began))  # fmt: skip
    began = time.monotonic()
    rows = [quality.measured(path) for path, _ in pairs]
    more = {**config, "statistic": "mean", "meter": "DNSMOS P.835 overall"}
    more |= {key: [round(row[key], 4) for row in rows] for key in ("signal", "background", "p808")}
    found.append(point("quality", series, at, "DNSMOS", "higher", [row["overall"] for row in rows], more,
                       seconds + time.monotonic() - began))  # fmt: skip
    return found


def key(line):
    """What makes two points the same one: place, weights and texts."""
    config = line["config"]
    return json.dumps([line["metric"], line["series"], line["at"], config.get("fingerprint"), config.get("texts")], sort_keys=True)


def kept(path):
    """Points of an earlier run, by key; a last line that was cut off is left out."""
    found = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                read = json.loads(line)
            except json.JSONDecodeError:
                continue
            if read.get("kind") == "point":
                found[key(read)] = read
    return found


def group(series, model, seconds, carry, chosen, out, done):
    """Speaks and scores one group, and appends its points."""
    import material

    began = time.monotonic()
    name = hashlib.sha256(json.dumps(chosen).encode()).hexdigest()[:16]
    weights = hashlib.sha256(model.read_bytes()).hexdigest()
    config = {"model": model.name, "sha256": weights, "voice": SPEAKER, "say_seed": 0, "texts": name, "text_seed": SEED,
              "count": len(chosen), "piece_sentences": PIECE_SENTENCES, "carry": carry,
              "made_by": "benches/lab/voice.py", "recognisers": "moonshine-voice 0.0.65 tiny-en; Whisper base, int8, beam 5"}  # fmt: skip
    at = {"seconds": seconds, "carry": carry}
    if any(p["series"] == series and all(p["at"].get(k) == v for k, v in at.items()) and p["metric"] == "quality"
           and p["config"].get("sha256") == weights and p["config"].get("texts") == name for p in done.values()):  # fmt: skip
        material.say(f"{series}, {seconds} s, carry {carry}: done before")
        return
    with tempfile.TemporaryDirectory(prefix="sillage-lab-voice-") as folder:
        pairs, sound = [], 0.0
        for sentences in chosen:
            made, total, config["fingerprint"] = spoken(model, sentences, carry, Path(folder))
            pairs, sound = pairs + made, sound + total
        config["seconds_spoken"] = round(sound, 3)
        found = scored(pairs, series, at, config, time.monotonic() - began)
    with out.open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(line) + "\n" for line in found))
    rates = [sum(p["config"]["errors"]) / sum(p["config"]["words"]) for p in found[:-1]]
    mean = sum(found[-1]["samples"]) / len(found[-1]["samples"])
    material.say(f"{series}, {seconds} s, carry {carry}: {len(pairs)} pieces of {sound:.0f} s, WER "
                 + ", ".join(f"{rate:.2%}" for rate in rates) + f", DNSMOS {mean:.3f}")  # fmt: skip


def arguments():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", type=Path, default=Path("voice-scores.jsonl"), help="JSON lines; appended to")
    options.add_argument("--short", type=int, default=40, help="texts of 5 s")
    options.add_argument("--minute", type=int, default=3, help="texts of 60 s")
    options.add_argument("--long", type=int, default=1, help="texts of 600 s")
    options.add_argument("--carry", choices=["both", "yes", "no"], default="both")
    options.add_argument("--threads", default="1", help="threads of the recognisers")
    return options.parse_args()


def main():
    given = arguments()
    environment()
    os.environ["SILLAGE_BENCH_THREADS"] = given.threads
    import sentences

    for name, path in models().items():
        if not path.exists():
            raise SystemExit(f"no {name} model at {path}: give its path in {NAMED[name]}")
    plain = [sentence.text for sentence in sentences.load() if sentence.kind == "plain"]
    done = kept(given.out)
    # The signing key of the manifests is made up for this run, not the user's.
    with tempfile.TemporaryDirectory(prefix="sillage-lab-home-") as home:
        os.environ["SILLAGE_HOME"] = home
        for seconds, count in ((5, given.short), (60, given.minute), (600, given.long)):
            for carry in {"both": (False, True), "yes": (True,), "no": (False,)}[given.carry]:
                if count:
                    chosen = texts(plain, seconds, count)
                    for series, model in models().items():
                        group(series, model, seconds, carry, chosen, given.out, done)


if __name__ == "__main__":
    main()
