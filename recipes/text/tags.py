"""Silver parts of speech: sentences of public-domain books tagged by hibari's tagger (Apache-2.0).

The tokens are those that the front end sees: words with their contractions whole, compounds in
parts, and the marks that end a phrase; quotes and brackets are left out.
"""

import json
import random
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import zstandard

import source

TAGS = ("NN NNS NNP VB VBP VBZ VBD VBN VBG MD JJ RB RP IN TO DT PRP POS CC CD WH EX UH PCT").split()
SAME = {"NNPS": "NNP", "JJR": "JJ", "JJS": "JJ", "RBR": "RB", "RBS": "RB", "PRP$": "PRP", "PDT": "DT",
        "WDT": "WH", "WP": "WH", "WP$": "WH", "WRB": "WH"}
MARKS = {"--": "—", "–": "—", "...": "…", "—": "—", "…": "…"} | {c: c for c in ",;:.!?"}
SENTENCE = re.compile(r"[^.!?]+[.!?]+[\"'”’)]*(?=\s|$)")


def hibari(work: Path):
    """hibari's text side alone; importing the whole package would load a speech model."""
    package = types.ModuleType("hibari")
    package.__path__ = [str(source.wheel("hibari", work) / "hibari")]
    sys.modules["hibari"] = package
    from hibari.g2p import G2P

    return G2P(oov=False)


def sentences(path: Path, seed: int, share: float) -> Iterator[str]:
    rng = random.Random(seed)
    with zstandard.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            for paragraph in json.loads(line)["text"].split("\n\n"):
                if rng.random() < share:
                    for match in SENTENCE.finditer(" ".join(paragraph.split())):
                        text = match.group().strip().replace("*", "").replace("_", "")
                        if 12 < len(text) < 300:
                            yield text


def tagged(tokenize, text: str) -> list[tuple[str, str]]:
    """(token, tag) pairs as the front end cuts them."""
    out: list[tuple[str, str]] = []
    group: list = []

    def close() -> None:
        if group:
            weight = lambda tk: sum(1 if c == c.lower() else 2 for c in tk.text)
            out.append(("".join(tk.text for tk in group), max(group, key=weight).tag))
            group.clear()

    for token in tokenize(text.replace("’", "'")):
        if token.text in MARKS:
            close()
            out.append((MARKS[token.text], "PCT"))
        elif any(c.isalnum() for c in token.text):
            group.append(token)
        else:
            close()
        if token.whitespace:
            close()
    close()
    final = []
    for word, tag in out:
        tag = SAME.get(tag, tag)
        final.append((word, tag if tag in TAGS else "NN"))
    return final
