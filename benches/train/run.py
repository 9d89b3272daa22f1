#!/usr/bin/env python3
"""Training speed and memory, ours beside PyTorch's, taking turns.

    scripts/bench train [CASE ...] [--rounds N] [--side both|pytorch|sillage]

In every round each side trains the same case in a fresh process, for the warm-up and timed
steps that cases.json asks for; who goes first changes from round to round.  Ours is
`sillage train --bench CASE.json --json`, the rival is rival.py; both print
{"tokens_per_s": [...], "peak_bytes": n}.  Raw runs and the ratios of the medians go to
benches/results/<date>-train.json, written anew after every case.

`noise` is how far apart the medians of a side's own rounds lie, as a share of their median:
a ratio means little where that is large.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(1, str(HERE.parent))

import rival  # noqa: E402  (this folder's; results.py then asks it for its version)


def captured(command, environment=None):
    """stdout of a command, whose errors end everything with its own words."""
    command = [str(part) for part in command]
    print("$ " + " ".join(command), file=sys.stderr, flush=True)
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(environment or {})})
    if done.returncode != 0:
        raise SystemExit(f"{command[0]} ended with code {done.returncode}:\n{done.stderr[-4000:]}")
    return done.stdout


class PyTorch:
    name = "pytorch"

    def prepare(self, spec, file):
        """Compiles once into the cache, so that compiling is in no figure, not even in the peak."""
        self.measure({**spec, "warmup": 1, "steps": 1}, file)

    def measure(self, spec, file):
        file.write_text(json.dumps(spec))
        return json.loads(captured([sys.executable, HERE / "rival.py", file, "--json"], rival.environment(spec)))


class Sillage:
    name = "sillage"

    def __init__(self, program):
        self.program = program

    def prepare(self, spec, file):
        """Nothing: the binary is built already."""

    def measure(self, spec, file):
        file.write_text(json.dumps(spec))
        return json.loads(captured([self.program, "train", "--bench", file, "--json"]))


def binary(given):
    """The release binary: the one given, `$SILLAGE_BIN`, or one built now."""
    import ours

    program = ours.binary(given)
    if subprocess.run([program, "train", "--help"], capture_output=True).returncode != 0:
        raise SystemExit(f"{program} has no `train`: build a newer one, or ask for --side pytorch")
    return program


def summary(runs):
    """Medians over all timed steps of all rounds; peaks; and the spread between rounds."""
    rates = [rate for run in runs for rate in run["tokens_per_s"]]
    rounds = [statistics.median(run["tokens_per_s"]) for run in runs]
    return {
        "tokens_per_s": statistics.median(rates),
        "noise": (max(rounds) - min(rounds)) / statistics.median(rounds),
        "peak_bytes": statistics.median(run["peak_bytes"] for run in runs),
        "steps": len(rates),
    }


def measured(spec, sides, rounds):
    runs = {side.name: [] for side in sides}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "case.json"
        for side in sides:
            side.prepare(spec, file)
        for turn in range(rounds):
            for side in sides if turn % 2 == 0 else reversed(sides):
                runs[side.name].append(side.measure(spec, file))
    medians = {name: summary(kept) for name, kept in runs.items()}
    row = {"case": spec, "medians": medians, "runs": runs}
    if len(sides) == 2:
        a, b = medians["sillage"], medians["pytorch"]
        row["ratio"] = a["tokens_per_s"] / b["tokens_per_s"]
        row["memory_ratio"] = a["peak_bytes"] / b["peak_bytes"]
    return row


def table(rows):
    """The results as Markdown."""
    lines = ["| case | sillage, tokens/s | PyTorch, tokens/s | ratio | noise | sillage, MiB | PyTorch, MiB |"]
    lines.append("|---|---|---|---|---|---|---|")
    for row in rows:
        a, b = (row["medians"].get(name) for name in ("sillage", "pytorch"))
        rates = [f"{side['tokens_per_s']:,.0f}" if side else "-" for side in (a, b)]
        peaks = [f"{side['peak_bytes'] / 2**20:,.0f}" if side else "-" for side in (a, b)]
        ratio = f"{row['ratio']:.2f}" if "ratio" in row else "-"
        noise = " / ".join(f"{100 * side['noise']:.0f} %" for side in (a, b) if side)
        lines.append("| " + " | ".join([row["case"]["name"], *rates, ratio, noise, *peaks]) + " |")
    return "\n".join(lines)


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("cases", nargs="*", help="names or beginnings of names; default: all of cases.json")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--steps", type=int, help="timed steps a round, instead of what cases.json says")
    options.add_argument("--side", choices=("both", "pytorch", "sillage"), default="both")
    options.add_argument("--binary", type=Path, help="the sillage binary (default: built here)")
    options.add_argument("--name", default="train", help="the result file's name after its date")
    asked = options.parse_args()

    import results

    known = rival.specifications()
    names = [name for name in known if not asked.cases or name.startswith(tuple(asked.cases))]
    if not names:
        raise SystemExit(f"no such case: {', '.join(known)}")
    sides = [Sillage(binary(asked.binary))] if asked.side != "pytorch" else []
    if asked.side != "sillage":
        sides.append(PyTorch())
    rows = []
    for name in names:
        spec = {**known[name], **({"steps": asked.steps} if asked.steps else {})}
        rows.append(measured(spec, sides, asked.rounds))
        results.write(asked.name, {"rounds": asked.rounds, "cases": rows})
    print(table(rows))


if __name__ == "__main__":
    main()
