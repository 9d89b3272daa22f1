"""Who is trained on, who is kept for validation, who is never seen."""

import json
from pathlib import Path
from zlib import crc32

import numpy as np

import data
from table import Measured, Row

BLENDS, READERS = 10, 10  # blended teacher speakers; readers of either sex
LEAST_SECONDS = 8.0
WOMEN_ABOVE = 162.0  # Hz of the median F0


def portion(text: str) -> float:
    """A number in 0..1 that depends on the text alone."""
    return crc32(text.encode()) / 2**32


def divide(rows: list[Row], found: list[Measured], kept: dict | None = None) -> dict:
    """Set every row's split, in place; -> what is held out. `kept`: what an earlier division held out, to stay so.

    Held out: 10 blended speakers of the teacher, and 10 women and 10 men who read for LibriSpeech. Of the others, 2 %
    of the sentences are for validation (of speakers with at least four utterances).
    """
    blends = sorted({r.speaker for r in rows if r.corpus == "kokoro" and r.speaker.startswith("blend")}, key=portion)
    readers = kept["readers"] if kept else choose_readers(rows, found)
    blends = kept["blends"] if kept else blends[:BLENDS]
    never = {*blends, *(reader["speaker"] for reader in readers)}
    amount: dict[str, int] = {}
    for row in rows:
        amount[row.speaker] = amount.get(row.speaker, 0) + 1
    for row in rows:
        if row.speaker in never:
            row.split = data.HELDOUT
        elif amount[row.speaker] >= 4 and portion(row.text.lower()) < 0.02:
            row.split = data.VALID
        else:
            row.split = data.TRAIN
    return {"readers": readers, "blends": blends}


def choose_readers(rows: list[Row], found: list[Measured]) -> list[dict]:
    """The surest alignments among readers with a single clip of 8 s or more, and one woman and one man with many."""
    of: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        if row.corpus == "librispeech-many":
            of.setdefault(row.speaker, []).append(i)
    known = []
    for speaker, mine in of.items():
        voiced = np.concatenate([found[i].f0[found[i].f0 > 0] for i in mine])
        clips: dict[str, dict] = {}
        for i in mine:
            clip = clips.setdefault(rows[i].clip, {"path": rows[i].clip, "transcript": rows[i].text, "seconds": 0.0})
            clip["seconds"] = round(clip["seconds"] + rows[i].steps * data.STEP / data.RATE, 3)
        known.append({
            "speaker": speaker, "sex": "f" if np.median(voiced) > WOMEN_ABOVE else "m",
            "median_f0": round(float(np.median(voiced)), 1), "score": float(np.mean([rows[i].score for i in mine])),
            "seconds": round(sum(c["seconds"] for c in clips.values()), 3), "clips": list(clips.values()),
        })
    chosen = []
    for sex in "fm":
        mine = sorted((k for k in known if k["sex"] == sex and k["seconds"] >= LEAST_SECONDS), key=lambda k: -k["score"])
        many = [k for k in mine if len(k["clips"]) > 4][:1]
        single = [k for k in mine if len(k["clips"]) == 1]
        # Not the very best alone: every third of the surer half, so that the held-out resemble the others.
        spread = single[: len(single) // 2][::3] + single
        picked = {k["speaker"]: k for k in many + spread}
        chosen += list(picked.values())[:READERS]
    return chosen


def report(folder: Path, rows: list[Row], meta: dict) -> None:
    """Print and save what the packs hold."""
    hours: dict[str, dict[str, float]] = {}
    for row in rows:
        mine = hours.setdefault(row.corpus, {"utterances": 0, "train": 0.0, "valid": 0.0, "heldout": 0.0})
        mine["utterances"] += 1
        mine[("train", "valid", "heldout")[row.split]] += row.steps * data.STEP / data.RATE / 3600
    for mine in hours.values():
        mine.update({k: round(v, 4) for k, v in mine.items()})
    lines = {"hours": hours, "speakers": len(meta["speakers"]), "packs": meta["packs"],
             "longest_steps": max(row.steps for row in rows), "most_units": max(len(row.units.symbols) for row in rows)}
    (folder / "report.json").write_text(json.dumps(lines, indent=1))
    print(json.dumps(lines, indent=1))
