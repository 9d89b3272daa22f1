"""The raw results of `text.py` as the tables of docs/benchmarks.md.

    python benches/serve/tables.py benches/results/<date>-serve-*.json
"""

import json
import statistics
import sys
from pathlib import Path

RIVAL, OURS = "llama-server", "sillage"


def median(values):
    return statistics.median(values)


def ms(seconds):
    return f"{seconds * 1000:,.0f}" if seconds >= 0.1 else f"{seconds * 1000:.1f}"


def undisturbed(runs):
    """Those during which others left the machine alone; all of them if there are none."""
    return [run for run in runs if not run["machine"]["disturbed"]] or runs


def warnings(record):
    """A line for every side of a case that others never left alone."""
    lines = []
    for case in record["cases"]:
        for side in (RIVAL, OURS):
            runs = case["runs"][side]
            for which, listed in runs.items() if isinstance(runs, dict) else [("", runs)]:
                if all(run["machine"]["disturbed"] for run in listed):
                    most = max(run["machine"]["others"] for run in listed)
                    named = " ".join(part for part in (case["model"], case["type"], side, which) if part)
                    lines.append(f"- **Disturbed**: {named}; others used up to {most:.2f} cores in every run.")
    return ["", *lines] if lines else []


def figure(runs, key):
    values = [run[key] for run in runs if key in run]
    return median(values) if values else None


def others(runs):
    """How much of the two cores went to other programs, at worst."""
    shares = [run["machine"].get("others") for run in runs]
    return max((share for share in shares if share is not None), default=0.0)


def chats(record):
    lines = [
        "| model | type | chats | what | llama-server | sillage | ratio | engine alone | others, cores |",
        "|---|---|---:|---|---:|---:|---:|---:|---:|",
    ]
    for case in record["cases"]:
        for count in ("16", "1"):
            theirs, mine = (undisturbed(case["runs"][side][count]) for side in (RIVAL, OURS))
            alone = case["runs"]["engine"][count]
            for key, what in (("steady", "writing"), ("whole", "asked to answered")):
                left, right = figure(theirs, key), figure(mine, key)
                if not left or not right:
                    continue
                engine = f"{median(alone):.0f}" if alone and key == "steady" else "-"
                lines.append(
                    f"| {case['model']} | {case['type']} | {count} | {what} | {left:.0f} | {right:.0f} "
                    f"| {right / left:.2f} | {engine} | {others(theirs):.2f}, {others(mine):.2f} |"
                )
    lines += ["", *(tuning(case) for case in record["cases"]), *warnings(record)]
    return "\n".join(lines)


def tuning(case):
    tried = ", ".join(f"`{label}` {rate:.0f}" for label, rate in case["tuning"]["tried"].items())
    tried = f" (tokens/s tried: {tried})" if tried else ""
    return f"- {case['model']} {case['type']}: llama-server with `{case['tuning']['chosen']}`{tried}"


TURNS = (
    ("cold", "cold, all read", "cold", "cold"),
    ("second", "second turn, by answer's id (sillage), slot (llama-server)", "second", "second"),
    ("second_whole", "second turn, whole history sent", "second_whole", "second"),
    ("restarted", "after kill -9, by answer's id; slot file restored", "restarted", "restarted"),
    ("restarted_whole", "after kill -9, whole history sent", "restarted_whole", "restarted"),
)


def first(runs, key, restore=False):
    name = "first_with_restore_s" if restore else "first_s"
    values = [run[key].get(name, run[key]["first_s"]) for run in runs]
    reads = [run[key]["read"] for run in runs]
    return median(values), median(reads)


def turns(record):
    lines = [
        "| model | type | first token | llama-server, ms | tokens read | sillage, ms | tokens read | times sooner |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for case in record["cases"]:
        theirs, mine = (undisturbed(case["runs"][side]) for side in (RIVAL, OURS))
        for _, what, own, other in TURNS:
            left, left_read = first(theirs, other, restore=other == "restarted")
            right, right_read = first(mine, own)
            lines.append(
                f"| {case['model']} | {case['type']} | {what} | {ms(left)} | {left_read:.0f} "
                f"| {ms(right)} | {right_read:.0f} | {left / right:.1f} |"
            )
    for case in record["cases"]:
        ready = {side: median([run["ready_s"] for run in undisturbed(case["runs"][side])]) for side in (RIVAL, OURS)}
        saves = undisturbed(case["runs"][RIVAL])
        lines += ["", f"{case['model']} {case['type']}: start to ready {ready[RIVAL]:.2f} s (llama-server), "
                  f"{ready[OURS]:.2f} s (sillage); saving its slot took llama-server "
                  f"{ms(median([run['save']['seconds'] for run in saves]))} ms, restoring "
                  f"{ms(median([run['restore']['seconds'] for run in saves]))} ms (counted above)"
                  + ("" if all(run["restore"]["worked"] for run in saves) else "; **restoring failed**") + "."]  # fmt: skip
    return "\n".join(lines + warnings(record))


def shared(record):
    lines = [
        "| model | type | two prompts | llama-server read | both begun, s | sillage read | both begun, s | times sooner |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for case in record["cases"]:
        for how in ("after", "at once"):
            cells, times = [], []
            for side in (RIVAL, OURS):
                runs = undisturbed(case["runs"][side][how])
                reads = [median([run["turns"][n]["read"] for run in runs]) for n in (0, 1)]
                times.append(median([run["both_first_s"] for run in runs]))
                cells.append(f"{reads[0]:.0f} + {reads[1]:.0f} | {times[-1]:.2f}")
            what = "one after the other" if how == "after" else how
            lines.append(
                f"| {case['model']} | {case['type']} | {what} | {cells[0]} | {cells[1]} | {times[0] / times[1]:.1f} |"
            )
    return "\n".join(lines + warnings(record))


def idle(record):
    lines = [
        "| model | type | MB an idle conversation: llama-server | sillage | resident at rest, MB: llama-server | sillage |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for case in record["cases"]:
        theirs, mine = case["found"][RIVAL], case["found"][OURS]
        lines.append(
            f"| {case['model']} | {case['type']} | {theirs['bytes_each'] / 1e6:.2f} | {mine['bytes_each'] / 1e6:.2f} "
            f"| {theirs['started']['rss'] / 1e6:.0f} | {mine['started']['rss'] / 1e6:.0f} |"
        )
    return "\n".join(lines)


def thousands(record):
    lines = ["| idle conversations | resident MB | states in memory, MB | on disk, GB | seconds |", "|---:|---:|---:|---:|---:|"]
    for point in record["growth"]:
        lines.append(
            f"| {point['conversations']:,} | {point['rss'] / 1e6:.0f} | {point['states']['memory_bytes'] / 1e6:.0f} "
            f"| {point['disk_files_bytes'] / 1e9:.2f} | {point['seconds']:.0f} |"
        )
    for key, when in (("resumed", "while it ran"), ("resumed_after_restart", "after kill -9 and a restart")):
        found = record[key]
        lines += ["", f"Gone on from {found['asked']} {when}: {found['same']} said the same as unbroken, "
                  f"{found['lost']} lost; {found['from_disk']} states came from disk; 16 tokens took "
                  f"{ms(median(found['seconds']))} ms (median), {ms(max(found['seconds']))} ms at most; "
                  f"at most {max(found['read'])} tokens were read."]  # fmt: skip
    lines += ["", f"Ready {record['restart_ready_s']:.2f} s after the restart; "
              f"{record['after_restart']['rss'] / 1e6:.0f} MB resident then."]  # fmt: skip
    return "\n".join(lines)


PARTS = {"chats": chats, "turns": turns, "shared": shared, "idle": idle, "thousands": thousands}


def of_record(record):
    return PARTS[record["part"]](record)


def of_file(path):
    record = json.loads(Path(path).read_text(encoding="utf-8"))
    cpu = record["machine"].get("cpu", "unknown CPU")
    title = f"{record['at'][:10]}, revision {record['revision']}, {cpu}, {record['machine']['cpus']} cores, "
    return f"{title}load {record['machine']['load'][0]:.1f}, {record['rival']}\n\n{of_record(record)}\n"


if __name__ == "__main__":
    for given in sys.argv[1:]:
        print(of_file(given))
