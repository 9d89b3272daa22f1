"""What a recogniser hears, and the word error rate.

    python recognise.py FILE...                      transcripts by every recogniser
    python recognise.py --manifest DIR/MANIFEST.tsv --corpus cathy --count 200
                                                     WER on human speech

Transcripts are kept by recogniser and hash of the sound, so a file is heard once.
"""

import argparse
import csv
import hashlib
import json
import math
import os
from pathlib import Path

import audio
import material
import normalise

THREADS = int(os.environ.get("SILLAGE_BENCH_THREADS", "1"))
EDGE = 0.5  # seconds of silence that recognisers get before and after the sound


class Moonshine:
    """Moonshine tiny (MIT), from PyPI moonshine-voice."""

    name = "moonshine-tiny"

    def __init__(self):
        from moonshine_voice import ModelArch, Transcriber, get_model_path

        self.transcriber = Transcriber(str(get_model_path("tiny-en")), ModelArch.TINY)

    def __call__(self, sound):
        lines = self.transcriber.transcribe_without_streaming(sound.tolist(), audio.METER_RATE).lines
        return {"text": " ".join(line.text.strip() for line in lines)}


class Whisper:
    """Whisper base (MIT), beam 5, by faster-whisper with int8 weights."""

    name = "whisper-base"

    def __init__(self):
        from faster_whisper import WhisperModel

        folder = str(material.whisper_base())
        self.model = WhisperModel(folder, device="cpu", compute_type="int8", cpu_threads=THREADS)

    def __call__(self, sound):
        parts, _ = self.model.transcribe(
            sound, language="en", beam_size=5, temperature=0.0, condition_on_previous_text=False,
            without_timestamps=len(sound) < 28 * audio.METER_RATE,
        )  # fmt: skip
        parts = list(parts)
        confidence = sum(part.avg_logprob for part in parts) / len(parts) if parts else None
        return {"text": " ".join(part.text.strip() for part in parts), "confidence": confidence}


RECOGNISERS = {kind.name: kind for kind in (Moonshine, Whisper)}
_loaded = {}


def sound_for_meters(path):
    """16 kHz, peak at most 0.95, EDGE seconds of silence at either end."""
    sound, _ = audio.read(path, audio.METER_RATE)
    peak = abs(sound).max(initial=0.0)
    if peak > 0.95:
        sound = sound * (0.95 / peak)
    edge = [0.0] * int(EDGE * audio.METER_RATE)
    return audio.np.concatenate([edge, sound, edge]).astype("float32")


def transcript(path, recogniser):
    """{"text", "confidence"} for one file, from the cache if it was heard before."""
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    kept = material.TRANSCRIPTS / recogniser / digest[:2] / f"{digest}.json"
    if kept.exists():
        return json.loads(kept.read_text(encoding="utf-8"))
    if recogniser not in _loaded:
        _loaded[recogniser] = RECOGNISERS[recogniser]()
    heard = _loaded[recogniser](sound_for_meters(path))
    kept.parent.mkdir(parents=True, exist_ok=True)
    scratch = kept.with_suffix(f".{os.getpid()}")
    scratch.write_text(json.dumps(heard), encoding="utf-8")
    os.replace(scratch, kept)
    return heard


def word_errors(pairs, recogniser):
    """WER over (path, references) pairs, with a row for every file.

    The interval is of the mean over files (normal, 95 %, errors and words as a ratio).
    """
    rows = []
    for path, references in pairs:
        heard = transcript(path, recogniser)
        wrong, words = normalise.errors(references, heard["text"])
        rows.append({"path": str(path), "heard": heard["text"], "errors": wrong, "words": words,
                     "confidence": heard.get("confidence")})  # fmt: skip
    total = sum(row["words"] for row in rows)
    rate = sum(row["errors"] for row in rows) / max(1, total)
    spread = sum((row["errors"] - rate * row["words"]) ** 2 for row in rows)
    half = 1.96 * math.sqrt(spread) / max(1, total)
    sure = [row["confidence"] for row in rows if row["confidence"] is not None]
    return {"recogniser": recogniser, "wer": rate, "plus_minus": half, "words": total, "files": len(rows),
            "confidence": sum(sure) / len(sure) if sure else None, "rows": rows}  # fmt: skip


def human(manifest, corpus, count):
    """(path, [transcript]) of every n-th clip of a corpus that has a transcript."""
    with open(manifest, encoding="utf-8", newline="") as table:
        rows = [row for row in csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE)
                if row["corpus"].startswith(corpus) and row["transcript"]]  # fmt: skip
    step = max(1, len(rows) // count)
    folder = Path(manifest).parent
    return [(folder / row["path"], [row["transcript"]]) for row in rows[::step][:count]]


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("files", nargs="*")
    options.add_argument("--manifest", default=str(material.VOICE_DATA / "MANIFEST.tsv"))
    options.add_argument("--corpus")
    options.add_argument("--count", type=int, default=100)
    options.add_argument("--recogniser", action="append", choices=list(RECOGNISERS))
    options.add_argument("--errors", action="store_true", help="show every file with an error")
    given = options.parse_args()
    for name in given.recogniser or RECOGNISERS:
        for path in given.files:
            heard = transcript(path, name)
            print(f"{name}\t{path}\t{heard['text']}")
        if given.corpus:
            pairs = human(given.manifest, given.corpus, given.count)
            result = word_errors(pairs, name)
            print(f"{name}: WER {result['wer']:.2%} ± {result['plus_minus']:.2%} over {result['files']} files")
            for row, (_, references) in zip(result["rows"], pairs, strict=True):
                if given.errors and row["errors"]:
                    print(f"  {row['errors']} | {references[0]} | {row['heard']}")


if __name__ == "__main__":
    main()
