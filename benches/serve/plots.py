"""Pictures of the server's figures, from the raw results.

    python benches/serve/plots.py     docs/plots/serve-streams.svg and serve-load.svg
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS, PLOTS = ROOT / "benches" / "results", ROOT / "docs" / "plots"
# Files are the same from the same results.
plt.rcParams["svg.hashsalt"] = "sillage"


def newest(what):
    found = sorted(RESULTS.glob(f"*-serve-{what}.json"))
    if not found:
        sys.exit(f"there is no result {what}: scripts/bench serve voice --parts {what}")
    return json.loads(found[-1].read_text())


def streams():
    cases = newest("streams")["cases"]
    counts = [case["streams"] for case in cases]
    figure, left = plt.subplots(figsize=(6.4, 3.4))
    for key, name in (("first_ms_p50", "half"), ("first_ms_p95", "95 of 100")):
        left.plot(counts, [case[key] for case in cases], marker="o", label=f"first sound, {name}")
    left.set(xlabel="listeners at once", ylabel="milliseconds", ylim=(0, 14))
    right = left.twinx()
    cores = [case["server_cores"] for case in cases]
    right.plot(counts, cores, color="grey", linestyle=":", marker=".", label="cores (right)")
    right.set(ylabel="cores", ylim=(0, 2))
    lines = left.get_legend_handles_labels(), right.get_legend_handles_labels()
    left.legend(lines[0][0] + lines[1][0], lines[0][1] + lines[1][1], loc="upper left", frameon=False)
    save(figure, "serve-streams")


def load():
    result = newest("load")
    # A measurement lasts half a minute and the end of the texts begun in it.
    each = result["minutes"] / len(result["cases"])
    minutes = [each * (at + 1) for at in range(len(result["cases"]))]
    figure, left = plt.subplots(figsize=(6.4, 3.4))
    left.plot(minutes, [case["first_ms_p95"] for case in result["cases"]], label="first sound, 95 of 100, ms")
    memory = [case["memory"]["rss"] / 1e6 for case in result["cases"]]
    left.plot(minutes, memory, color="grey", linestyle=":", label="resident MB")
    left.set(xlabel=f"minutes of {result['streams']} listeners", ylim=0)
    left.legend(frameon=False)
    save(figure, "serve-load")


def save(figure, name):
    figure.tight_layout()
    figure.savefig(PLOTS / f"{name}.svg", metadata={"Date": None})
    figure.savefig(PLOTS / f"{name}.png", dpi=110, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    streams()
    load()
