"""How speech sounds: DNSMOS, and a listening proxy.

    python quality.py FILE...            one line a file
    python quality.py --folder DIR ...   means over each folder, and its distance to human speech

DNSMOS (P.835 overall, signal, background; P.808) was made to rate noise
suppression. It hears noise well and naturalness poorly.

The listening proxy is the Fréchet distance, in the space of Whisper base's encoder,
between the sounding frames of an engine and those of human readers (many readers;
none of them needs to be the engine's voice). Human speech of other readers through
the same path gives its floor. It is a distance of distributions over a few hundred
sentences, not a score of one file, and no listener was asked. Beside it stand the
recogniser's confidence and plain figures of pitch and pace.
"""

import argparse
import csv
import json
import os
from pathlib import Path

import audio
import material
import numpy as np
import onnxruntime

SECONDS = 9.01
POLYNOMIALS = {
    "overall": (-0.06766283, 1.11546468, 0.04602535),
    "signal": (-0.08397278, 1.22083953, 0.0052439),
    "background": (-0.13166888, 1.60915514, -0.39604546),
}
_sessions = {}


def session(path):
    """An onnxruntime session on one thread, kept."""
    if path not in _sessions:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = int(os.environ.get("SILLAGE_BENCH_THREADS", "1"))
        _sessions[path] = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return _sessions[path]


def p808_input(sound):
    """The P.808 network's log mel, scaled as in the published script."""
    mel = audio.power_mel(sound.astype(np.float64), audio.METER_RATE, 321, 160, 120)
    decibels = 10 * np.log10(np.maximum(mel, 1e-10)) - 10 * np.log10(max(mel.max(), 1e-10))
    return ((np.maximum(decibels, -80.0) + 40) / 40).astype(np.float32)[None]


def dnsmos(sound):
    """Mean DNSMOS scores over windows of 9.01 s, a second apart; short sound is repeated."""
    rate, size = audio.METER_RATE, int(SECONDS * audio.METER_RATE)
    if not len(sound):
        raise SystemExit("DNSMOS of an empty file: the engine wrote no sound")
    while len(sound) < size:
        sound = np.append(sound, sound)
    scores = []
    for at in range(max(1, int(np.floor(len(sound) / rate) - SECONDS) + 1)):
        part = sound[at * rate : at * rate + size]
        if len(part) < size:
            continue
        raw = session(material.dnsmos("sig_bak_ovr")).run(None, {"input_1": part[None]})[0][0]
        curved = {
            name: float(np.polyval(POLYNOMIALS[name], value))
            for name, value in zip(("signal", "background", "overall"), raw, strict=True)
        }
        net = session(material.dnsmos("model_v8"))
        curved["p808"] = float(net.run(None, {"input_1": p808_input(part[:-160])})[0][0][0])
        scores.append(curved)
    return {name: float(np.mean([score[name] for score in scores])) for name in scores[0]}


def prosody(sound):
    """Plain figures of one sentence: pitch in Hz, its spread in semitones, voiced share, seconds."""
    spoken = audio.trimmed(sound, audio.METER_RATE)
    track = audio.pitch(spoken, audio.METER_RATE)
    voiced = track[track > 0]
    if len(voiced) < 5:
        return {"f0_hz": None, "f0_semitones": None, "voiced": 0.0, "seconds": len(spoken) / audio.METER_RATE}
    middle = np.median(voiced)
    near = voiced[(voiced > middle / 1.8) & (voiced < middle * 1.8)]
    return {
        "f0_hz": float(middle),
        "f0_semitones": float(np.std(12 * np.log2(near / middle))),
        "voiced": float(len(voiced) / len(track)),
        "seconds": len(spoken) / audio.METER_RATE,
    }


def measured(path):
    """DNSMOS and prosody of one file."""
    sound, _ = audio.read(path, audio.METER_RATE)
    peak = float(np.abs(sound).max(initial=0.0))
    scores = dnsmos(np.clip(sound, -1.0, 1.0))
    return {"path": str(path), **scores, **prosody(sound), "peak": peak, "clipped": float(np.mean(np.abs(sound) > 0.999))}


def summary(rows):
    """Means (and their standard errors) of the figures over files."""
    means = {"files": len(rows)}
    for key in ("overall", "signal", "background", "p808", "f0_hz", "f0_semitones", "voiced", "seconds", "clipped"):
        values = [row[key] for row in rows if row[key] is not None]
        if values:
            means[key] = float(np.mean(values))
            means[f"{key}_se"] = float(np.std(values) / np.sqrt(len(values)))
    return means


def windows(paths, limit=28.0):
    """The clips, trimmed and levelled, joined to windows below 30 s with 0.3 s between."""
    gap = np.zeros(int(0.3 * audio.METER_RATE), np.float32)
    batch, length = [], 0.0
    for path in paths:
        sound, _ = audio.read(path, audio.METER_RATE)
        sound = audio.trimmed(sound, audio.METER_RATE)[: int(limit * audio.METER_RATE)]
        sound = sound * (0.08 / max(1e-6, np.sqrt(np.mean(sound**2))))
        if batch and length + len(sound) / audio.METER_RATE > limit:
            yield np.concatenate(batch)
            batch, length = [], 0.0
        batch += [sound, gap]
        length += len(sound) / audio.METER_RATE + 0.3
    if batch:
        yield np.concatenate(batch)


def encoded(paths):
    """Whisper base's encoder frames (20 ms, 512 values) where there is sound, [frames, 512]."""
    from faster_whisper import WhisperModel

    if "whisper" not in _sessions:
        _sessions["whisper"] = WhisperModel(str(material.whisper_base()), device="cpu", compute_type="float32", cpu_threads=1)
    model, rows = _sessions["whisper"], []
    for sound in windows(paths):
        mel = model.feature_extractor(sound)[:, :3000]
        mel = np.pad(mel, ((0, 0), (0, 3000 - mel.shape[1])), constant_values=mel.min())
        states = np.array(model.encode(mel.astype(np.float32)))[0]
        size = audio.METER_RATE // 50
        power = np.square(sound[: len(sound) // size * size]).reshape(-1, size).mean(axis=1)
        loud = np.flatnonzero(power > 0.08**2 * 1e-3)
        rows.append(states[loud[loud < len(states)]].astype(np.float32))
    return np.concatenate(rows)


def moments(rows):
    return rows.mean(axis=0).astype(np.float64), np.cov(rows.T.astype(np.float64))


def frechet(left, right):
    """Fréchet distance of two (mean, covariance) pairs; the root by eigenvalues."""
    values, vectors = np.linalg.eigh(left[1])
    root = vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
    inner = np.linalg.eigvalsh(root @ right[1] @ root)
    cross = np.sqrt(np.maximum(inner, 0.0)).sum()
    return float(np.square(left[0] - right[0]).sum() + np.trace(left[1]) + np.trace(right[1]) - 2 * cross)


def human_clips(count=240, seed=5):
    """Two disjoint lists of human clips of 2 to 12 s, no speaker in both, spread over speakers."""
    manifest = material.VOICE_DATA / "MANIFEST.tsv"
    with manifest.open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE))
    speakers = {}
    for row in rows:
        if row["speaker"] not in ("cathy", "ljspeech") and 2.0 < float(row["seconds"]) < 12.0:
            speakers.setdefault(row["speaker"], []).append(material.VOICE_DATA / row["path"])
    random = np.random.default_rng(seed)
    names = sorted(speakers)
    random.shuffle(names)
    halves = []
    for part in (names[::2], names[1::2]):
        clips = [path for name in part for path in speakers[name][:2]]
        halves.append(clips[:count])
    return halves


def human_moments():
    """(reference moments, moments of the other readers), kept in the cache."""
    kept = material.CACHE / "human-moments.npz"
    if not kept.exists():
        reference, others = (moments(encoded(clips)) for clips in human_clips())
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, m0=reference[0], c0=reference[1], m1=others[0], c1=others[1])
    with np.load(kept) as box:
        return (box["m0"], box["c0"]), (box["m1"], box["c1"])


def listening(paths):
    """The listening proxy of a set of files, beside the floor that human readers reach."""
    reference, others = human_moments()
    return {"distance": frechet(moments(encoded(paths)), reference), "human_floor": frechet(others, reference)}


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("files", nargs="*", type=Path)
    options.add_argument("--folder", action="append", type=Path, default=[])
    given = options.parse_args()
    for path in given.files:
        print(json.dumps(measured(path)))
    for folder in given.folder:
        paths = sorted(path for path in folder.iterdir() if path.suffix in (".wav", ".opus", ".flac", ".ogg"))
        print(json.dumps({"folder": str(folder), **summary([measured(p) for p in paths]), **listening(paths)}))


if __name__ == "__main__":
    main()
