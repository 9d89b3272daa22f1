"""The newest results as Markdown tables and as pictures."""

import json
import math

import material

ORDER = ("sillage", "hibari", "piper", "kokoro", "espeak-ng", "flite")
COLOURS = {"sillage": "#c8472c", "hibari": "#2f6f9f", "piper": "#5b8c5a", "kokoro": "#8a6fae", "espeak-ng": "#8c8c8c", "flite": "#b59f6b"}


def newest(what):
    """The newest record of one kind, or None."""
    found = sorted(material.RESULTS.glob(f"*-{what}.json"))
    return json.loads(found[-1].read_text(encoding="utf-8")) if found else None


def ordered(figures):
    return sorted(figures, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


def heading(record):
    where = record["machine"]
    load = where.get("load", [0])[0]
    return f"{record['at'][:10]}, revision {record['revision']}, {where.get('cpu', '?')}, {where['cpus']} cores, load {load:.1f}"


def number(value, form="{:.1f}"):
    return "-" if value is None else form.format(value)


def timing_table(record):
    lines = []
    for threads, figures in record["timing"].items():
        lines += [
            f"| {threads} | first audio p50, ms | p95, ms | whole sentence p50, ms | RTF | processor RTF | resident MB | peak MB |",
            "|---|---:|---:|---:|---:|---:|---:|---:|",
        ]
        for name in ordered(figures):
            f = figures[name]
            lines.append(
                f"| {name} | {f['first_ms_p50']:.1f} | {f['first_ms_p95']:.1f} | {f['sentence_ms_p50']:.1f} | {f['rtf']:.4f} "
                f"| {number(f.get('cpu_rtf'), '{:.4f}')} | {f['rss_mb']:.0f} | {f['peak_mb']:.0f} |"
            )
        lines.append("")
    return lines


def percent(part):
    return f"{part['wer']:.1%} ± {part['plus_minus']:.1%}" if part else "-"


def wer_table(record):
    figures = record["wer"]
    ears = list(next(iter(figures.values())))
    lines = ["| | " + " | ".join(f"{ear}, {part}" for ear in ears for part in ("all", "plain", "hard")) + " |"]
    lines.append("|---|" + "---:|" * 3 * len(ears))
    for name in ordered(figures):
        cells = [percent(figures[name][ear].get(part)) for ear in ears for part in ("all", "plain", "hard")]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def quality_table(record):
    lines = ["| | DNSMOS overall | signal | background | P.808 | distance to human speech | pitch spread, semitones |", "|---|---:|---:|---:|---:|---:|---:|"]
    floor = None
    for name in ordered(record["quality"]):
        f = record["quality"][name]
        floor = f["listening"]["human_floor"]
        cells = [f"{f[key]:.2f} ± {1.96 * f[key + '_se']:.2f}" for key in ("overall", "signal", "background", "p808")]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {f['listening']['distance']:.2f} | {f['f0_semitones']:.1f} |")
    return [*lines, "", f"Other human readers lie {floor:.2f} from the reference readers." if floor else ""]


def cloning_table(record):
    figures = record["cloning"]
    lines = ["| encoder | clone to its speaker | to the others | nearest is its own | human to the same human | human nearest is own |", "|---|---:|---:|---:|---:|---:|"]
    for label in ("unseen", "eres2net"):
        f = figures.get(label)
        if f:
            lines.append(
                f"| {label} | {f['own']:.2f} ± {1.96 * f['own_se']:.2f} | {f['others']:.2f} | {f['nearest_is_own']:.0%} "
                f"| {f['human_own']:.2f} | {f['human_nearest_is_own']:.0%} |"
            )
    heard = ", ".join(f"{ear} {percent(found)}" for ear, found in figures["wer"].items())
    return [*lines, "", f"WER of the clones: {heard}."]


def hour_table(record):
    lines = ["| | RTF, first half to second | resident MB, first half to second | RTF | resident MB at the end |", "|---|---:|---:|---:|---:|"]
    for name in ordered(record["hour"]):
        f = record["hour"][name]
        if f["points"]:
            mean = sum(p["rtf"] for p in f["points"]) / len(f["points"])
            lines.append(
                f"| {name} | {number(f.get('rtf_drift'), '{:.3f}')} | {number(f.get('rss_mb_drift'), '{:.3f}')} "
                f"| {mean:.4f} | {f['points'][-1]['rss_mb']:.0f} |"
            )
    return lines


def streams_table(record):
    lines = []
    for threads, found in record["streams"].items():
        lines += [f"{threads} threads: {found['most']} live streams.", "", "| streams | first audio p50, ms | p95, ms | slowest stream's RTF | MB |", "|---:|---:|---:|---:|---:|"]
        for row in found["rows"]:
            lines.append(f"| {row['streams']} | {row['first_ms_p50']:.1f} | {row['first_ms_p95']:.1f} | {row['rtf_worst']:.2f} | {row['rss_mb']:.0f} |")
        lines.append("")
    return lines


def voices_table(record):
    ears = list(next(iter(record["voices"].values()))["wer"])
    lines = ["| voice | pitch, Hz | " + " | ".join(f"WER, {ear}" for ear in ears) + " | DNSMOS overall | signal | background | P.808 | nearest other voice |",
             "|---|---:|" + "---:|" * len(ears) + "---:|---:|---:|---:|---|"]  # fmt: skip
    for name, f in record["voices"].items():
        cells = [f"{f['f0_hz']:.0f}", *(f"{f['wer'][ear]['wer']:.1%}" for ear in ears), *(f"{f[key]:.2f}" for key in ("overall", "signal", "background", "p808"))]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {f['nearest']}, {f['nearest_likeness']:.2f} |")
    return lines


def twin_table(record):
    ears = list(record["twin"]["ssm"]["wer"])
    lines = ["| backbone | state at the ends of sentences | speech, s | first audio, ms | RTF | RTF at the end | peak MB | "
             + " | ".join(f"WER, {ear}" for ear in ears) + " |", "|---|---|---:|---:|---:|---:|---:|" + "---:|" * len(ears)]  # fmt: skip
    tail = []
    for label, f in record["twin"].items():
        for key, state in (("lengths", "the voice's"), ("lengths carried", "carried on")):
            for row in f[key]:
                heard = " | ".join(f"{row['wer'][ear]:.1%}" for ear in ears)
                lines.append(
                    f"| {label} | {state} | {row['seconds']:.0f} | {row['first_ms']:.1f} | {row['rtf']:.4f} "
                    f"| {number(row['rtf_at_the_end'], '{:.4f}')} | {row['peak_mb']:.0f} | {heard} |"
                )
        heard = ", ".join(f"{ear} {percent(found)}" for ear, found in f["wer"].items())
        tail.append(f"{label}: {f['streams']['most']} live streams; WER of the 300 sentences {heard}.")
    return [*lines, "", *tail]


def timestamps_table(record):
    keys = ("count", "median_error_ms", "p90_error_ms", "lag_ms", "median_error_without_lag_ms")
    lines = ["| judge | compared | how many | median error, ms | 90 % below, ms | lag, ms | median error without lag, ms |", "|---|---|---:|---:|---:|---:|---:|"]
    names = {"begins": "where words begin", "ends": "where words end", "phonemes": "where phonemes begin"}
    for judge in ("aligner", "whisper"):
        for what, f in record["timestamps"].get(judge, {}).items():
            lines.append(f"| {judge} | {names[what]} | " + " | ".join(f"{f[key]:.0f}" for key in keys) + " |")
    return lines


TABLES = {
    "timing": ("First audio, speed, memory", timing_table),
    "wer": ("Word error rate", wer_table),
    "quality": ("Quality", quality_table),
    "cloning": ("Cloning", cloning_table),
    "voices": ("The voices that ship", voices_table),
    "streams": ("Live streams", streams_table),
    "hour": ("An hour of text", hour_table),
    "timestamps": ("Timestamps", timestamps_table),
    "twin": ("The attention twin", twin_table),
}


def tables():
    for what, (title, make) in TABLES.items():
        record = newest(what)
        if record:
            print(f"### {title}\n\n{heading(record)}\n")
            print("\n".join(make(record)).rstrip() + "\n")


def colour(name):
    return COLOURS.get(name.partition(",")[0].partition(":")[0], "#444444")


def bars(axis, names, values, label, form="{:.1f}", errors=None):
    places = range(len(names))
    axis.barh(places, values, color=[colour(name) for name in names], xerr=errors, ecolor="#333333")
    axis.set_yticks(places, names)
    axis.invert_yaxis()
    axis.set_xlabel(label)
    for place, value in zip(places, values, strict=True):
        axis.annotate(form.format(value), (value, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)


def decades(axis, values, which):
    """A logarithmic axis that begins and ends at whole decades."""
    found = [value for value in values if value and value > 0]
    if found:
        limits = 10.0 ** math.floor(math.log10(min(found)) - 0.1), 10.0 ** math.ceil(math.log10(max(found)) + 0.3)
        axis.set(**{f"{which}scale": "log", f"{which}lim": limits})


def plot_timing(pyplot, record):
    figures = record["timing"].get("threads 1") or next(iter(record["timing"].values()))
    names = ordered(figures)
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 0.45 * len(names) + 1.2), layout="constrained")
    for axis, key, label, form in (
        (left, "first_ms_p95", "time to first audio, p95, ms", "{:.1f}"),
        (right, "rtf", "real-time factor, one thread", "{:.4f}"),
    ):
        values = [figures[name][key] for name in names]
        bars(axis, names, values, label, form)
        decades(axis, values, "x")
    return figure


def plot_wer(pyplot, record):
    figures = record["wer"]
    names = [name for name in ordered(figures) if not name.startswith("human")]
    ears = list(figures[names[0]])
    figure, axes = pyplot.subplots(1, len(ears), figsize=(9, 0.45 * len(names) + 1.2), layout="constrained", squeeze=False)
    for axis, ear in zip(axes[0], ears, strict=True):
        rates = [100 * figures[n][ear]["all"]["wer"] for n in names]
        bars(axis, names, rates, f"WER by {ear}, %", errors=[100 * figures[n][ear]["all"]["plus_minus"] for n in names])
    return figure


def plot_quality(pyplot, record):
    figures = record["quality"]
    names = ordered(figures)
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 0.45 * len(names) + 1.2), layout="constrained")
    bars(left, names, [figures[n]["overall"] for n in names], "DNSMOS overall", "{:.2f}")
    left.set_xlim(1, 4.5)
    bars(right, names, [figures[n]["listening"]["distance"] for n in names], "distance to human speech (less is nearer)", "{:.1f}")
    return figure


def plot_hour(pyplot, record):
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3), layout="constrained")
    for name in ordered(record["hour"]):
        found = record["hour"][name]["points"]
        minutes = [p["at_s"] / 60 for p in found]
        style = {"label": name, "color": colour(name), "linestyle": "--" if "utterance" in name else "-"}
        left.plot(minutes, [p["rtf"] for p in found], **style)
        right.plot(minutes, [p["rss_mb"] for p in found], **style)
    for axis, key, label in ((left, "rtf", "real-time factor"), (right, "rss_mb", "resident MB")):
        axis.set(xlabel="minutes of speech", ylabel=label)
        decades(axis, [p[key] for f in record["hour"].values() for p in f["points"]], "y")
    left.legend(fontsize=8, frameon=False)
    return figure


TWINS = {"ssm": "#c8472c", "attention": "#2f6f9f"}


def plot_twin(pyplot, record):
    figure, axes = pyplot.subplots(1, 3, figsize=(10, 3), layout="constrained")
    for label, f in record["twin"].items():
        for which, style in (("lengths", "o-"), ("lengths carried", "s--")):
            seconds = [row["seconds"] for row in f[which]]
            for axis, key in zip(axes, ("first_ms", "rtf_at_the_end", "peak_mb"), strict=True):
                name = label if which == "lengths" else f"{label}, carried on"
                axis.plot(seconds, [row[key] or row["rtf"] for row in f[which]], style, label=name, color=TWINS[label])
    for axis, label in zip(axes, ("first audio, ms", "RTF at the end of the text", "peak MB"), strict=True):
        axis.set(xlabel="seconds of speech", ylabel=label, xscale="log")
    axes[0].legend(frameon=False)
    return figure


PLOTS = {"timing": plot_timing, "wer": plot_wer, "quality": plot_quality, "hour": plot_hour, "twin": plot_twin}


def plots(folder):
    """An SVG and a PNG for every kind of result there is."""
    import matplotlib

    matplotlib.use("Agg")
    # Without a fixed salt and date every run would write other bytes.
    matplotlib.rcParams["svg.hashsalt"] = "voice"
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    for what, draw in PLOTS.items():
        record = newest(what)
        if record:
            figure = draw(pyplot, record)
            figure.savefig(folder / f"voice-{what}.svg", metadata={"Date": None})
            figure.savefig(folder / f"voice-{what}.png", dpi=110)
            pyplot.close(figure)
            print(folder / f"voice-{what}.svg")
