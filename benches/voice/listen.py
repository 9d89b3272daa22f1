"""A quick ear for sound files: what is heard, how it scores, and a picture.

    python listen.py FILE... [--text "the words spoken"] [--out DIR] [--no-picture]

Prints, for every file, the transcripts (with WER if --text is given, once for every
file or once for all), DNSMOS and pitch, and saves <DIR>/<name>.png: log-mel
spectrogram with the pitch track, and the waveform.
"""

import argparse
from pathlib import Path

import audio
import material
import normalise
import numpy as np
import quality
import recognise


def picture(path, target):
    """A spectrogram (to 12 kHz), its pitch, and the waveform, as one PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    sound, rate = audio.read(path)
    sound = sound[: rate * 12]
    n_fft, hop = 1024, max(1, rate // 200)
    mel = audio.power_mel(sound.astype(np.float64), rate, n_fft, hop, 120)
    decibels = 10 * np.log10(np.maximum(mel, 1e-10))
    track = audio.pitch(audio.resampled(sound, rate, audio.METER_RATE), audio.METER_RATE)
    seconds = len(sound) / rate
    figure, (upper, lower) = pyplot.subplots(
        2, 1, figsize=(max(7.0, min(16.0, 3.0 * seconds)), 5.2), height_ratios=(4, 1), sharex=True, layout="constrained"
    )
    top = decibels.max()
    upper.imshow(decibels.T, origin="lower", aspect="auto", extent=(0, seconds, 0, 120), cmap="magma", vmin=top - 80, vmax=top)
    marks = np.array([100, 250, 500, 1000, 2000, 4000, 8000, 11000])
    marks = marks[marks < rate / 2]
    scale = audio.slaney_scale(rate / 2)
    upper.set_yticks(audio.slaney_scale(marks) / scale * 120, [str(mark) for mark in marks])
    upper.set_ylabel("Hz")
    voiced = track > 0
    times = np.arange(len(track)) * 0.01 + 0.02
    upper.plot(times[voiced], audio.slaney_scale(track[voiced]) / scale * 120, ".", color="cyan", markersize=2)
    lower.plot(np.arange(len(sound)) / rate, sound, linewidth=0.4)
    lower.set_ylim(-1, 1)
    lower.set_xlabel("s")
    upper.set_title(Path(path).name)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=90)
    pyplot.close(figure)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("files", nargs="+", type=Path)
    options.add_argument("--text", action="append", help="what was to be said")
    options.add_argument("--out", type=Path, default=material.CACHE / "pictures")
    options.add_argument("--no-picture", action="store_true")
    options.add_argument("--recogniser", action="append", choices=list(recognise.RECOGNISERS))
    given = options.parse_args()
    if given.text and len(given.text) not in (1, len(given.files)):
        options.error("give --text once, or once for every file")
    totals = {}
    for at, path in enumerate(given.files):
        sound, rate = audio.read(path)
        print(f"{path}: {len(sound) / rate:.2f} s at {rate} Hz, peak {np.abs(sound).max(initial=0):.3f}, "
              f"rms {20 * np.log10(np.sqrt(np.mean(sound**2)) + 1e-9):.1f} dB, not finite {np.sum(~np.isfinite(sound))}")  # fmt: skip
        words = given.text[at if len(given.text) > 1 else 0] if given.text else None
        for name in given.recogniser or recognise.RECOGNISERS:
            heard = recognise.transcript(path, name)
            note = ""
            if words:
                wrong, count = normalise.errors([words], heard["text"])
                note = f"  [{wrong}/{count} wrong]"
                totals[name] = np.add(totals.get(name, (0, 0)), (wrong, count))
            sure = f" (confidence {heard['confidence']:.2f})" if heard.get("confidence") is not None else ""
            print(f"  {name}: {heard['text']}{sure}{note}")
        scores = quality.measured(path)
        print("  DNSMOS " + ", ".join(f"{key} {scores[key]:.2f}" for key in ("overall", "signal", "background", "p808")))
        if scores["f0_hz"]:
            print(f"  pitch {scores['f0_hz']:.0f} Hz, spread {scores['f0_semitones']:.1f} semitones, voiced {scores['voiced']:.0%}")
        if not given.no_picture:
            target = given.out / f"{path.parent.name}-{path.stem}.png"
            picture(path, target)
            print(f"  {target}")
    for name, (wrong, count) in totals.items():
        print(f"{name}: WER {wrong / max(1, count):.2%} ({wrong} of {count} words)")


if __name__ == "__main__":
    main()
