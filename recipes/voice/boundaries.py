"""Where the aligner hears the phonemes of a sound: the second opinion on the times that the runtime tells.

    python boundaries.py CLASSIFIER < REQUESTS

CLASSIFIER is `stages/classifier2.pt` of a prepared folder. A request is a line of JSON, {"wav": file, "words":
[["h", "ə", ...], ...]}; its answer is a line too: for every word a list of [begin, end] in seconds, one a phoneme,
or null where the sound is shorter than its phonemes.
"""

import json
import sys
from pathlib import Path

import torch

import align
import data
from units import BOS, EOS, PHONES, SPACE, Units


def units_of(words: list[list[str]]) -> Units:
    units = Units()
    units.add(BOS)
    for number, word in enumerate(words):
        if number:
            units.add(SPACE)
        for phoneme in word:
            if phoneme in PHONES:
                units.add(phoneme)
    units.add(EOS)
    return units


def boundaries(hearing: tuple, wav: Path, words: list[list[str]]) -> list | None:
    model, prior = hearing
    try:
        found, _ = align.align(align.hear(model, data.decode(wav.read_bytes())), units_of(words), prior)
    except ValueError:
        return None
    at, places = 0, []
    for symbol, steps in zip(found.symbols, found.durations):
        if symbol in PHONES:
            places.append([at * data.STEP / data.RATE, (at + steps) * data.STEP / data.RATE])
        at += steps
    rest = iter(places)
    return [[next(rest) for phoneme in word if phoneme in PHONES] for word in words]


def main() -> None:
    saved = torch.load(sys.argv[1], weights_only=False)
    model = align.Classifier()
    model.load_state_dict(saved["model"])
    hearing = (model.eval(), saved["prior"])
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(boundaries(hearing, Path(request["wav"]), request["words"])), flush=True)


if __name__ == "__main__":
    main()
