"""Do the times that Sillage tells match its sound?

    python timestamps.py [--limit N] [--voices NAME...] [--aligner classifier2.pt]

`sillage say --timestamps` speaks the plain sentences, each in the next of the voices. Two judges:

- Whisper base, which knows nothing of Sillage, aligns every sound with what it heard (cross-attention and dynamic
  time warping). Sentences whose words it heard exactly are compared, word by word; its own lag is told beside the
  error. It shares silence out between words as it likes, so only boundaries between words that follow each other at
  once count.
- The recipe's aligner (--aligner, a file that `recipes/voice/run prepare` leaves in stages/) finds the phonemes in
  the sound by steps of 25 ms. On the teacher's speech, whose durations are exact, its median error is below one
  step. It needs a Python with torch (`$SILLAGE_BENCH_TORCH`).
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import material
import numpy as np
import recognise
import sentences

VOICES = ("heart", "cathy", "michael", "emma", "george", "bella", "puck", "linda")
AT_ONCE = 0.05  # seconds between words that follow each other without a pause


def told(text, voice, folder):
    """(sound file, words with their times) of one sentence."""
    wav, words = folder / "said.wav", folder / "said.json"
    program = shlex.split(os.environ.get("SILLAGE_BIN", "sillage"))
    subprocess.run([*program, "say", text, "--voice", voice, "-o", str(wav), "--timestamps", str(words)],
                   check=True, stderr=subprocess.DEVNULL)  # fmt: skip
    return wav, json.loads(words.read_text(encoding="utf-8"))


def heard(model, wav):
    """Whisper's words with their times, from the first sample of the sound."""
    parts, _ = model.transcribe(recognise.sound_for_meters(wav), language="en", beam_size=5, temperature=0.0,
                                condition_on_previous_text=False, word_timestamps=True)  # fmt: skip
    return [(w.word, w.start - recognise.EDGE, w.end - recognise.EDGE) for part in parts for w in part.words]


def pairs(words, others):
    """Matching words of both, or none where they are not the same."""
    plain = lambda word: re.sub(r"[^a-z0-9]", "", word.lower())
    if [plain(w["text"]) for w in words] != [plain(o[0]) for o in others]:
        return []
    return list(zip(words, others, strict=True))


def compared(words, others):
    """(beginnings, ends): differences in seconds, Whisper's less Sillage's."""
    found = pairs(words, others)
    begins, ends = [], []
    for (word, other), (after, other_after) in zip(found, found[1:]):
        if after["start"] - word["end"] <= AT_ONCE:
            ends.append(other[2] - word["end"])
            begins.append(other_after[1] - after["start"])
    return begins, ends


def figures(differences):
    errors = np.array(differences)
    around = np.abs(errors - np.median(errors))
    return {"count": len(errors), "median_error_ms": float(np.median(np.abs(errors)) * 1e3),
            "p90_error_ms": float(np.quantile(np.abs(errors), 0.9) * 1e3), "lag_ms": float(np.median(errors) * 1e3),
            "median_error_without_lag_ms": float(np.median(around) * 1e3)}  # fmt: skip


class Aligner:
    """The recipe's aligner in a process of its own."""

    def __init__(self, classifier):
        python = os.environ.get("SILLAGE_BENCH_TORCH", sys.executable)
        script = material.REPOSITORY / "recipes" / "voice" / "boundaries.py"
        self.process = subprocess.Popen([python, "-W", "ignore", str(script), str(classifier)], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip

    def compared(self, wav, words):
        """(beginnings, ends) of words, and beginnings of phonemes: differences, the aligner's less Sillage's."""
        request = {"wav": str(wav), "words": [[p["symbol"] for p in word["phonemes"]] for word in words]}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        found = json.loads(self.process.stdout.readline())
        if not found:
            return [], [], []
        both = [(w, f) for w, f in zip(words, found, strict=True) if f and len(f) == len(w["phonemes"])]
        phonemes = [(p["start"], q[0]) for w, f in both for p, q in zip(w["phonemes"], f, strict=True)]
        return ([f[0][0] - w["start"] for w, f in both], [f[-1][1] - w["end"] for w, f in both],
                [heard - told for told, heard in phonemes])  # fmt: skip


def measured(limit=None, voices=VOICES, classifier=None):
    """Figures over the sentences by either judge, and a row for each sentence."""
    whisper, aligner = recognise.Whisper().model, Aligner(classifier) if classifier else None
    begins, ends, rows = [], [], []
    aligned = ([], [], [])
    plain = [s for s in sentences.load() if s.kind == "plain"][:limit]
    with tempfile.TemporaryDirectory() as folder:
        for at, sentence in enumerate(plain):
            voice = voices[at % len(voices)]
            wav, words = told(sentence.text, voice, Path(folder))
            first, last = compared(words, heard(whisper, wav))
            begins, ends = begins + first, ends + last
            rows.append({"sentence": sentence.number, "voice": voice, "begins": short(first), "ends": short(last)})
            if aligner:
                found = aligner.compared(wav, words)
                for kept, new in zip(aligned, found, strict=True):
                    kept += new
                rows[-1] |= dict(zip(("aligned_begins", "aligned_ends", "aligned_phonemes"), map(short, found), strict=True))
            if at % 50 == 49:
                material.say(f"timestamps: {at + 1} of {len(plain)} sentences")
    found = {"whisper": {"begins": figures(begins), "ends": figures(ends)}}
    if aligner:
        found["aligner"] = dict(zip(("begins", "ends", "phonemes"), map(figures, aligned), strict=True))
    return {"sentences": len(plain), **found}, rows


def short(differences):
    return [round(d, 3) for d in differences]


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--limit", type=int)
    options.add_argument("--voices", nargs="+", default=VOICES)
    options.add_argument("--aligner", type=Path)
    given = options.parse_args()
    print(json.dumps(measured(given.limit, given.voices, given.aligner)[0], indent=1))


if __name__ == "__main__":
    main()
