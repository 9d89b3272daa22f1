"""Both engines over the same weights, in one run, taking turns.

For every model and weight type: reading a prompt, writing with one session,
writing with 4 and 16 sessions at once, and, for the transformer, the same far
into a context. The sides alternate within every round, so that a noisy
neighbour disturbs both, and the medians of all rounds are kept.

    python benches/engine.py [--rounds 3] [--only mamba2-130m,...] [--types q4,...] [--side both]
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import checkpoints
import ours
import results
import rival
import summary
from workspace import REPOSITORY, captured, say, smollm2

PREFILL, DECODE, BATCH_DECODE = 512, 128, 64
BATCHES = (4, 16)
# Our weight type and the one of the rival with as many bits.
PAIRS = {"bf16": "F16", "q8": "Q8_0", "q4": "Q4_K_M"}


@dataclass(frozen=True)
class Case:
    """One model in one weight type, to be measured on both sides."""

    model: str
    kind: str
    rival_kind: str
    depths: tuple = (0,)

    @property
    def name(self):
        return f"{self.model} {self.rival_kind}"


def cases(only, types, depths):
    listed = [Case(model, kind, PAIRS[kind]) for model in checkpoints.SIZES for kind in PAIRS]
    listed.append(Case("SmolLM2-135M", "q4", "Q4_1", depths))
    return [case for case in listed if (not only or case.model in only) and (not types or case.kind in types)]


class Side:
    """One engine's files and its way of measuring; the runs it has gathered."""

    def __init__(self, threads, repeats):
        self.threads, self.repeats = threads, repeats

    def prepare(self, case):
        """The model file of a case, made if need be."""

    def measure(self, case, gathered, depth):
        """Adds one round's runs at `depth` to `gathered`: {key: [tokens per second]}."""


class Rival(Side):
    name = "llama.cpp"

    def prepare(self, case):
        if case.model == "SmolLM2-135M":
            return smollm2()
        checkpoints.checkpoint(case.model)
        return rival.gguf(case.model, case.rival_kind)

    def measure(self, case, gathered, depth):
        model = self.prepare(case)
        prefill, decode = rival.single(model, depth, PREFILL, DECODE, self.threads, self.repeats)
        gathered.setdefault(f"prefill@{depth}", []).extend(prefill)
        gathered.setdefault(f"decode@{depth}", []).extend(decode)
        if depth == 0:
            for batch, runs in rival.batched(model, BATCHES, BATCH_DECODE, self.threads, 1).items():
                gathered.setdefault(f"decode x{batch}", []).extend(runs)


class Ours(Side):
    name = "sillage"

    def __init__(self, threads, repeats, program):
        super().__init__(threads, repeats)
        self.program = program
        self.small_state = ours.takes(program, "bench", "--state")
        self.state_bytes = {}

    def prepare(self, case):
        if case.model == "SmolLM2-135M":
            return smollm2()
        checkpoints.checkpoint(case.model)
        return ours.quantised(self.program, case.model, case.kind)

    def rows(self, case, **options):
        return ours.bench(self.program, self.prepare(case), threads=self.threads, repeats=self.repeats, **options)

    def measure(self, case, gathered, depth):
        for row in self.rows(case, prefill=PREFILL, decode=DECODE, batches=(1,), depths=(depth,)):
            gathered.setdefault(f"prefill@{depth}", []).extend(row["prefill_runs"])
            gathered.setdefault(f"decode@{depth}", []).extend(row["decode_runs"])
            self.state_bytes[case.name] = row["state_bytes"]
        if depth == 0:
            self.many(case, gathered, None, "")
            if self.small_state and case.model != "SmolLM2-135M":
                self.many(case, gathered, "bf16", " bf16 state")

    def many(self, case, gathered, state, mark):
        # The prompt is kept short here: only the writing is looked at.
        for row in self.rows(case, prefill=16, decode=BATCH_DECODE, batches=BATCHES, depths=(0,), state=state):
            gathered.setdefault(f"decode x{row['batch']}{mark}", []).extend(row["decode_runs"])


def bandwidth(threads):
    """Measured memory reads in GB/s, all passes."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "bandwidth"
        source = REPOSITORY / "benches" / "bandwidth.c"
        captured(["cc", "-O3", "-march=native", "-fopenmp", source, "-o", program])
        return [float(line) for line in captured([program, threads, 7]).split()]


def measured_case(case, sides, rounds):
    """All rounds of one case: {side: {key: {median, runs}}}, and the files' sizes."""
    gathered = {side.name: {} for side in sides}
    for depth in case.depths:
        # Far into a context a round takes minutes; one is enough there.
        for turn in range(rounds if depth == 0 else 1):
            for side in sides if turn % 2 == 0 else reversed(sides):
                side.measure(case, gathered[side.name], depth)
    figures = {
        name: {key: {"median": statistics.median(runs), "runs": runs} for key, runs in kept.items()}
        for name, kept in gathered.items()
    }
    sizes = {side.name: side.prepare(case).stat().st_size for side in sides}
    return {"model": case.model, "type": case.rival_kind, "kind": case.kind, "file_bytes": sizes, "figures": figures}


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--repeats", type=int, default=3, help="runs within a round")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--only", default="", help="models, comma-separated")
    options.add_argument("--types", default="", help="bf16, q8, q4; comma-separated")
    options.add_argument("--depths", default="0,4096,16384", help="for the transformer")
    options.add_argument("--side", choices=("both", "llama.cpp", "sillage"), default="both")
    options.add_argument("--binary", type=Path, help="the sillage binary (default: built here)")
    options.add_argument("--name", default="engine", help="the result file's name after its date")
    asked = options.parse_args()

    sides = []
    if asked.side != "sillage":
        rival.build()
        sides.append(Rival(asked.threads, asked.repeats))
    if asked.side != "llama.cpp":
        sides.append(Ours(asked.threads, asked.repeats, ours.binary(asked.binary)))
    depths = tuple(int(depth) for depth in asked.depths.split(","))
    wanted = cases(set(filter(None, asked.only.split(","))), set(filter(None, asked.types.split(","))), depths)
    for case in wanted:
        for side in sides:
            side.prepare(case)

    measured = {"threads": asked.threads, "bandwidth_gb_s": bandwidth(asked.threads), "cases": []}
    started = time.monotonic()
    for case in wanted:
        say(f"--- {case.name} ({time.monotonic() - started:.0f} s so far)")
        measured["cases"].append(measured_case(case, sides, asked.rounds))
        for side in sides:
            if isinstance(side, Ours):
                measured["cases"][-1]["state_bytes"] = side.state_bytes[case.name]
        # Written after every case, so that a broken run keeps what it had.
        path = results.write(asked.name, measured)
    measured["bandwidth_gb_s"] += bandwidth(asked.threads)
    path = results.write(asked.name, measured)
    print(summary.of_file(path))


if __name__ == "__main__":
    main()
