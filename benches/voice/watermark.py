"""How well the watermark is found, what it says, and what it does to the sound.

    python watermark.py [--clips N] [--edits NAME ..] [--dry]

Sillage speaks (`sillage say`, several voices, a payload of its own for each clip);
every clip is edited whole, then cut into pieces that are heard alone. A false
alarm is human speech that is called marked. Two thresholds are used: the one that
the human speech itself gives at one false alarm in a thousand pieces of the same
length, and the program's own verdict. Both programs in `examples/` that this
needs are built with cargo, unless they are named.
"""

import argparse
import csv
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import material
import numpy as np
import quality
import sentences
from edits import EDITS, RATE, read
from run import keep
from scipy import signal

KEY = "a key for measuring"
VOICES = ("heart", "cathy", "nova", "michael", "fenrir", "emma", "george", "lewis")
CORPORA = ("librispeech", "librispeech-many", "cathy", "ljspeech")
LENGTHS = (1, 3, 10)
SHORT = (0.25, 0.5)
FALSE_ALARMS = 1e-3
# At most so many pieces of a length are heard after each edit, spread over all clips.
MOST = {0.25: 1000, 0.5: 1000, 1: 500, 3: 150, 10: 40}
TEXTS_A_CLIP = 4
BITS = 32


def built(package, example):
    """An example program of a crate, built if cargo finds it out of date."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", material.REPOSITORY / "target"))
    line = ["cargo", "build", "--release", "--quiet", "-p", package, "--example", example]
    subprocess.run(line, cwd=material.REPOSITORY, check=True, stdout=sys.stderr)
    return str(target / "release" / "examples" / example)


class Detector:
    """The example `watermark` of sillage-audio."""

    def __init__(self, program):
        self.program = program

    def clips(self, sound, seconds):
        """Score, marked, payload, confidence, by piece of so many seconds, each heard alone."""
        line = [self.program, "clips", str(seconds), KEY]
        given = np.asarray(sound, "<f4").tobytes()
        found = subprocess.run(line, input=given, stdout=subprocess.PIPE, check=True).stdout.decode()
        return np.array([[float(field) for field in row.split()] for row in found.splitlines()]).reshape(-1, 4)


def texts(clips):
    """So many texts of a few sentences each."""
    lines = [s.text for s in sentences.load() if s.kind == "plain"]
    order = np.random.default_rng(3).permutation(len(lines))
    pick = [[lines[order[(TEXTS_A_CLIP * i + j) % len(lines)]] for j in range(TEXTS_A_CLIP)] for i in range(clips)]
    return [" ".join(each) for each in pick]


def payloads(clips):
    return [int(value) for value in np.random.default_rng(4).integers(0, 1 << BITS, clips)]


def spoken(clips):
    """[(sound, payload)] as `sillage say` writes them to files."""
    program = shlex.split(os.environ.get("SILLAGE_BIN", "sillage"))
    made = []
    with tempfile.TemporaryDirectory() as folder:
        key, wav = Path(folder) / "key", Path(folder) / "clip.wav"
        key.write_text(KEY, encoding="utf-8")
        for at, (text, payload) in enumerate(zip(texts(clips), payloads(clips), strict=True)):
            line = [*program, "say", text, "-o", str(wav), "--voice", VOICES[at % len(VOICES)], "--seed", str(at)]
            line += ["--payload", f"{payload:08x}", "--key", str(key)]
            subprocess.run(line, check=True, capture_output=True, env={**os.environ, "SILLAGE_HOME": folder})
            made.append((read(wav), payload))
    material.say(f"{clips} clips, {sum(len(sound) for sound, _ in made) / RATE:.0f} s")
    return made


def human(seconds):
    """{corpus: sound} of about so many seconds each, clips in random order."""
    with open(material.VOICE_DATA / "MANIFEST.tsv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    np.random.default_rng(0).shuffle(rows)
    found = {}
    for corpus in CORPORA:
        left, sounds = seconds, []
        for row in (row for row in rows if row["path"].split("/")[0] == corpus):
            if left <= 0:
                break
            sounds.append(read(material.VOICE_DATA / row["path"])[: max(1, int(left * RATE))])
            left -= len(sounds[-1]) / RATE
        found[corpus] = np.concatenate(sounds) if sounds else np.zeros(0, np.float32)
    return found


def thresholds(detector, speech):
    """By length: the score that one human piece in a thousand exceeds, and the program's own false alarms."""
    figures, raw = {}, {}
    for seconds in (*SHORT, *LENGTHS):
        by_corpus = {name: detector.clips(sound, seconds) for name, sound in speech.items()}
        rows = np.concatenate(list(by_corpus.values()))
        scores = np.sort(rows[:, 0])[::-1]
        figures[seconds] = {
            "pieces": len(rows),
            "threshold": float(np.quantile(scores, 1 - FALSE_ALARMS, method="higher")),
            "median": float(np.median(scores)),
            "largest": float(scores[0]),
            "called marked": int(rows[:, 1].sum()),
            "called marked, by corpus": {name: f"{int(each[:, 1].sum())} of {len(each)}" for name, each in by_corpus.items()},
        }
        raw[f"human, {seconds} s"] = [{"score": float(score)} for score in scores[:100]]
        material.say(f"human speech, {seconds} s: {figures[seconds]}")
    return figures, raw


def cut(edited, seconds):
    """Pieces of all clips, one after the other, and the payload of each."""
    size = int(seconds * RATE)
    pieces = [(sound[at : at + size], payload) for sound, payload in edited for at in range(0, len(sound) - size + 1, size)]
    chosen = np.unique(np.linspace(0, len(pieces) - 1, min(MOST[seconds], len(pieces))).astype(int))
    return np.concatenate([pieces[at][0] for at in chosen]), np.array([pieces[at][1] for at in chosen], dtype=np.uint64)


def right_bits(read_payloads, true_payloads):
    """The share of right bits, by piece."""
    wrong = read_payloads.astype(np.uint64) ^ true_payloads
    return 1 - np.array([int(value).bit_count() for value in wrong]) / BITS


def found(detector, edited, seconds, threshold):
    """What is found in pieces of one length."""
    sound, owners = cut(edited, seconds)
    rows = detector.clips(sound, seconds)
    marked = rows[:, 1] > 0
    # A piece that is not called marked has no payload: a coin for each bit.
    bits = np.where(marked, right_bits(rows[:, 2], owners), 0.5)
    trusted = marked & (rows[:, 3] > 0.9)
    return {
        "pieces": len(rows),
        "found": float(np.mean(rows[:, 0] > threshold)),
        "called marked": float(np.mean(marked)),
        "median score": float(np.median(rows[:, 0])),
        "bits right": float(np.mean(bits)),
        "payload right and trusted": float(np.mean(trusted & (bits == 1))),
        "payload wrong but trusted": float(np.mean(trusted & (bits < 1))),
    }, rows[:, 0]


def edited_table(detector, made, speech, names, limits):
    """Every edit at every length, and the false alarms of human speech after the same edit."""
    figures, raw = {}, {}
    chunk = 30 * RATE
    chunks = [speech[at : at + chunk] for at in range(0, len(speech), chunk)]
    for name in names:
        edited = [(np.asarray(EDITS[name](sound), np.float32), payload) for sound, payload in made]
        row = {}
        for seconds in (*(SHORT if name == "none" else ()), *LENGTHS):
            row[f"{seconds} s"], scores = found(detector, edited, seconds, limits[seconds]["threshold"])
            raw[f"{name}, {seconds} s"] = [{"scores": [round(float(score), 2) for score in scores]}]
        if chunks:
            plain = np.concatenate([np.asarray(EDITS[name](part), np.float32) for part in chunks])
            rows = detector.clips(plain, 1)
            row["human, 1 s"] = {
                "pieces": len(rows),
                "over threshold": float(np.mean(rows[:, 0] > limits[1]["threshold"])),
                "called marked": float(np.mean(rows[:, 1])),
            }
        figures[name] = row
        shown = (f"{length} {each['found']:.3f}/{each['called marked']:.3f} bits {each['bits right']:.3f}" for length, each in row.items() if "found" in each)
        material.say(f"{name:28} " + "  ".join(shown) + f"  human {row.get('human, 1 s', {}).get('called marked')}")
    return figures, raw


def detection(detector, given):
    """Thresholds, then every edit."""
    speech = human(given.human)
    limits, raw = thresholds(detector, speech)
    few = np.concatenate([sound[: int(given.edited * RATE)] for sound in speech.values()])
    table, more = edited_table(detector, spoken(given.clips), few, given.edits, limits)
    figures = {"rate of false alarms": FALSE_ALARMS, "clips": given.clips, "voices": VOICES, "human": limits, "edits": table}
    return figures, {**raw, **more}


def decibels(sound):
    spectrum = np.abs(signal.stft(sound, RATE, nperseg=1024, noverlap=768)[2])
    return 20 * np.log10(spectrum + 1e-6)


def distances(plain, marked):
    """Between one clip without and with the mark."""
    a, b = decibels(plain), decibels(marked)
    loud = a.max(axis=0) > a.max() - 50
    slow = [np.clip(signal.resample_poly(each, 2, 3), -1, 1).astype(np.float32) for each in (plain, marked)]
    before, after = (quality.dnsmos(each) for each in slow)
    return {
        "snr_db": float(10 * np.log10(np.sum(plain**2) / np.sum((marked - plain) ** 2))),
        "log_spectral_db": float(np.sqrt(np.mean((a - b)[:, loud] ** 2, axis=0)).mean()),
        "level_db": float(10 * np.log10(np.sum(marked**2) / np.sum(plain**2))),
        **{f"dnsmos_{name}": after[name] - before[name] for name in after},
        "dnsmos_without": before["overall"],
    }


def audibility(program, clips):
    """The same texts, voices and seeds with and without the mark, made through the library."""
    checkpoint = material.REPOSITORY / "models" / "voice" / "voice.safetensors"
    rows, costs = [], []
    for voice_at, voice in enumerate(VOICES):
        lines = "\n".join(texts(clips)[voice_at :: len(VOICES)])
        with tempfile.TemporaryDirectory() as folder:
            line = [program, str(checkpoint), voice, folder]
            done = subprocess.run(line, input=lines.encode(), stdout=subprocess.PIPE, check=True)
            costs += [[float(field) for field in row.split()] for row in done.stdout.decode().splitlines()]
            for path in sorted(Path(folder).glob("*-plain.f32")):
                pair = [np.fromfile(p, "<f4") for p in (path, path.with_name(path.name.replace("plain", "marked")))]
                rows.append({"voice": voice, **distances(*pair)})
    figures = {"pairs": len(rows)}
    for key in rows[0].keys() - {"voice"}:
        values = np.array([row[key] for row in rows])
        figures[key] = {"mean": float(values.mean()), "se": float(values.std() / np.sqrt(len(values))), "least": float(values.min()), "most": float(values.max())}
    plain, marked = np.array(costs).T
    figures["processor time, ms"] = {"without": float(plain.sum()), "with": float(marked.sum()), "median ratio": float(np.median(marked / plain))}
    material.say(f"with and without the mark: {figures}")
    return figures, rows


def table(path):
    """The results in a file as Markdown."""
    figures = json.loads(path.read_text(encoding="utf-8"))["watermark"]
    lengths = [f"{seconds} s" for seconds in LENGTHS]
    print("| edit | " + " | ".join(f"found, {length}" for length in lengths), end=" | ")
    print(" | ".join(f"bits right, {length}" for length in lengths) + " | false alarms, 1 s |")
    print("|---|" + "---:|" * (2 * len(lengths) + 1))
    for name, row in figures["edits"].items():
        rates = [f"{100 * row[at]['found']:.1f} / {100 * row[at]['called marked']:.1f}" for at in lengths]
        bits = [f"{100 * row[at]['bits right']:.1f}" for at in lengths]
        plain = row["human, 1 s"]
        false = f"{round(plain['called marked'] * plain['pieces'])} of {plain['pieces']}"
        print(f"| {name} | " + " | ".join((*rates, *bits, false)) + " |")


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--clips", type=int, default=104, help="clips that Sillage speaks (0: no detection)")
    options.add_argument("--human", type=float, default=1250, help="seconds of each corpus of human speech for the thresholds")
    options.add_argument("--edited", type=float, default=100, help="seconds of each corpus that go through every edit")
    options.add_argument("--pairs", type=int, default=64, help="clips with and without the mark (0: none)")
    options.add_argument("--edits", nargs="+", default=list(EDITS), choices=list(EDITS), metavar="NAME")
    options.add_argument("--detector", help="the example `watermark` of sillage-audio, if it is built already")
    options.add_argument("--pairing", help="the example `with_and_without` of sillage-voice, if it is built already")
    options.add_argument("--table", type=Path, help="print the results in this file as Markdown, and measure nothing")
    options.add_argument("--dry", action="store_true", help="write no results")
    given = options.parse_args()
    if given.table:
        return table(given.table)
    if given.clips:
        detector = Detector(given.detector or built("sillage-audio", "watermark"))
        figures, raw = detection(detector, given)
        if not given.dry:
            keep("watermark", {"watermark": figures}, raw)
    if given.pairs:
        program = given.pairing or built("sillage-voice", "with_and_without")
        figures, rows = audibility(program, given.pairs)
        if not given.dry:
            keep("watermark-audibility", {"audibility": figures}, {"pair": rows})
    return None


if __name__ == "__main__":
    main()
