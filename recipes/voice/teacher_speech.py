"""Teacher speech with exact durations: Kokoro-82M reading free sentences in many voices.

Three commands, each seeded and resumable:

    teacher_speech.py plan  --out DIR --voices VOICES --books classic-books.train.jsonl.zst --texts kokoro.jsonl
    teacher_speech.py speak --out DIR --voices VOICES --model kokoro.onnx [--backend onnx|torch] [--part 0 --parts 1]
    teacher_speech.py index --out DIR

`plan` writes DIR/plan.jsonl (what is said, by whom, in which phonemes), `speak` writes DIR/clips/* and a journal with
the durations, `index` writes DIR/teacher.jsonl with the clips that exist, one object a line:
path, speaker, blend, speed, accent, seconds, text, phonemes, durations. `durations` holds one count per input id
(one id per phoneme character and one at either end) in units of 600 samples at 24 kHz, as the model used them.
The sound is 24 kHz mono, FLAC, or with `plan --format opus` Ogg Opus of about 46 kbit/s, a seventh of the size. The
default number of clips gives 14.3 hours by 28 voices and 492 blends.

The pieces and their licences: Kokoro-82M v1.0 weights and voice packs (hexgrad, Apache-2.0), here as an fp32 ONNX
graph (325 532 232 bytes) and voices/*.bin (float32 [510, 256]) as shipped by the npm package kokoro-js (Apache-2.0);
phonemes by hibari-tts (Apache-2.0); onnxruntime (MIT), onnx (Apache-2.0), soundfile (BSD-3-Clause) over libsndfile
(LGPL, linked as a library). Sentences: public-domain books, CC0 sentences, and the project's own templates.

A new speaker is a *blend* [a, b, w, p]: timbre (style 0..127) w * pack a + (1 - w) * pack b, prosody (128..255)
of the English pack p. Packs hold one style row per utterance length in ids.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import teacher_text

RATE, STEP = 24_000, 600
MAX_STEPS, MAX_IDS = 560, 230
SYMBOLS = dict(zip(
    ";:,.!?—… AIOQTWYabcdefhijklmnopqrstuvwxyzɑɐɒæɔðʤəɛɜɡɪŋɹɾʃʧʊʌθʒʔˈˌːᵊᵻ",
    [1, 2, 3, 4, 5, 6, 9, 10, 16, 24, 25, 31, 33, 36, 39, 41, *range(43, 49), *range(50, 69), 69, 70, 71, 72, 76, 81, 82, 83,
     86, 87, 92, 102, 112, 123, 125, 131, 133, 135, 138, 119, 147, 148, 156, 157, 158, 42, 177],
    strict=True,
))
MAIN = ("af_heart af_bella af_sarah af_nova af_kore af_aoede am_michael am_fenrir am_puck "
        "bf_emma bf_isabella bm_george bm_fable bm_lewis").split()
RARE = ("af_alloy af_sky af_jessica af_river am_adam am_echo am_eric am_liam am_onyx am_santa "
        "bf_alice bf_lily bm_daniel af_nicole").split()
SPEEDS = [0.85, 0.9, 0.95, 1.0, 1.0, 1.0, 1.05, 1.1, 1.15, 1.2]


# ------------------------------------------------------------------------------------------------ plan
def draw_texts(args: argparse.Namespace, rng: random.Random, count: int) -> list[str]:
    """`count` sentences: 48 % books, 12 % the given texts, 40 % templates; 15 % questions, 10 % exclamations."""
    books = sorted(set(teacher_text.book_sentences(args.books, rng, max(72, count // 180))))
    known = sorted({json.loads(line)["text"] for line in args.texts.open(encoding="utf-8")})
    rng.shuffle(books)
    rng.shuffle(known)
    templates = list(dict.fromkeys(teacher_text.template_sentence(rng) for _ in range(count)))
    take = {"?": 0.14, "!": 0.10, "pause": 0.20, ".": 0.56}  # shares of the book sentences
    by_kind: dict[str, list[str]] = {kind: [] for kind in take}
    for text in books:
        kind = text[-1] if text[-1] in "?!" else "pause" if any(mark in text for mark in ";—:") else "."
        by_kind[kind].append(text)
    wanted = int(0.48 * count)
    chosen = [text for kind, share in take.items() for text in by_kind[kind][: int(share * wanted)]]
    chosen += known[: int(0.12 * count)] + templates[: int(0.40 * count)]
    rng.shuffle(chosen)
    return chosen


def draw_blend(rng: random.Random, packs: list[str]) -> list:
    """A blended speaker; one in six lies a little outside the line between its two packs."""
    a, b = rng.sample(packs, 2)
    weight = rng.uniform(0.3, 0.7)
    if rng.random() < 1 / 6:
        weight = rng.choice([rng.uniform(-0.15, 0.0), rng.uniform(1.0, 1.15)])
    return [a, b, weight, rng.choice(MAIN + [voice for voice in RARE if voice != "af_nicole"])]


def phonemes_of(g2p, text: str) -> str | None:
    """Phonemes in the model's alphabet without quotes and brackets, or None when a sign is unknown."""
    phonemes = " ".join("".join(c for c in g2p(text) if c not in '"“”()').split())
    good = phonemes and len(phonemes) <= MAX_IDS and all(c in SYMBOLS for c in phonemes)
    return phonemes if good else None


def draw_turns(rng: random.Random, blends: int, packs: list[str]) -> list[tuple[str, list | None]]:
    """(speaker, blend) of 8 to 16 clips by a new blended speaker and of 55/45 times as many by pack voices."""
    turns: list = [(f"tblend{blends:04d}", draw_blend(rng, packs))] * rng.randint(8, 16)
    plain = round(len(turns) * 55 / 45)
    return turns + [(rng.choice(MAIN if rng.random() < 0.75 else RARE), None) for _ in range(plain)]


def plan(args: argparse.Namespace) -> None:
    """Write plan.jsonl; its prefixes are all of about the same make-up."""
    from hibari.g2p import G2P

    rng = random.Random(args.seed)
    g2p = {"en-US": G2P(), "en-GB": G2P(british=True)}
    packs = sorted(path.stem for path in args.voices.glob("*.bin"))
    texts = draw_texts(args, rng, args.clips)
    rows, turns, blends = [], [], 0
    for text in texts:
        if not turns:
            blends += 1
            turns = draw_turns(rng, blends, packs)
        speaker, blend = turns.pop()
        accent = "en-GB" if (blend[3] if blend else speaker).startswith("b") else "en-US"
        phonemes = phonemes_of(g2p[accent], text)
        if phonemes:
            rows.append({"path": f"clips/{len(rows):05d}.{args.format}", "speaker": speaker, "blend": blend,
                         "speed": rng.choice(SPEEDS), "accent": accent, "text": text, "phonemes": phonemes})
    args.out.mkdir(parents=True, exist_ok=True)
    with (args.out / "plan.jsonl").open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    print(f"{len(rows)} clips, {blends} blended speakers")


# ----------------------------------------------------------------------------------------------- speak
class Voices:
    """Style rows of the voice packs and of their blends."""

    def __init__(self, folder: Path) -> None:
        self.packs = {path.stem: np.fromfile(path, np.float32).reshape(510, 256) for path in folder.glob("*.bin")}

    def style(self, row: dict) -> np.ndarray:
        """The [256] style of a planned clip."""
        at = min(len(row["phonemes"]), 509)
        if not row["blend"]:
            return self.packs[row["speaker"]][at]
        a, b, weight, prosody = row["blend"]
        timbre = weight * self.packs[a][at, :128] + (1 - weight) * self.packs[b][at, :128]
        return np.concatenate([timbre, self.packs[prosody][at, 128:]]).astype(np.float32)


def ids_of(row: dict) -> list[int]:
    """Input ids with the end mark on either side."""
    return [0, *(SYMBOLS[c] for c in row["phonemes"]), 0]


def speak_onnx(rows: list[dict], voices: Voices, model: Path) -> Iterator[tuple[dict, np.ndarray, list[int]]]:
    """One clip at a time on one CPU core (about real time): (row, sound, durations)."""
    import onnx
    import onnxruntime

    graph = onnx.load(model)
    duration = onnx.helper.make_tensor_value_info("/encoder/Clip_output_0", onnx.TensorProto.FLOAT, None)
    graph.graph.output.append(duration)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options)
    for row in rows:
        inputs = {"input_ids": np.array([ids_of(row)]), "style": voices.style(row)[None],
                  "speed": np.array([row["speed"]], np.float32)}
        sound, steps = session.run(None, inputs)
        yield row, sound.ravel(), steps.ravel().astype(int).tolist()


def speak_torch(rows: list[dict], voices: Voices, model: Path) -> Iterator[tuple[dict, np.ndarray, list[int]]]:
    """Batches of equal length, on the GPU where there is one (on an H200 about 500 times real time, before encoding)."""
    import teacher_torch

    teacher = teacher_torch.Teacher(teacher_torch.load_weights(model))
    items = [(ids_of(row), voices.style(row), row["speed"]) for row in rows]
    for index, sound, steps in teacher.speak(items, MAX_STEPS):
        yield rows[index], sound, steps


def save_clip(folder: Path, row: dict, sound: np.ndarray) -> None:
    """Write one clip, quieter where it would clip; the file bears its name only when it is whole."""
    import soundfile

    path = folder / row["path"]
    part = path.with_suffix(".part")
    how = {".opus": dict(format="OGG", subtype="OPUS", compression_level=0.83), ".flac": dict(format="FLAC", subtype="PCM_16")}
    level = min(1.0, 0.99 / max(1e-9, float(np.abs(sound).max())))
    soundfile.write(part, sound * level, RATE, **how[path.suffix])
    part.rename(path)


def speak(args: argparse.Namespace) -> None:
    """Speak the planned clips that are missing; the journal gets a line per finished clip."""
    (args.out / "clips").mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in (args.out / "plan.jsonl").open(encoding="utf-8")]
    journal = args.out / f"journal-{args.part:02d}.jsonl"
    done = {json.loads(line)["path"] for line in journal.open(encoding="utf-8")} if journal.exists() else set()
    rows = [row for row in rows[args.part :: args.parts] if row["path"] not in done]
    backend = {"onnx": speak_onnx, "torch": speak_torch}[args.backend]
    with journal.open("a", encoding="utf-8") as out, ThreadPoolExecutor(4) as pool:
        saving: deque = deque()

        def finish() -> None:
            done, entry = saving.popleft()
            done.result()
            out.write(json.dumps(entry) + "\n")
            out.flush()

        for row, sound, steps in backend(rows, Voices(args.voices), args.model):
            if sum(steps) > MAX_STEPS:
                continue
            saving.append((pool.submit(save_clip, args.out, row, sound), {"path": row["path"], "durations": steps}))
            if len(saving) > 64:
                finish()
        while saving:
            finish()


def index(args: argparse.Namespace) -> None:
    """Write teacher.jsonl from the plan and the journals."""
    spoken = {}
    for journal in sorted(args.out.glob("journal-*.jsonl")):
        spoken.update((entry["path"], entry["durations"]) for entry in map(json.loads, journal.open(encoding="utf-8")))
    seconds = clips = 0
    with (args.out / "teacher.jsonl").open("w", encoding="utf-8") as out:
        for row in map(json.loads, (args.out / "plan.jsonl").open(encoding="utf-8")):
            steps = spoken.get(row["path"])
            if steps is None or not (args.out / row["path"]).exists():
                continue
            row = {key: row[key] for key in ("path", "speaker", "blend", "speed", "accent")} | {
                "seconds": sum(steps) * STEP / RATE, "text": row["text"], "phonemes": row["phonemes"], "durations": steps}
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
            seconds, clips = seconds + row["seconds"], clips + 1
    print(f"{clips} clips, {seconds / 3600:.2f} hours")


def main() -> None:
    """Read the command line and run one command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["plan", "speak", "index"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--voices", type=Path, help="folder with the voice packs (*.bin)")
    parser.add_argument("--books", type=Path, help="jsonl.zst file of public-domain books")
    parser.add_argument("--texts", type=Path, help="jsonl file whose texts are read again")
    parser.add_argument("--clips", type=int, default=13_235, help="about 4 s each")
    parser.add_argument("--format", choices=["flac", "opus"], default="flac")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--backend", choices=["onnx", "torch"], default="onnx")
    parser.add_argument("--part", type=int, default=0)
    parser.add_argument("--parts", type=int, default=1)
    args = parser.parse_args()
    {"plan": plan, "speak": speak, "index": index}[args.command](args)


if __name__ == "__main__":
    main()
