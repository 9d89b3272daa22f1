"""Turns raw results into the Markdown tables of docs/benchmarks.md.

    python benches/summary.py benches/results/<date>-engine.json ...
"""

import json
import statistics
import sys
from pathlib import Path

from serve import tables as serving

RIVAL, OURS = "llama.cpp", "sillage"
# The ratios that the engine set out to reach, by weight type.
DECODE_GOAL = {"bf16": 1.6, "q8": 1.8, "q4": 2.0}
PREFILL_GOAL = {"bf16": 2.0, "q8": 3.0, "q4": 3.0}
MAMBA1_PREFILL_GOAL, MANY_GOAL, MANY_SMALL_STATE_GOAL = 4.0, 3.0, 4.0


def goal(case, key):
    """The ratio aimed at for one row, or None."""
    if case["model"].startswith("SmolLM2"):
        return 1.0
    if key.startswith("prefill"):
        return MAMBA1_PREFILL_GOAL if case["model"].startswith("mamba-") else PREFILL_GOAL[case["kind"]]
    if key.startswith("decode@"):
        return DECODE_GOAL[case["kind"]]
    if "x16" in key:
        return MANY_SMALL_STATE_GOAL if "bf16" in key else MANY_GOAL
    return None


def label(key):
    words = key.replace("prefill@0", "prefill 512").replace("decode@0", "decode")
    words = words.replace("prefill@", "prefill 512 at depth ").replace("decode@", "decode at depth ")
    return words.replace("decode x", "decode, sessions: ").replace(" bf16 state", " (bf16 state)")


def cell(figure):
    return f"{figure['median']:.0f}" if figure else "-"


def engine(record):
    lines = [
        "| model | type | what | llama.cpp | sillage | ratio | aim |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for case in record["cases"]:
        theirs, mine = (case["figures"].get(side, {}) for side in (RIVAL, OURS))
        for key in dict.fromkeys([*theirs, *mine]):
            # A state in bf16 is held against the same rival figure.
            left, right = theirs.get(key.replace(" bf16 state", "")), mine.get(key)
            ratio = f"{right['median'] / left['median']:.2f}" if left and right else "-"
            aim = goal(case, key)
            lines.append(
                f"| {case['model']} | {case['type']} | {label(key)} | {cell(left)} | {cell(right)} "
                f"| {ratio} | {aim if aim else '-'} |"
            )
    reads = statistics.median(record["bandwidth_gb_s"])
    lines += ["", f"Memory reads in the same run: {reads:.1f} GB/s on {record['threads']} threads (median)."]
    return "\n".join(lines + reach(record, reads))


def reach(record, reads):
    """Decode of one session as a share of what the memory allows.

    A token must read every weight once, and read and write the state.
    """
    lines = []
    for case in record["cases"]:
        mine = case["figures"].get(OURS, {}).get("decode@0")
        if not mine or "state_bytes" not in case or case["model"].startswith("SmolLM2"):
            continue
        touched = case["file_bytes"][OURS] + 2 * case["state_bytes"]
        share = mine["median"] * touched / (reads * 1e9)
        lines.append(f"| {case['model']} | {case['kind']} | {touched / 1e6:.0f} | {share:.0%} |")
    if not lines:
        return []
    head = ["", "| model | type | MB touched a token | share of the memory's speed |", "|---|---|---:|---:|"]
    return head + lines


def agreement(record):
    lines = ["| compared | top-1 | top-1 where clear | mean KL |", "|---|---:|---:|---:|"]
    for key, figures in record.items():
        if isinstance(figures, dict) and "mean_kl" in figures:
            lines.append(
                f"| {key.replace('_cpp', '.cpp').replace('_', ' ')} | {figures['top1_agreement']:.1%} "
                f"| {figures['top1_agreement_where_clear']:.1%} | {figures['mean_kl']:.4f} |"
            )
    return "\n".join(lines)


def flat(record):
    points = record["points"]
    lines = ["| tokens | tokens/s | resident MB |", "|---:|---:|---:|"]
    for point in points:
        lines.append(f"| {point['tokens']:,} | {point['tps']:.1f} | {point['rss_bytes'] / 1e6:.1f} |")
    for key in ("tps", "rss_bytes"):
        values = [point[key] for point in points]
        spread = (max(values) - min(values)) / statistics.median(values)
        lines += ["", f"Spread of {key}: {spread:.1%} of the median."]
    return "\n".join(lines)


def turn(record):
    lines = ["| first token of the second turn | ms | times sooner than cold |", "|---|---:|---:|"]
    for key in ("cold_ms", "warm_ms", "restart_ms"):
        lines.append(f"| {key.removesuffix('_ms')} | {record[key]:.1f} | {record['cold_ms'] / record[key]:.0f} |")
    return "\n".join(lines)


def of_file(path):
    """One result file as Markdown, under a line that says where it came from."""
    record = json.loads(Path(path).read_text(encoding="utf-8"))
    if "part" in record:
        return serving.of_file(path)
    kinds = {"cases": engine, "points": flat, "cold_ms": turn, "tokens": agreement}
    shape = next((render for key, render in kinds.items() if key in record), None)
    if shape is None:
        raise SystemExit(f"{path} holds none of {', '.join(kinds)}")
    cpu = record["machine"].get("cpu", "unknown CPU")
    title = f"{record['at'][:10]}, revision {record['revision']}, {cpu}, {record['machine']['cpus']} cores, "
    return f"{title}{record['rival']}\n\n{shape(record)}\n"


if __name__ == "__main__":
    for given in sys.argv[1:]:
        print(of_file(given))
