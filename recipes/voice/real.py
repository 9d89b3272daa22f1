"""Rows of recorded speech: transcript to units, alignment, and cutting long clips at their pauses."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import data
from align import align, hear
from features import STEP
from table import Row
from transcribe import SURE
from units import BOS, EOS, LAST_MARK, LEAD, PUNCTUATION, SPACE, TAIL, Units, from_phonemes, pauses

CLIPPED = {"arctic_a0252"}  # named in the corpus' own errata
LONGEST, SHORTEST = 480, 60  # steps of an utterance: 12 s, 1.5 s
MUST_CUT = 32  # steps of silence (0.8 s) that always end an utterance
MAY_CUT = 5  # steps of silence at which a long clip may be cut
POOR, STRETCHED = -1.8, 36  # mean log-probability of an alignment, steps of one phone, that are not believed


@dataclass
class Clip:
    path: str
    speaker: str
    corpus: str
    text: str


def manifest(folder: Path, corpus: str) -> list[Clip]:
    with (folder / "MANIFEST.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [Clip(r["path"], r["speaker"], corpus, r["transcript"] or "") for r in rows
            if r["path"].startswith(corpus + "/") and not any(bad in r["path"] for bad in CLIPPED)]


def cased(text: str) -> str:
    """Transcripts in capitals become lower case, but for the word I."""
    if text != text.upper():
        return text
    return re.sub(r"\bi\b", "I", text.lower())


def spoken(g2p, text: str, unknown: set) -> Units:
    """Units of a text; what pauses at either end is dropped, but for one mark at the end."""
    phonemes = re.sub(r"\s+", " ", g2p(cased(text))).strip()
    phonemes = re.sub(r" +([;:,.!?…])", r"\1", phonemes).lstrip("".join(PUNCTUATION) + " ")
    return from_phonemes(phonemes, None, unknown)


@dataclass
class Gap:
    """Silence between two phones: units first..last (exclusive) and steps from `begin` for `steps`."""

    first: int
    last: int
    begin: int
    steps: int


def gaps_of(units: Units) -> list[Gap]:
    out, at, i = [], 0, 0
    while i < len(units.symbols):
        j = i
        while j < len(units.symbols) and pauses(units.symbols[j]):
            j += 1
        if j > i:
            steps = sum(units.durations[i:j])
            out.append(Gap(i, j, at, steps))
            at += steps
            i = j
        else:
            at += units.durations[i]
            i += 1
    return out


def choose_cuts(inner: list[Gap], quiet: list[int], start: int, end: int, pieces: int) -> list[int]:
    """Indices of the gaps to cut at: every long silence, then the fewest cuts that leave nothing over 12 s.

    `quiet` holds each gap's steps of real silence. At least `pieces` pieces are made where pauses allow it.
    """
    forced = [k for k, gap in enumerate(inner) if quiet[k] >= MUST_CUT]
    edges = [-1, *range(len(inner)), len(inner)]
    begin = lambda k: start if k < 0 else inner[k].begin + inner[k].steps
    stop = lambda k: end if k >= len(inner) else inner[k].begin
    price = lambda k: 0.0 if not 0 <= k < len(inner) else 1.0 + (8.0 - quiet[k] if quiet[k] < MAY_CUT else 3.0 / quiet[k])
    best: dict[tuple[int, int], tuple[float, list[int]]] = {(-1, 0): (0.0, [])}
    for k in edges[1:]:
        for (j, count), (cost, cuts) in list(best.items()):
            length = stop(k) - begin(j)
            if j >= k or any(j < f < k for f in forced):
                continue
            extra = 100.0 * max(length + LEAD + TAIL + LAST_MARK - LONGEST, 0) + 40.0 * (length < SHORTEST)
            key = (k, min(count + 1, pieces))
            total = cost + extra + price(k)
            if key not in best or total < best[key][0]:
                best[key] = (total, cuts + [k])
    ends = [(cost + 30.0 * (pieces - count), cuts) for (k, count), (cost, cuts) in best.items() if k == len(inner)]
    return min(ends)[1][:-1]


def piece(units: Units, a: Gap, b: Gap) -> tuple[Units, int]:
    """The utterance between two gaps, and its first step within the clip."""
    out = Units()
    lead = min(a.steps if a.first == 0 else a.steps // 2, LEAD)
    out.add(BOS, 0, lead)
    for i in range(a.last, b.first):
        out.add(units.symbols[i], units.stresses[i], units.durations[i])
    left = b.steps if b.last == len(units.symbols) else b.steps - min(b.steps // 2, LEAD)
    mark = next((s for s in units.symbols[b.first : b.last] if s in PUNCTUATION), None)
    if mark:
        given = min(left, LAST_MARK)
        out.add(mark, 0, given)
        left -= given
    out.add(EOS, 0, min(left, TAIL))
    return out, a.begin + a.steps - lead


def silent_steps(gap: Gap, logs: np.ndarray) -> int:
    """How many of a gap's steps are more likely silence than anything else."""
    return int((logs[gap.begin : gap.begin + gap.steps, -1] > np.log(0.5)).sum())


def believed(units: Units, score: float) -> bool:
    longest = max((d for s, d in zip(units.symbols, units.durations) if not pauses(s)), default=0)
    return score > POOR and longest <= STRETCHED


def clip_rows(clip: Clip, sound: np.ndarray, units: Units, hearing: tuple, pieces: int) -> list[Row] | None:
    """A clip's utterances, or None where its alignment is not believed."""
    model, prior = hearing
    logs = hear(model, sound)
    try:
        aligned, score = align(logs, units, prior)
    except ValueError:
        return None
    if not believed(aligned, score):
        return None
    gaps = gaps_of(aligned)
    inner = gaps[1:-1]
    quiet = [silent_steps(gap, logs) for gap in inner]
    start, end = gaps[0].begin + gaps[0].steps, gaps[-1].begin
    cuts = choose_cuts(inner, quiet, start, end, pieces)
    bounds = [gaps[0], *(inner[k] for k in cuts), gaps[-1]]
    rows = []
    for n, (a, b) in enumerate(zip(bounds, bounds[1:])):
        part, first = piece(aligned, a, b)
        name = Path(clip.path).with_suffix("").as_posix() + (f"#{n}" if len(bounds) > 2 else "")
        limit = 8000 if clip.corpus.startswith("librispeech") else 0
        rows.append(Row(name, clip.corpus, clip.speaker, "en-US", clip.path, first * STEP, clip.text, part, limit,
                        round(score, 4)))
    return [row for row in rows if 20 <= row.steps <= LONGEST + 20]


def real_rows(folder: Path, corpus: str, g2p, hearing: tuple, heard: dict[str, dict]) -> tuple[list[Row], dict]:
    """All rows of a corpus, and what was left out and why. `heard` has transcripts for clips without."""
    clips = manifest(folder, corpus)
    amount = {}
    for clip in clips:
        amount[clip.speaker] = amount.get(clip.speaker, 0) + 1
    rows, left = [], {"no sure transcript": [], "poor alignment": []}
    unknown: set[str] = set()
    for clip in clips:
        if not clip.text:
            found = heard.get(Path(clip.path).name, {"text": "", "logprob": -9.0, "repeats": 0.0})
            if found["logprob"] < SURE or found["repeats"] > 2.4 or not found["text"]:
                left["no sure transcript"].append(clip.path)
                continue
            clip.text = found["text"]
        sound = data.decode((folder / clip.path).read_bytes())
        units = spoken(g2p, clip.text, unknown)
        made = clip_rows(clip, sound, units, hearing, 2 if amount[clip.speaker] == 1 else 1)
        if made is None:
            left["poor alignment"].append(clip.path)
        rows += made or []
    if unknown:
        print(f"{corpus}: dropped unknown symbols {sorted(unknown)}")
    return rows, left
