"""Reading the books, packing them to tokens, and the order in which training sees them."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

WORK = Path(__file__).resolve().parent / "work"  # where the stages leave what they make
END = 0  # <|endoftext|>: stands before every book, and after the last
# A cut before " word" inside a line can change no token: the pre-tokenizer starts
# a new piece there whatever follows.
_CUT = re.compile(r"(?<=[a-z])(?= [a-z])")


def books(data: Path, split: str) -> Iterator[str]:
    """The `text` field of every book. Stray byte-order marks are dropped."""
    import zstandard  # here, so that a machine that only trains can do without it

    with open(data / f"classic-books.{split}.jsonl.zst", "rb") as file:
        stream = zstandard.ZstdDecompressor().stream_reader(file)
        for line in io.TextIOWrapper(stream, encoding="utf-8"):
            yield json.loads(line)["text"].replace("\ufeff", "")


def pieces(text: str, size: int = 20_000) -> Iterator[str]:
    """A book in parts of about `size` characters whose tokens, joined, are the book's."""
    start = 0
    while start < len(text):
        cut = _CUT.search(text, start + size)
        stop = cut.start() if cut else len(text)
        yield text[start:stop]
        start = stop


def pack(tokenizer: Tokenizer, data: Path, split: str) -> tuple[np.ndarray, list[dict]]:
    """All books as one uint16 array, END before each; and where each book lies."""
    parts, index, at = [], [], 0
    for text in books(data, split):
        ids = [np.array([END], dtype=np.uint16)]
        ids += [np.array(e.ids, dtype=np.uint16) for e in tokenizer.encode_batch(list(pieces(text)))]
        book = np.concatenate(ids)
        index.append({"start": at, "tokens": len(book), "bytes": len(text.encode())})
        parts.append(book)
        at += len(book)
    parts.append(np.array([END], dtype=np.uint16))
    return np.concatenate(parts), index


class Schedule:
    """Which window of the corpus each batch row reads at each step: a pure function of
    the seed and the step, so a resumed run reads exactly what it would have read.

    The corpus is cut into stretches of `span` consecutive windows. A row reads one
    stretch window after window (a recurrent model carries its state along), then takes
    the next from a shuffled list; rows start their stretches at different steps. Each
    pass over the corpus shuffles anew and shifts the grid by a random offset.
    """

    def __init__(self, tokens: int, batch: int, window: int, span: int, seed: int):
        self.batch, self.window, self.span, self.seed = batch, window, span, seed
        self.length = span * window
        self.stretches = (tokens - 1) // self.length - 1
        if self.stretches < 1:
            raise ValueError(f"{tokens} tokens are too few for windows of {window} in stretches of {span}")
        self._passes: dict[int, tuple[np.ndarray, int]] = {}

    def _pass(self, number: int) -> tuple[np.ndarray, int]:
        if number not in self._passes:
            random = np.random.default_rng([self.seed, number])
            self._passes[number] = random.permutation(self.stretches), int(random.integers(self.length))
        return self._passes[number]

    def starts(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """First token of each row's window, and whether the row begins a new stretch."""
        starts = np.empty(self.batch, dtype=np.int64)
        fresh = np.empty(self.batch, dtype=bool)
        for row in range(self.batch):
            turn, part = divmod(step + row % self.span, self.span)
            number, place = divmod(turn * self.batch + row, self.stretches)
            order, offset = self._pass(number)
            starts[row] = order[place] * self.length + part * self.window + offset
            fresh[row] = part == 0 or step == 0
        return starts, fresh
