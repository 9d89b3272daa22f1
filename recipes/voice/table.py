"""Utterances as rows while preparing, and the packs they end in (see data.py for what a reader of packs gets)."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

import data
from units import SYMBOLS, Units

CORPORA = ["kokoro", "cathy", "ljspeech", "librispeech", "librispeech-many", "teacher"]


@dataclass
class Row:
    """One utterance: where its sound lies, what is said when. `start` is in samples at 24 kHz within the clip."""

    id: str
    corpus: str
    speaker: str
    accent: str
    clip: str
    start: int
    text: str
    units: Units
    bandlimit: int = 0
    score: float = 0.0
    split: int = data.TRAIN

    @property
    def steps(self) -> int:
        return sum(self.units.durations)


@dataclass
class Measured:
    """What is measured on a row's sound."""

    gain: float
    f0: np.ndarray
    embedding: np.ndarray | None = None
    extra: dict = field(default_factory=dict)


def save_rows(path: Path, rows: list[Row]) -> None:
    path.write_text("".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows))


def read_rows(path: Path) -> list[Row]:
    rows = []
    for line in path.read_text().splitlines():
        fields = json.loads(line)
        fields["units"] = Units(**fields["units"])
        rows.append(Row(**fields))
    return rows


def mean_log_f0(f0: np.ndarray) -> float:
    voiced = f0[f0 > 0]
    return float(np.log(voiced).mean()) if len(voiced) else 5.0


def speakers_of(rows: list[Row], measured: list[Measured]) -> list[dict]:
    """One entry a speaker, in order of first appearance; the sex is a guess from the median F0."""
    heard: dict[str, list] = {}
    facts: dict[str, dict] = {}
    for row, found in zip(rows, measured):
        heard.setdefault(row.speaker, []).append(found.f0[found.f0 > 0])
        facts.setdefault(row.speaker, {"name": row.speaker, "corpus": row.corpus, "accent": row.accent})
    for name, pieces in heard.items():
        voiced = np.concatenate(pieces)
        median = float(np.median(voiced)) if len(voiced) else 0.0
        facts[name] |= {"median_f0": round(median, 1), "sex": "f" if median > 162 else "m"}
    return list(facts.values())


def write_audio(folder: Path, clips: list[tuple[str, Path]], groups: list[int]) -> tuple[list[dict], np.ndarray]:
    """Concatenate clips into audio files of at most 50 MB; a new group begins a new file. -> packs, (n, 3) places."""
    packs, places, file = [], [], None
    last = None
    for (_, path), group in zip(clips, groups):
        encoded = path.read_bytes()
        if file is None or group != last or packs[-1]["bytes"] + len(encoded) > data.PACK_BYTES:
            if file:
                file.close()
            packs.append({"file": f"audio{len(packs)}.bin", "bytes": 0})
            file = (folder / packs[-1]["file"]).open("wb")
        places.append((len(packs) - 1, packs[-1]["bytes"], len(encoded)))
        file.write(encoded)
        packs[-1]["bytes"] += len(encoded)
        last = group
    if file:
        file.close()
    return packs, np.array(places, dtype=np.int64)


def write(folder: Path, rows: list[Row], measured: list[Measured], find) -> dict:
    """Write packs of `rows`; `find(clip)` gives a clip's path. Teacher speech made later gets files of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    corpora = [name for name in CORPORA if any(row.corpus == name for row in rows)]
    names = list(dict.fromkeys(row.clip for row in rows))
    later = {row.clip: int(row.corpus == "teacher") for row in rows}
    packs, places = write_audio(folder, [(name, find(name)) for name in names], [later[name] for name in names])
    speakers = speakers_of(rows, measured)
    arrays = columns(rows, measured, {name: i for i, name in enumerate(names)},
                     {s["name"]: i for i, s in enumerate(speakers)}, corpora)
    arrays |= {"clip_pack": places[:, 0], "clip_offset": places[:, 1], "clip_bytes": places[:, 2]}
    np.savez_compressed(folder / "table.npz", **arrays)
    meta = {"symbols": SYMBOLS, "speakers": speakers, "corpora": corpora, "packs": packs}
    (folder / "meta.json").write_text(json.dumps(meta, ensure_ascii=False, indent=1))
    with (folder / "utterances.jsonl").open("w") as file:
        for row in rows:
            line = {"id": row.id, "corpus": row.corpus, "speaker": row.speaker, "split": row.split, "text": row.text,
                    "phonemes": spelled(row.units), "seconds": row.steps * data.STEP / data.RATE}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    return meta


def spelled(units: Units) -> str:
    """The phoneme string of units, with stress marks and without <bos> and <eos>."""
    marks = {0: "", 1: "ˈ", 2: "ˌ"}
    return "".join(marks[t] + s for s, t in zip(units.symbols[1:-1], units.stresses[1:-1]))


def columns(rows: list[Row], measured: list[Measured], clips: dict, speakers: dict, corpora: list) -> dict:
    """The table's arrays."""
    number = {symbol: i for i, symbol in enumerate(SYMBOLS)}
    have = [i for i, found in enumerate(measured) if found.embedding is not None]
    index = np.full(len(rows), -1, dtype=np.int32)
    index[have] = np.arange(len(have))
    vectors = np.stack([measured[i].embedding for i in have]) if have else np.zeros((1, 192))
    flat = lambda values, kind: np.fromiter((v for row in rows for v in values(row)), dtype=kind)
    return {
        "id": np.array([row.id for row in rows]),
        "steps": np.array([row.steps for row in rows], dtype=np.int64),
        "symbol": flat(lambda row: (number[s] for s in row.units.symbols), np.uint8),
        "stress": flat(lambda row: row.units.stresses, np.uint8),
        "duration": flat(lambda row: row.units.durations, np.uint16),
        "phrase": flat(lambda row: data.phrases(row.units.symbols), np.uint8),
        "unit_offset": data.offsets(np.array([len(row.units.symbols) for row in rows])),
        "f0": np.concatenate([found.f0 for found in measured]).astype(np.float16),
        "gain": np.array([found.gain for found in measured], dtype=np.float32),
        "mu": np.array([mean_log_f0(found.f0) for found in measured], dtype=np.float32),
        "speaker": np.array([speakers[row.speaker] for row in rows], dtype=np.int32),
        "corpus": np.array([corpora.index(row.corpus) for row in rows], dtype=np.uint8),
        "split": np.array([row.split for row in rows], dtype=np.uint8),
        "bandlimit": np.array([row.bandlimit for row in rows], dtype=np.int32),
        "score": np.array([row.score for row in rows], dtype=np.float32),
        "clip": np.array([clips[row.clip] for row in rows], dtype=np.int32),
        "start": np.array([row.start for row in rows], dtype=np.int64),
        "embedding_index": index, "embeddings": vectors.astype(np.float16),
    }
