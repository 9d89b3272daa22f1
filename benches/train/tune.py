#!/usr/bin/env python3
"""Which way of writing the rival is fastest here: the ways take turns, step by step.

    python benches/train/tune.py CASE [--vary KEY=A,B,C ...] [--set KEY=VALUE] [--rounds N] [--layers N]

Every `--vary` is tried on its own against the defaults.  Shown are the medians of wall and
processor seconds of a step; on a busy machine the processor's are the ones to believe
(`--threads 1` keeps waiting threads out of them).
"""

import argparse
import os
import statistics
import sys
import time

import rival


def steps_of(spec, ways, rounds):
    """{way: [(wall, processor) seconds]}, one step of each way in turn."""
    from models import choice_from

    trainers, taken = {}, {}
    for way, settings in ways.items():
        start = time.perf_counter()
        trainers[way] = rival.Trainer(spec, choice_from(settings))
        for _ in range(2):
            trainers[way].step()
        print(f"  {way}: ready after {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        taken[way] = []
    for turn in range(rounds):
        for way in list(ways) if turn % 2 == 0 else reversed(list(ways)):
            wall, cpu = time.perf_counter(), time.process_time()
            trainers[way].step()
            taken[way].append((time.perf_counter() - wall, time.process_time() - cpu))
        print(f"  round {turn + 1} of {rounds}", file=sys.stderr, flush=True)
    return taken


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("case")
    options.add_argument("--vary", action="append", default=[], metavar="KEY=A,B")
    options.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for every way")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--layers", type=int, help="fewer layers than the case has")
    options.add_argument("--threads", type=int)
    options.add_argument("--batch", type=int)
    asked = options.parse_args()
    spec = rival.specification(asked.case)
    spec["threads"] = asked.threads or spec["threads"]
    spec["batch"] = asked.batch or spec["batch"]
    wanted = rival.environment(spec)
    if any(os.environ.get(key) != value for key, value in wanted.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **wanted})
    if asked.layers:
        spec["model"]["num_hidden_layers"] = asked.layers
    import torch

    torch.set_num_threads(spec["threads"])
    ways = {"as it is": asked.set}
    for vary in asked.vary:
        key, _, values = vary.partition("=")
        ways.update({f"{key}={value}": [*asked.set, f"{key}={value}"] for value in values.split(",")})
    tokens = spec["batch"] * spec["length"]
    taken = steps_of(spec, ways, asked.rounds)
    for way, pairs in sorted(taken.items(), key=lambda item: statistics.median(cpu for _, cpu in item[1])):
        wall, cpu = (statistics.median(part) for part in zip(*pairs))
        print(f"{way:24} {wall:8.3f} s wall  {cpu:8.3f} s processor  {tokens / cpu:8.0f} tokens per processor second")


if __name__ == "__main__":
    main()
