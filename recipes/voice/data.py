"""The prepared corpus: packs on disk, and `load`, which turns them into plain NumPy arrays.

A folder of packs holds
  meta.json         symbols (list; unit ids index it), speakers (list of {"name", "corpus", "accent", "sex"}),
                    corpora (list), packs (audio files with their sizes)
  table.npz         the arrays described at `Data`, and where each utterance's sound lies
  audio0.bin ...    Ogg Opus clips as they came, one after another, at most 50 MB a file
  utterances.jsonl  for reading and evaluation: id, speaker, text, phonemes; one line an utterance, in table order
  heldout.json      readers and blended speakers that no training sees
Where an audio file is missing, `load` leaves its utterances out and says so: a part of the corpus can be carried.
"""

import io
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

RATE, HOP, STEP, FRAMES = 24000, 300, 600, 2
TRAIN, VALID, HELDOUT = 0, 1, 2
MAX_PHRASE = 96
PACK_BYTES = 50_000_000


@dataclass
class Data:
    """N utterances; all arrays are NumPy, utterance u's share of the flat ones is given by an offset array.

    audio        int16 (sum of steps * 600,): sound / 32768, loudness normalised; utterance u begins at
                 600 * step_offset[u] and is exactly 600 * steps[u] samples long
    f0           float32 (sum of steps * 2,): Hz per frame, 0 where unvoiced; begins at 2 * step_offset[u]
    steps        int64 (N,), step_offset int64 (N + 1,)
    symbol       uint8 (U,): units' ids in `symbols`; utterance u's are unit_offset[u] : unit_offset[u + 1], the
                 first is <bos>, the last <eos>
    stress       uint8 (U,): 0, 1 (primary), 2 (secondary)
    duration     uint16 (U,): steps of each unit; sums to steps[u]
    phrase       uint8 (U,): number of the unit's phrase within the utterance, from 0
    unit_offset  int64 (N + 1,)
    speaker      int32 (N,): index into `speakers`
    corpus       uint8 (N,): index into `corpora`
    split        uint8 (N,): 0 train, 1 validation (known speakers), 2 held out (speakers never trained on)
    bandlimit    int32 (N,): 0, or the frequency in Hz above which the recording holds nothing (8000)
    mu           float32 (N,): mean natural log of F0 over the utterance's voiced frames
    score        float32 (N,): mean log-probability of the alignment a frame; 0 where the teacher gave it
    embedding    float32 (N, 192): ERes2Net embedding of length 1, of the utterance or else the speaker's mean
    has_embedding bool (N,): False where the speaker has none either; the embedding is then all zeros
    id           str (N,); symbols, speakers, corpora: lists as in meta.json
    """

    audio: np.ndarray
    f0: np.ndarray
    steps: np.ndarray
    step_offset: np.ndarray
    symbol: np.ndarray
    stress: np.ndarray
    duration: np.ndarray
    phrase: np.ndarray
    unit_offset: np.ndarray
    speaker: np.ndarray
    corpus: np.ndarray
    split: np.ndarray
    bandlimit: np.ndarray
    mu: np.ndarray
    score: np.ndarray
    embedding: np.ndarray
    has_embedding: np.ndarray
    id: np.ndarray
    symbols: list
    speakers: list
    corpora: list


def load(folder: Path | str, processes: int = 8, sound: bool = True) -> Data:
    """Read packs and decode their sound with `processes` processes; `sound=False` leaves `audio` empty."""
    folder = Path(folder)
    meta = json.loads((folder / "meta.json").read_text())
    with np.load(folder / "table.npz") as arrays:
        table = {key: arrays[key] for key in arrays.files}
    here = np.array([(folder / pack["file"]).exists() for pack in meta["packs"]], dtype=bool)
    table = select(table, here[table["clip_pack"][table["clip"]]] if sound else np.ones(len(table["steps"]), bool))
    audio = decode_all(folder, meta, table, processes) if sound else np.zeros(0, dtype=np.int16)
    step_offset = offsets(table["steps"])
    vectors = table["embeddings"].astype(np.float32)
    has = table["embedding_index"] >= 0
    embedding = np.where(has[:, None], vectors[np.maximum(table["embedding_index"], 0)], 0.0).astype(np.float32)
    names = ("symbol", "stress", "duration", "phrase", "unit_offset", "speaker", "corpus", "split", "bandlimit", "mu",
             "score", "id")
    return Data(audio=audio, f0=table["f0"].astype(np.float32), steps=table["steps"], step_offset=step_offset,
                embedding=embedding, has_embedding=has, symbols=meta["symbols"], speakers=meta["speakers"],
                corpora=meta["corpora"], **{name: table[name] for name in names})


def offsets(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def select(table: dict, keep: np.ndarray) -> dict:
    """The table with the utterances of `keep` alone."""
    if keep.all():
        return table
    print(f"{(~keep).sum()} of {len(keep)} utterances are left out: their audio is not here")
    units = np.repeat(keep, np.diff(table["unit_offset"]))
    frames = np.repeat(keep, table["steps"] * FRAMES)
    out = dict(table)
    for name in ("symbol", "stress", "duration", "phrase"):
        out[name] = table[name][units]
    out["f0"] = table["f0"][frames]
    for name in ("id", "steps", "speaker", "corpus", "split", "bandlimit", "mu", "score", "embedding_index", "clip",
                 "start", "gain"):
        out[name] = table[name][keep]
    out["unit_offset"] = offsets(np.diff(table["unit_offset"])[keep])
    return out


def decode(encoded: bytes) -> np.ndarray:
    """An Ogg Opus clip as float32 at 24 kHz."""
    import soundfile

    sound, rate = soundfile.read(io.BytesIO(encoded), dtype="float32", always_2d=False)
    if rate != RATE:
        from scipy.signal import resample_poly

        divisor = np.gcd(rate, RATE)
        sound = resample_poly(sound, RATE // divisor, rate // divisor).astype(np.float32)
    return sound


def cut(sound: np.ndarray, start: int, samples: int) -> np.ndarray:
    """`samples` samples from `start` on; what lies outside the clip is silence."""
    a, b = max(start, 0), min(start + samples, len(sound))
    out = np.zeros(samples, dtype=np.float32)
    if b > a:
        out[a - start : b - start] = sound[a:b]
    return out


def _decode_clips(job: tuple) -> list[tuple[int, np.ndarray]]:
    """Decode clips of one audio file: [(offset, bytes, [(utterance, start, samples, gain)])] -> int16 pieces."""
    path, clips = job
    out = []
    with open(path, "rb") as file:
        for offset, size, pieces in clips:
            file.seek(offset)
            sound = decode(file.read(size))
            for utterance, start, samples, gain in pieces:
                piece = cut(sound, start, samples) * (gain * 32768.0)
                out.append((utterance, np.clip(np.rint(piece), -32768, 32767).astype(np.int16)))
    return out


def decode_all(folder: Path, meta: dict, table: dict, processes: int) -> np.ndarray:
    start = offsets(table["steps"]) * STEP
    audio = np.zeros(start[-1], dtype=np.int16)
    pieces: dict[int, list] = {}
    for u, clip in enumerate(table["clip"]):
        samples = int(table["steps"][u]) * STEP
        pieces.setdefault(int(clip), []).append((u, int(table["start"][u]), samples, float(table["gain"][u])))
    files: dict[int, list] = {}
    for clip, parts in sorted(pieces.items()):
        where = (int(table["clip_offset"][clip]), int(table["clip_bytes"][clip]), parts)
        files.setdefault(int(table["clip_pack"][clip]), []).append(where)
    jobs = [(str(folder / meta["packs"][pack]["file"]), clips[i : i + 32])
            for pack, clips in files.items() for i in range(0, len(clips), 32)]
    with ProcessPoolExecutor(processes) as pool:
        for done in pool.map(_decode_clips, jobs):
            for utterance, piece in done:
                audio[start[utterance] : start[utterance] + len(piece)] = piece
    return audio


def phrases(symbols: list[str]) -> list[int]:
    """Phrase number of every unit, from the units' symbols (<bos>, characters, <eos>).

    A phrase ends after punctuation and the spaces that follow it, and holds at most 96 units: a longer one is cut
    after its last space at or before unit 96, or hard at 96.
    """
    numbers, start, number = [], 0, 0
    ends = []
    for i, symbol in enumerate(symbols):
        last = i + 1 == len(symbols)
        following = None if last else symbols[i + 1]
        closes = symbol in PUNCTUATION or (symbol == " " and i and _after_mark(symbols, i))
        if last or (closes and following not in PUNCTUATION and following not in (" ", "<eos>")):
            ends.append(i + 1)
    for end in ends:
        while end - start > MAX_PHRASE:
            spaces = [i for i in range(start, start + MAX_PHRASE) if symbols[i] == " "]
            stop = spaces[-1] + 1 if spaces else start + MAX_PHRASE
            numbers += [number] * (stop - start)
            start, number = stop, number + 1
        numbers += [number] * (end - start)
        start, number = end, number + 1
    return numbers


PUNCTUATION = tuple(";:,.!?—…")


def _after_mark(symbols: list[str], i: int) -> bool:
    """Whether the run of spaces that ends at i follows punctuation."""
    while i > 0 and symbols[i] == " ":
        i -= 1
    return symbols[i] in PUNCTUATION
