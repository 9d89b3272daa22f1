"""Part-of-speech tagger: an averaged perceptron over hashed features, a few hundred kilobytes.

Trained on the silver tags of tags.py, exported to crates/sillage-text/data/tagger.bin.
"""

import argparse
import random
import time
from pathlib import Path

import numpy as np
from numba import njit

import source
import tags
from build_lexicon import DATA

BASIS, PRIME = 2166136261, 16777619
COLUMNS = ("word", "suffix3", "suffix2", "shape")
TEMPLATES = 17
BEFORE, AFTER, NONE = "<s>", "</s>", 0


def fnv(text: str) -> int:
    value = BASIS
    for byte in text.encode():
        value = (value ^ byte) * PRIME & 0xFFFFFFFF
    return value


def shape(word: str) -> str:
    if word[0].isdigit():
        return "0"
    if not word[0].isalpha() and word[0] != "'":
        return "."
    if word[0].isupper():
        return "XX" if len(word) > 1 and word[1:].upper() == word[1:] else "X"
    return "x" if word.lower() == word else "xX"


def columns(word: str) -> tuple[int, ...]:
    lower = "<num>" if word[0].isdigit() else word.lower()
    return fnv(lower), fnv(lower[-3:]), fnv(lower[-2:]), fnv(shape(word))


@njit(cache=True)
def mix(template, a, b):
    value = np.uint64(template) * np.uint64(0x9E3779B1) + np.uint64(a)
    value = (value ^ (value >> np.uint64(15))) * np.uint64(0x85EBCA6B) & np.uint64(0xFFFFFFFF)
    value = (value ^ np.uint64(b)) * np.uint64(0xC2B2AE35) & np.uint64(0xFFFFFFFF)
    return value ^ (value >> np.uint64(13))


@njit(cache=True)
def features(rows, at, t1, t2, out):
    """rows: hashed columns with two rows of padding before and two after; at counts the padding."""
    w, before, after = rows[at, 0], rows[at - 1, 0], rows[at + 1, 0]
    out[0] = mix(1, w, 0)
    out[1] = mix(2, rows[at, 1], rows[at, 3])
    out[2] = mix(3, rows[at, 2], 0)
    out[3] = mix(4, rows[at, 3], rows[at - 1, 3])
    out[4] = mix(5, t1, 0)
    out[5] = mix(6, t1, t2)
    out[6] = mix(7, t1, w)
    out[7] = mix(8, before, 0)
    out[8] = mix(9, before, w)
    out[9] = mix(10, rows[at - 2, 0], 0)
    out[10] = mix(11, after, 0)
    out[11] = mix(12, after, w)
    out[12] = mix(13, rows[at + 2, 0], 0)
    out[13] = mix(14, rows[at + 1, 1], t1)
    out[14] = mix(15, rows[at - 1, 1], 0)
    out[15] = mix(16, rows[at + 1, 1], w)
    out[16] = mix(17, rows[at, 1], t1)


@njit(cache=True)
def find(keys, key):
    mask = len(keys) - 1
    at = np.int64(key * np.uint64(0x9E3779B1) & np.uint64(mask))
    while keys[at] != 0 and keys[at] != key:
        at = (at + 1) & mask
    return at


@njit(cache=True)
def count(rows, starts, gold, keys, counts):
    out = np.zeros(TEMPLATES, np.uint64)
    for s in range(len(starts) - 1):
        t1, t2 = NONE, NONE
        for at in range(starts[s] + 2, starts[s + 1] - 2):
            features(rows, at, t1, t2, out)
            for f in out:
                slot = find(keys, f)
                keys[slot] = f
                counts[slot] += 1
            t1, t2 = gold[at] + 1, t1


@njit(cache=True)
def predict(out, keys, ids, weights, scores):
    scores[:] = 0.0
    for f in out:
        slot = find(keys, f)
        if keys[slot] == f and ids[slot] >= 0:
            scores += weights[ids[slot]]
    return np.argmax(scores)


@njit(cache=True)
def epoch(rows, starts, gold, order, keys, ids, weights, total, clock):
    """One pass; returns the share of right tags and the clock. total holds clock-weighted updates."""
    out, scores = np.zeros(TEMPLATES, np.uint64), np.zeros(weights.shape[1], np.float32)
    right = seen = 0
    for s in order:
        t1, t2 = NONE, NONE
        for at in range(starts[s] + 2, starts[s + 1] - 2):
            features(rows, at, t1, t2, out)
            guess = predict(out, keys, ids, weights, scores)
            truth = gold[at]
            clock += 1
            seen += 1
            if guess == truth:
                right += 1
            else:
                for f in out:
                    slot = find(keys, f)
                    if ids[slot] >= 0:
                        weights[ids[slot], truth] += 1.0
                        weights[ids[slot], guess] -= 1.0
                        total[ids[slot], truth] += clock
                        total[ids[slot], guess] -= clock
            t1, t2 = guess + 1, t1
    return right / seen, clock


@njit(cache=True)
def accuracy(rows, starts, gold, keys, ids, weights):
    out, scores = np.zeros(TEMPLATES, np.uint64), np.zeros(weights.shape[1], np.float32)
    right = seen = 0
    for s in range(len(starts) - 1):
        t1, t2 = NONE, NONE
        for at in range(starts[s] + 2, starts[s + 1] - 2):
            features(rows, at, t1, t2, out)
            guess = predict(out, keys, ids, weights, scores)
            right += guess == gold[at]
            seen += 1
            t1, t2 = guess + 1, t1
    return right / seen


def encode(texts, tokenize, seed: int):
    """Hashed columns of all sentences; after a mark the words beyond it are hidden, as they are at run time."""
    rng = random.Random(seed)
    cache: dict[str, tuple[int, ...]] = {}
    before, after = columns(BEFORE), columns(AFTER)
    rows, gold, starts = [], [], [0]
    for text in texts:
        pairs = tags.tagged(tokenize, text)
        if rng.random() < 0.06:
            pairs = [(w.lower(), t) for w, t in pairs]
        segment_start = 0
        for index, (word, tag) in enumerate(pairs):
            if tag == "PCT" or index + 1 == len(pairs):
                part = pairs[segment_start : index + 1]
                context = pairs[max(0, segment_start - 2) : segment_start]
                segment_start = index + 1
                padding = [before] * (2 - len(context)) + [cache.setdefault(w, columns(w)) for w, _ in context]
                rows += padding + [cache.setdefault(w, columns(w)) for w, _ in part] + [after] * 2
                gold += [0] * 2 + [tags.TAGS.index(t) for _, t in part] + [0] * 2
                starts.append(len(rows))
    return np.array(rows, np.uint64), np.array(gold, np.int64), np.array(starts, np.int64)


def export(keys, ids, weights, path: Path, least: float) -> None:
    """A scale (f32), then rows by ascending hash: hash difference as a varint, pairs, (tag, int8) each."""
    scale = np.percentile(np.abs(weights[np.abs(weights) > 0]), 99.9) / 127
    ints = np.clip(np.round(weights / scale), -127, 127).astype(np.int64)
    ints[np.abs(ints) < least] = 0
    found = sorted((int(k), i) for k, i in zip(keys, ids) if k != 0 and i >= 0 and ints[i].any())
    out = bytearray()
    previous = 0
    for key, row in found:
        delta, previous = key - previous, key
        while delta >= 128:
            out.append(delta & 127 | 128)
            delta >>= 7
        out.append(delta)
        used = np.flatnonzero(ints[row])
        out.append(len(used))
        for tag in used:
            out += bytes([tag, ints[row, tag] & 255])
    path.write_bytes(out)
    weights[:] = ints
    print(f"{path}: {len(found):,} features, {len(out):,} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", type=Path, default=Path("../shared/data/text"))
    parser.add_argument("--work", type=Path, default=source.WORK)
    parser.add_argument("--out", type=Path, default=DATA)
    parser.add_argument("--share", type=float, default=0.06, help="share of the books' paragraphs")
    parser.add_argument("--rarest", type=int, default=20, help="features seen less often are dropped")
    parser.add_argument("--least", type=float, default=5, help="weights below this (of 127) are dropped")
    parser.add_argument("--epochs", type=int, default=6)
    options = parser.parse_args()
    tokenize = tags.hibari(options.work).tokenize
    saved = options.work / f"tags-{options.share}.npz"
    if not saved.exists():
        training = encode(tags.sentences(options.data / "classic-books.train.jsonl.zst", 1, options.share), tokenize, 2)
        test = encode(tags.sentences(options.data / "classic-books.valid.jsonl.zst", 1, options.share), tokenize, 3)
        np.savez(saved, *training, *test)
    arrays = list(np.load(saved).values())
    (rows, gold, starts), (test_rows, test_gold, test_starts) = arrays[:3], arrays[3:]
    keys, counts = np.zeros(1 << 24, np.uint64), np.zeros(1 << 24, np.int64)
    count(rows, starts, gold, keys, counts)
    kept = counts >= options.rarest
    ids = np.where(kept, np.cumsum(kept) - 1, -1)
    print(f"{len(gold):,} tokens, {int((keys > 0).sum()):,} features, {int(kept.sum()):,} kept", flush=True)
    weights = np.zeros((int(kept.sum()), len(tags.TAGS)), np.float32)
    total = np.zeros(weights.shape)
    clock, rng, began = 0, np.random.default_rng(0), time.time()
    for turn in range(options.epochs):
        share, clock = epoch(rows, starts, gold, rng.permutation(len(starts) - 1), keys, ids, weights, total, clock)
        print(f"epoch {turn + 1}: {100 * share:.2f} % while training, {time.time() - began:.0f} s", flush=True)
    average = (weights - total / clock).astype(np.float32)
    print(f"held-out book: {100 * accuracy(test_rows, test_starts, test_gold, keys, ids, average):.2f} %")
    export(keys, ids, average, options.out / "tagger.bin", options.least)
    print(f"as shipped: {100 * accuracy(test_rows, test_starts, test_gold, keys, ids, average):.2f} %")


if __name__ == "__main__":
    main()
