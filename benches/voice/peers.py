"""Starts engines as processes, pins them, asks them to speak, watches their memory.

    python peers.py ENGINE... [--threads 1] [--limit N]    speaks the sentences, a line of figures each
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

import engines
import material
import sentences

HERE = Path(__file__).resolve().parent
SILLAGE = "sillage"
PEERS = tuple(engines.ENGINES)
VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")


def command(engine, threads, voice=None, more=()):
    """The child's command line. Sillage is `$SILLAGE_BIN` with the bench's own subcommand and `more` options."""
    if engine.partition(":")[0] == SILLAGE:
        # "sillage:path/to/checkpoint" measures another checkpoint, as the twin.
        program = os.environ.get("SILLAGE_BIN", "sillage")
        line = [*shlex.split(program), *shlex.split(os.environ.get("SILLAGE_SAY_LINES", "say --lines"))]
        model = engine.partition(":")[2]
        line += ["--threads", str(threads), *(["--model", model] if model else []), *more]
    else:
        line = [sys.executable, str(HERE / "engines.py"), engine, "--threads", str(threads)]
    return line + (["--voice", voice] if voice else [])


class Engine:
    """A running engine. `ask` sends one request and returns its answer with the memory after it."""

    def __init__(self, name, threads=1, voice=None, more=()):
        self.name = name
        cores = ",".join(map(str, sorted(os.sched_getaffinity(0))[:threads]))
        environment = {**os.environ, **{variable: str(threads) for variable in VARIABLES}}
        line = ["taskset", "--cpu-list", cores, *command(name, threads, voice, more)]
        self.process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        self.about = self.answer()
        self.ready_bytes = self.memory()["VmRSS"]

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with code {self.process.wait()}; its words stand above")
        found = json.loads(line)
        if "error" in found:
            raise SystemExit(f"{self.name}: {found['error']}")
        return found

    def memory(self):
        """Resident bytes now and at the most, of the process itself."""
        text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        fields = dict(line.split(":", 1) for line in text.splitlines() if line.startswith("Vm"))
        return {key: int(fields[key].split()[0]) * 1024 for key in ("VmRSS", "VmHWM")}

    def ask(self, **request):
        if request.get("wav"):
            Path(request["wav"]).parent.mkdir(parents=True, exist_ok=True)
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        steps = []
        while "progress_s" in (found := self.answer()):
            # A long text reports on its way: sound so far, time so far.
            steps.append({**found, "rss_bytes": self.memory()["VmRSS"]})
        memory = self.memory()
        found = {**found, "rss_bytes": memory["VmRSS"], "peak_bytes": memory["VmHWM"]}
        return {**found, "steps": steps} if steps else found

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)


def percentile(values, share):
    """Linear between the nearest ranks."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * share
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def summary(rows):
    """The figures of one engine over its rows (one a sentence)."""
    first, seconds = [row["first_ms"] for row in rows], sum(row["seconds"] for row in rows)
    steady = [row["rss_bytes"] for row in rows[len(rows) // 2 :]]
    figures = {
        "sentences": len(rows),
        "first_ms_p50": percentile(first, 0.5),
        "first_ms_p95": percentile(first, 0.95),
        "sentence_ms_p50": percentile([row["total_ms"] for row in rows], 0.5),
        "rtf": sum(row["total_ms"] for row in rows) / 1e3 / seconds,
        "seconds": seconds,
        "rss_mb": statistics.median(steady) / 1e6,
        "peak_mb": max(row["peak_bytes"] for row in rows) / 1e6,
    }
    if all("cpu_ms" in row for row in rows):
        # Unlike the wall clock, processor time barely moves when neighbours are busy.
        figures["cpu_rtf"] = sum(row["cpu_ms"] for row in rows) / 1e3 / seconds
        figures["sentence_cpu_ms_p50"] = percentile([row["cpu_ms"] for row in rows], 0.5)
    return figures


def wav(engine, sentence):
    return material.SPEECH / engine.replace("/", "_") / f"{sentence.name}.wav"


def available(wanted=None):
    """The engines asked for, or every one that this machine has; Sillage if its binary is named."""
    if wanted:
        return wanted
    return ([SILLAGE] if os.environ.get("SILLAGE_BIN") else []) + list(PEERS)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("engine", nargs="+")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--voice")
    options.add_argument("--limit", type=int)
    given = options.parse_args()
    for name in given.engine:
        engine = Engine(name, given.threads, given.voice)
        rows = [engine.ask(text=s.text, wav=str(wav(name, s))) for s in sentences.load()[: given.limit]]
        engine.close()
        print(json.dumps({**engine.about, "threads": given.threads, **summary(rows)}), flush=True)


if __name__ == "__main__":
    main()
