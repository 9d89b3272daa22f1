"""The measurements that need a clock: timing, an hour, live streams, the twin."""

import re
import statistics

import peers
import sentences
from material import REPOSITORY, SPEECH, say

PROSE = REPOSITORY / "benches" / "prose.txt"
# Characters of English prose in a second of speech, to ask for a length of sound.
CHARACTERS_A_SECOND = 18.5
TWIN_SECONDS = (5, 60, 600)
STREAM_COUNTS = (1, 2, 4, 8, 16, 32, 48, 64, 80, 96, 112, 128, 160, 192)
FIRST_AUDIO_LIMIT_MS = 100.0


def timing(names, threads, block=25, limit=None, few=()):
    """Every engine over every sentence, taking turns by blocks; rows by engine.

    All processes stay alive and warm; only one works at a time. Engines named in `few` say every fifth sentence:
    the slowest would take most of the run.
    """
    wanted = sentences.load()[:limit]
    running = {name: peers.Engine(name, threads) for name in names}
    rows = {name: [] for name in names}
    for at in range(0, len(wanted), block):
        for name, engine in running.items():
            for sentence in wanted[at : at + block][:: 5 if name in few else 1]:
                target = str(peers.wav(name, sentence)) if threads == 1 else None
                rows[name].append({"sentence": sentence.number, **engine.ask(text=sentence.text, wav=target)})
        say(f"{threads} threads: {min(at + block, len(wanted))} of {len(wanted)} sentences")
    figures = {}
    for name, engine in running.items():
        figures[name] = {**engine.about, "ready_mb": engine.ready_bytes / 1e6, **peers.summary(rows[name])}
        engine.close()
    return figures, rows


def prose(seconds):
    """Sentences of prose.txt, over and over, for about `seconds` of speech."""
    text = " ".join(PROSE.read_text(encoding="utf-8").split())
    parts = re.split(r"(?<=[.!?;])\s+", text)
    found, length, at = [], 0, 0
    while length < seconds * CHARACTERS_A_SECOND:
        found.append(parts[at % len(parts)])
        length += len(found[-1]) + 1
        at += 1
    return found


def points(rows, every):
    """Rows gathered to one point for every `every` seconds of sound: RTF in it and memory after it."""
    found, sound, busy, total = [], 0.0, 0.0, 0.0
    for row in rows:
        sound, busy = sound + row["seconds"], busy + row["total_ms"] / 1e3
        if sound >= every:
            total += sound
            found.append({"at_s": total, "rtf": busy / sound, "rss_mb": row["rss_bytes"] / 1e6})
            sound = busy = 0.0
    return found


def progress_points(steps):
    """Points of one long request, from its progress lines."""
    found, sound, clock = [], 0.0, 0.0
    for step in steps:
        made, took = step["progress_s"] - sound, step["elapsed_ms"] / 1e3 - clock
        sound, clock = step["progress_s"], step["elapsed_ms"] / 1e3
        if made > 0:
            found.append({"at_s": sound, "rtf": took / made, "rss_mb": step["rss_bytes"] / 1e6})
    return found


def flatness(found):
    """How far the second half lies from the first: 1.0 is flat."""
    half = len(found) // 2
    if half < 2:
        return {}
    return {
        f"{key}_drift": statistics.median(p[key] for p in found[half:]) / statistics.median(p[key] for p in found[:half])
        for key in ("rtf", "rss_mb")
    }


def hour(names, seconds=3600, every=60.0):
    """An hour of text: sentence by sentence for all, and for Sillage also as one utterance."""
    texts, figures = prose(seconds), {}
    for name in names:
        engine = peers.Engine(name, 1)
        found = points((engine.ask(text=text, wav=None) for text in texts), every)
        figures[name] = {"points": found, **flatness(found)}
        if name.startswith(peers.SILLAGE):
            answer = engine.ask(text=" ".join(texts), wav=None, progress=every)
            found = progress_points(answer.get("steps", []))
            figures[f"{name}, one utterance"] = {"points": found, "first_ms": answer["first_ms"], **flatness(found)}
        engine.close()
        say(f"{name}: {len(found)} points")
    return figures


def live(engine, count, texts):
    """`count` streams at once: p95 first audio and the slowest stream's RTF."""
    answer = engine.ask(streams=count, texts=texts)
    return {
        "streams": count,
        "first_ms_p50": peers.percentile(answer["first_ms"], 0.5),
        "first_ms_p95": peers.percentile(answer["first_ms"], 0.95),
        "rtf_worst": max(answer["rtf"]),
        "late": answer.get("late", 0),
        "rss_mb": answer["peak_bytes"] / 1e6,
    }


def streams(name, threads=2, counts=STREAM_COUNTS):
    """The most live streams that keep up: every stream faster than real time, p95 first audio in the limit."""
    texts = [sentence.text for sentence in sentences.load()]
    engine, rows = peers.Engine(name, threads), []
    for count in counts:
        rows.append(live(engine, count, texts))
        say(str(rows[-1]))
        if rows[-1]["rtf_worst"] > 1.2:
            break
    engine.close()
    good = [r["streams"] for r in rows if r["rtf_worst"] < 1.0 and r["first_ms_p95"] < FIRST_AUDIO_LIMIT_MS and not r["late"]]
    return {"threads": threads, "most": max(good, default=0), "rows": rows}


def twin(names, more=(), repeats=5):
    """SSM and attention over utterances of 5 s, 60 s and 10 min, in turn; memory after each, and the sound and its
    text of the last turn. `more`: options of `say`, such as --carry."""
    figures = {name: [] for name in names}
    for seconds in TWIN_SECONDS:
        text = " ".join(prose(seconds))[: int(seconds * CHARACTERS_A_SECOND)].rpartition(" ")[0]
        running = {name: peers.Engine(name, 1, more=more) for name in names}
        rows = {name: [] for name in names}
        for _ in range(repeats):
            for name, engine in running.items():
                rows[name].append(engine.ask(text=text, wav=None, progress=max(1.0, seconds / 20)))
        for at, (name, engine) in enumerate(running.items()):
            peak = max(row["peak_bytes"] for row in rows[name]) / 1e6
            wav = SPEECH / "twin" / f"{at}-{seconds}{''.join(more)}.wav"
            engine.ask(text=text, wav=str(wav))
            last = [p["rtf"] for row in rows[name] for p in progress_points(row.get("steps", []))[-4:]]
            figures[name].append({
                "asked_s": seconds,
                "seconds": statistics.median(row["seconds"] for row in rows[name]),
                "first_ms": statistics.median(row["first_ms"] for row in rows[name]),
                "rtf": statistics.median(row["total_ms"] / 1e3 / row["seconds"] for row in rows[name]),
                "rtf_at_the_end": statistics.median(last) if last else None,
                "peak_mb": peak,
                "sound": (wav, text),
            })  # fmt: skip
            engine.close()
        say(f"twin: {seconds} s done")
    return figures
