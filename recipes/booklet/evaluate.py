"""Bits per byte on the validation books, as trained and as stored in 8 and 4 bits.

windows   every book in pieces of 1,024 tokens, each read from nothing; also by position
stream    (mamba2) every book once, from its first byte, the state carried to its end
sliding   (llama) windows of 1,024 that advance by 512, scoring what is new:
          every token but a book's first ones sees at least 512 tokens before it

Every token of every book is scored exactly once; <|endoftext|> before a book is read
but not scored. Bits are divided by the books' UTF-8 bytes.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

import data
import llama
import mamba2
import presets
import quant

WINDOW = 1024
BUCKETS = (0, 16, 64, 256, 512, 1024)


class Reader:
    """Losses of a trained run, in nats, for batches of token rows."""

    def __init__(self, weights: dict[str, Tensor], model: str, dims, device: str):
        self.weights, self.model, self.dims, self.device = weights, model, dims, device
        self.embedding = weights[presets.module(model).EMBEDDING]

    @torch.no_grad()
    def losses(self, rows: np.ndarray, carry=None) -> tuple[Tensor, object]:
        """rows (batch, length + 1) -> losses (batch, length), and the carry after them."""
        tokens = torch.from_numpy(rows.astype(np.int64)).to(self.device)
        if self.model == "mamba2":
            if carry is None:
                carry = mamba2.empty_carry(self.dims, len(rows), self.device)
            hidden, carry = mamba2.hidden(self.weights, tokens[:, :-1], carry, self.dims)
        else:
            hidden = llama.hidden(self.weights, tokens[:, :-1], self.dims)
        logits = hidden @ self.embedding.T
        return F.cross_entropy(logits.mT, tokens[:, 1:], reduction="none"), carry


def padded(parts: list[np.ndarray], length: int) -> np.ndarray:
    rows = np.zeros((len(parts), length), dtype=np.uint16)
    for row, part in zip(rows, parts):
        row[: len(part)] = part
    return rows


def by_windows(reader: Reader, books: list[np.ndarray], batch: int) -> tuple[float, dict[str, float]]:
    """Total nats, and mean nats per token in each bucket of positions."""
    parts = [b[s : s + WINDOW + 1] for b in books for s in range(0, len(b) - 1, WINDOW)]
    sums, counts = torch.zeros(WINDOW, dtype=torch.float64), torch.zeros(WINDOW)
    for start in range(0, len(parts), batch):
        group = parts[start : start + batch]
        losses, _ = reader.losses(padded(group, WINDOW + 1))
        lengths = torch.tensor([len(p) - 1 for p in group])
        mask = torch.arange(WINDOW)[None] < lengths[:, None]
        sums += (losses.double().cpu() * mask).sum(0)
        counts += mask.sum(0)
    buckets = {
        f"{low}-{high - 1}": float(sums[low:high].sum() / counts[low:high].sum())
        for low, high in zip(BUCKETS, BUCKETS[1:])
    }
    return float(sums.sum()), buckets


def by_stream(reader: Reader, books: list[np.ndarray]) -> float:
    """All books side by side, the state carried; a book that has ended leaves the batch."""
    books = sorted(books, key=len, reverse=True)
    total, carry = 0.0, None
    for start in range(0, len(books[0]) - 1, WINDOW):
        group = [b[start : start + WINDOW + 1] for b in books if start < len(b) - 1]
        if carry is not None:
            carry = [(tail[: len(group)], state[: len(group)]) for tail, state in carry]
        losses, carry = reader.losses(padded(group, WINDOW + 1), carry)
        total += sum(losses[i, : len(p) - 1].double().sum().item() for i, p in enumerate(group))
    return total


def by_sliding(reader: Reader, books: list[np.ndarray], batch: int, stride: int = WINDOW // 2) -> float:
    places = [(b, s) for b in books for s in range(0, max(len(b) - 1 - stride, 1), stride)]
    total = 0.0
    for start in range(0, len(places), batch):
        group = places[start : start + batch]
        parts = [b[s : s + WINDOW + 1] for b, s in group]
        losses, _ = reader.losses(padded(parts, WINDOW + 1))
        for row, part, (_, s) in zip(losses, parts, group):
            total += row[stride if s else 0 : len(part) - 1].double().sum().item()
    return total


def load(run: Path, device: str) -> tuple[dict[str, Tensor], dict]:
    weights = {n: w.to(device) for n, w in load_file(run / "weights.safetensors").items()}
    return weights, json.loads((run / "run.json").read_text())


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--work", type=Path, default=data.WORK)
    options.add_argument("--name", default="mamba2", help="run folder inside --work")
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options.add_argument("--quick", action="store_true", help="windows, unrounded weights only")
    options.add_argument("--books", type=int, help="only the first so many books")
    options = options.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    index = json.loads((options.work / "index.json").read_text())
    tokens = np.fromfile(options.work / "valid.u16", dtype=np.uint16)
    valid = index["valid"][: options.books]
    books = [tokens[b["start"] : b["start"] + b["tokens"]] for b in valid]
    scale = math.log(2) * sum(b["bytes"] for b in valid)

    folder = options.work / options.name
    weights, record = load(folder, options.device)
    model, dims = record["model"], presets.dims_from(record)
    batch = 64 if options.device.startswith("cuda") else 8
    per_token = sum(b["bytes"] for b in valid) / sum(len(b) - 1 for b in books) * math.log(2)
    result = {"name": options.name, "parameters": record["parameters"], "stored_q8": quant.stored_bytes(weights)}
    for kind in ["f32"] if options.quick else ["f32", "q8", "q4"]:
        began = time.monotonic()
        reader = Reader(quant.quantised(weights, kind), model, dims, options.device)
        nats, buckets = by_windows(reader, books, batch)
        figures = {"windows": nats / scale, "position": {k: v / per_token for k, v in buckets.items()}}
        if not options.quick and model == "mamba2":
            figures["stream"] = by_stream(reader, books) / scale
        elif not options.quick:
            figures["sliding"] = by_sliding(reader, books, batch) / scale
        figures["seconds"] = time.monotonic() - began
        result[kind] = figures
        print(kind, json.dumps(figures), flush=True)
    (folder / "evaluation.json").write_text(json.dumps(result, indent=1))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
