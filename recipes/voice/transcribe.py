"""Texts for recordings that come without: whisper-base, kept only where it is sure of what it heard."""

import json
from pathlib import Path

import data

SURE = -0.45  # least average log-probability of a token for a transcript to be kept


def hear(model, path: Path) -> dict:
    """{"text", "logprob", "segments"} of one clip; logprob is the mean over segments, weighted by their length."""
    from scipy.signal import resample_poly

    sound = resample_poly(data.decode(path.read_bytes()), 2, 3).astype("float32")
    segments, _ = model.transcribe(sound, language="en", beam_size=5, condition_on_previous_text=False,
                                   temperature=0.0, without_timestamps=True)
    segments = list(segments)
    seconds = sum(s.end - s.start for s in segments) or 1.0
    return {
        "text": " ".join(s.text.strip() for s in segments),
        "logprob": sum(s.avg_logprob * (s.end - s.start) for s in segments) / seconds if segments else -9.0,
        "repeats": max((s.compression_ratio for s in segments), default=0.0),
    }


def transcribe(clips: list[Path], model_folder: Path, cache: Path, threads: int = 2) -> dict[str, dict]:
    """Transcripts by file name; what `cache` holds is not heard again."""
    known = {}
    if cache.exists():
        known = {r["path"]: r for r in map(json.loads, cache.read_text().splitlines())}
    missing = [clip for clip in clips if clip.name not in known]
    if missing:
        from faster_whisper import WhisperModel

        model = WhisperModel(str(model_folder), device="cpu", compute_type="int8", cpu_threads=threads)
        with cache.open("a") as file:
            for clip in missing:
                known[clip.name] = {"path": clip.name, **hear(model, clip)}
                file.write(json.dumps(known[clip.name], ensure_ascii=False) + "\n")
                file.flush()
    return known
