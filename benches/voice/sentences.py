"""The sentences that every engine speaks, and what is to be heard.

    python sentences.py            counts, and a check that no training text holds one of them
"""

import itertools
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import material

FILE = Path(__file__).with_name("sentences.txt")


@dataclass(frozen=True)
class Sentence:
    """`kind` is plain or hard; `references` are the spoken forms that count as right."""

    number: int
    kind: str
    text: str
    references: tuple

    @property
    def name(self):
        return f"{self.number:03d}"


def alternatives(spoken):
    """Opens {a|b} into every combination."""
    parts = [part.split("|") for part in re.split(r"[{}]", spoken)]
    return tuple("".join(choice) for choice in itertools.product(*parts))


def load(path=FILE):
    """The sentences in file order, numbered from 0."""
    found = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        kind, text, *spoken = line.split("\t")
        references = alternatives(spoken[0]) if spoken else (text,)
        found.append(Sentence(len(found), kind, text, references))
    return found


def plain_form(text):
    return " ".join(re.findall(r"[a-z0-9']+", text.lower()))


def training_texts(folder):
    """Every text beside the training speech."""
    manifest = folder / "MANIFEST.tsv"
    if manifest.exists():
        for line in manifest.read_text(encoding="utf-8").splitlines()[1:]:
            yield line.split("\t")[-1]
    for table in folder.glob("*.jsonl"):
        for line in table.read_text(encoding="utf-8").splitlines():
            yield json.loads(line).get("text", "")


def main(folders):
    found = load()
    kinds = [sentence.kind for sentence in found]
    print(f"{len(found)} sentences: {kinds.count('plain')} plain, {kinds.count('hard')} hard")
    mine = {plain_form(sentence.text): sentence for sentence in found}
    if len(mine) != len(found):
        raise SystemExit("two sentences are the same")
    texts = 0
    for folder in folders:
        for text in training_texts(Path(folder)):
            texts += 1
            if plain_form(text) in mine:
                raise SystemExit(f"training holds a sentence of the benchmark: {text}")
    print(f"none of them among {texts} training texts")


if __name__ == "__main__":
    main(sys.argv[1:] or [material.VOICE_DATA])
