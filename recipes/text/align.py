"""Which letters make which sounds: expectation maximisation over letter -> 0 to 3 phoneme units."""

import numpy as np
from numba import njit

LETTERS = "abcdefghijklmnopqrstuvwxyz'"
LONGEST = 3


@njit(cache=True)
def chunk_key(phones, start, count, base):
    key = 0
    for k in range(count):
        key = key * base + phones[start + k] + 1
    return key


@njit(cache=True)
def expect(letters, phones, table, counts, base, alpha, beta):
    """Adds one word's expected chunk counts; returns the word's likelihood."""
    n, m = len(letters), len(phones)
    alpha[: n + 1, : m + 1] = 0.0
    beta[: n + 1, : m + 1] = 0.0
    alpha[0, 0] = 1.0
    beta[n, m] = 1.0
    for i in range(n):
        for j in range(m + 1):
            if alpha[i, j] > 0.0:
                for c in range(min(LONGEST, m - j) + 1):
                    alpha[i + 1, j + c] += alpha[i, j] * table[letters[i], chunk_key(phones, j, c, base)]
    total = alpha[n, m]
    if total <= 0.0:
        return 0.0
    for i in range(n - 1, -1, -1):
        for j in range(m + 1):
            for c in range(min(LONGEST, m - j) + 1):
                key = chunk_key(phones, j, c, base)
                weight = table[letters[i], key] * beta[i + 1, j + c]
                beta[i, j] += weight
                counts[letters[i], key] += alpha[i, j] * weight / total
    return total


@njit(cache=True)
def best(letters, phones, table, base, out):
    """Viterbi: how many phonemes each letter makes. False if no path exists."""
    n, m = len(letters), len(phones)
    score = np.full((n + 1, m + 1), -1e30)
    back = np.zeros((n + 1, m + 1), np.int64)
    score[0, 0] = 0.0
    for i in range(n):
        for j in range(m + 1):
            if score[i, j] > -1e29:
                for c in range(min(LONGEST, m - j) + 1):
                    p = table[letters[i], chunk_key(phones, j, c, base)]
                    if p > 0.0 and score[i, j] + np.log(p) > score[i + 1, j + c]:
                        score[i + 1, j + c] = score[i, j] + np.log(p)
                        back[i + 1, j + c] = c
    if score[n, m] < -1e29:
        return False
    j = m
    for i in range(n, 0, -1):
        out[i - 1] = back[i, j]
        j -= back[i, j]
    return True


def align(pairs: list[tuple[str, list[str]]], rounds: int = 8) -> list[list[str] | None]:
    """For each (word, units) the units of every letter joined to a chunk, or None if it cannot be."""
    index = {unit: i for i, unit in enumerate(sorted({u for _, units in pairs for u in units}))}
    base = len(index) + 1
    encoded = [(np.array([LETTERS.index(c) for c in w]), np.array([index[u] for u in us])) for w, us in pairs]
    table = np.ones((len(LETTERS), base**LONGEST), np.float32)
    table[:, 0] = 0.3
    size = max(max(len(w), len(u)) for w, u in encoded) + 2
    alpha, beta = np.zeros((size, size)), np.zeros((size, size))
    for turn in range(rounds):
        counts = np.zeros_like(table)
        for letters, phones in encoded:
            expect(letters, phones, table, counts, base, alpha, beta)
        # A chunk of two or three must earn its place, or whole words hang on one letter.
        table = counts / np.maximum(counts.sum(1, keepdims=True), 1e-9)
        table[table < 1e-7] = 0.0
    results: list[list[str] | None] = []
    for (word, units), (letters, phones) in zip(pairs, encoded):
        out = np.zeros(len(letters), np.int64)
        if not best(letters, phones, table, base, out):
            results.append(None)
            continue
        ends = np.cumsum(out)
        results.append(["".join(units[e - c : e]) for e, c in zip(ends, out)])
    return results
