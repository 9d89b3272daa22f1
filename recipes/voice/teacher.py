"""Rows of the teacher's speech, whose phonemes and durations are given."""

import json
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

import data
from features import STEP
from table import Row
from units import TEACHER_LAG, Units, earlier, from_phonemes, pauses, trim_ends


def loud_steps(sound: np.ndarray, steps: int) -> np.ndarray:
    """Which steps sound: those within 40 dB of the loud ones (their 95th percentile)."""
    padded = data.cut(sound, 0, steps * STEP)
    power = np.square(padded.reshape(steps, STEP), dtype=np.float64).mean(1)
    return power > np.quantile(power, 0.95) * 1e-4 + 1e-9


def teacher_row(record: dict, folder: Path, corpus: str, prefix: str) -> tuple[Row | None, set[str]]:
    """A record's row, and the symbols in it that are not known."""
    unknown: set[str] = set()
    units = from_phonemes(record["phonemes"], record["durations"], unknown)
    if all(pauses(symbol) for symbol in units.symbols):
        return None, unknown
    sound = data.decode((folder / record["path"]).read_bytes())
    earlier(units, TEACHER_LAG)
    cut = trim_ends(units, list(loud_steps(sound, sum(units.durations))))
    row = Row(id=Path(record["path"]).with_suffix("").as_posix(), corpus=corpus, speaker=record["speaker"],
              accent=record["accent"], clip=prefix + record["path"], start=cut * STEP, text=record["text"],
              units=Units(units.symbols, units.stresses, units.durations))
    return row, unknown


def teacher_rows(listing: Path, corpus: str, prefix: str = "", processes: int = 1) -> list[Row]:
    """Rows of a listing like kokoro.jsonl; paths in it are relative to its folder."""
    records = [json.loads(line) for line in listing.read_text().splitlines() if line.strip()]
    make = partial(teacher_row, folder=listing.parent, corpus=corpus, prefix=prefix)
    with ProcessPoolExecutor(processes) as pool:
        found = list(pool.map(make, records, chunksize=64))
    unknown = set().union(*(symbols for _, symbols in found))
    if unknown:
        print(f"{listing}: dropped unknown symbols {sorted(unknown)}")
    return [row for row, _ in found if row is not None]
