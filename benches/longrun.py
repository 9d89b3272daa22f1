"""Two properties of a state that does not grow, measured through the binary.

`flat`: does writing stay as fast, and memory as small, up to a million tokens?
`turn`: how soon does a second turn begin after a long history: read afresh,
resumed from the state in memory, and resumed after a restart of the process?

    python benches/longrun.py flat [--tokens 1000000] | turn [--history 8192]
"""

import argparse
import json
from pathlib import Path

import checkpoints
import ours
import results
import summary


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("what", choices=("flat", "turn"))
    options.add_argument("--model", default="mamba2-130m", choices=list(checkpoints.SIZES))
    options.add_argument("--type", default="q4", choices=("bf16", "q8", "q4"))
    options.add_argument("--file", type=Path, help="a model file or folder instead of --model and --type")
    options.add_argument("--tokens", type=int, default=1_000_000)
    options.add_argument("--history", type=int, default=8192)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--binary", type=Path, help="the sillage binary (default: built here)")
    asked = options.parse_args()

    program = ours.binary(asked.binary)
    model = asked.file
    if model is None:
        checkpoints.checkpoint(asked.model)
        model = ours.quantised(program, asked.model, asked.type)
    length = ("--flat", asked.tokens) if asked.what == "flat" else ("--turn", asked.history)
    said = ours.sillage(program, ["bench", model, *length, "--threads", asked.threads, "--json"])
    measured = {"model": model.name, "threads": asked.threads, **json.loads(said)}
    path = results.write(f"{asked.what}-{model.stem}", measured)
    print(summary.of_file(path))


if __name__ == "__main__":
    main()
