"""What letters alone make of the names of names.py, so that only the others need an entry."""

import argparse
import json
from pathlib import Path

import torch

import names
import source
from build_lexicon import extras
from train_letters import ACCENTS, LONGEST_WORD, Letters, batch, examples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=source.WORK)
    options = parser.parse_args()
    _, inventory = examples(options.work)
    model = Letters(len(inventory))
    model.load_state_dict(torch.load(options.work / "letters.pt"))
    model.eval()
    spoken: dict[str, dict[str, str]] = {}
    for index, accent in enumerate(ACCENTS):
        gold, silver = source.dictionaries(accent, options.work)
        known = {word.lower() for table in (gold, silver) for word in table} | set(extras())
        words = sorted((w for w in names.extra(known, options.work) if len(w) <= LONGEST_WORD), key=len)
        spoken[accent] = {}
        for start in range(0, len(words), 512):
            part = words[start : start + 512]
            letters, lengths, accents, _, _ = batch([(index, word, "", None) for word in part], len(inventory))
            for word, codes in zip(part, model.greedy(letters, lengths, accents).tolist()):
                spoken[accent][word] = "".join(inventory[code] for code in codes[: len(word)])
        print(f"{accent}: {len(words):,} names", flush=True)
    (options.work / "names.json").write_text(json.dumps(spoken, ensure_ascii=False))


if __name__ == "__main__":
    main()
