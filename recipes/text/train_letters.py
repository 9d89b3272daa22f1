"""Letter-to-sound: a bidirectional GRU reads the word, a GRU writes one chunk of phonemes per letter.

One model for both accents, trained on misaki's dictionaries with one word in twenty held out,
exported as int8 rows to crates/sillage-text/data/letters.bin.
"""

import argparse
import collections
import json
import random
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

import source
from align import LETTERS, align
from build_lexicon import DATA

ACCENTS = ("us", "gb")
SIZES = {"letter": 24, "encoder": 80, "decoder": 112, "previous": 24}
LONGEST_WORD = 24
RAREST = 10


def words(accent: str, work: Path) -> dict[str, str]:
    """Lower-case word -> reading; abbreviations and hyphens are left to the rules."""
    gold, silver = source.dictionaries(accent, work)
    found: dict[str, str] = {}
    for table in (gold, silver):
        for word, entry in table.items():
            reading = entry if isinstance(entry, str) else entry["DEFAULT"]
            lower = word.lower()
            shouted = len(word) > 1 and word[:2].upper() == word[:2]
            if not shouted and len(word) > 1 and not set(lower) - set(LETTERS) and len(lower) <= LONGEST_WORD:
                found.setdefault(lower, reading)
    return found


def examples(work: Path) -> tuple[list, list[str]]:
    """Aligned words and the inventory of chunks; kept between runs, since aligning takes minutes."""
    saved = work / "aligned.json"
    if saved.exists():
        return tuple(json.loads(saved.read_text()))
    pairs = [(a, w, p) for a in range(2) for w, p in words(ACCENTS[a], work).items()]
    chunks = align([(w, source.units(p)) for _, w, p in pairs])
    counts = collections.Counter(c for cs in chunks if cs for c in cs)
    inventory = sorted(c for c, n in counts.items() if n >= RAREST)
    code = {c: i for i, c in enumerate(inventory)}
    rows = [(a, w, p, [code.get(c, -1) for c in cs] if cs else None) for (a, w, p), cs in zip(pairs, chunks)]
    lost = sum(cs is None or -1 in cs for *_, cs in rows)
    print(f"{len(rows):,} words, {len(inventory)} chunks, {lost:,} words unaligned or with rare chunks", flush=True)
    saved.write_text(json.dumps([rows, inventory]))
    return rows, inventory


class Letters(nn.Module):
    def __init__(self, chunks: int):
        super().__init__()
        size = SIZES
        self.letter = nn.Embedding(len(LETTERS) + 1, size["letter"], padding_idx=0)
        self.accent = nn.Embedding(2, size["letter"])
        self.encoder = nn.GRU(size["letter"], size["encoder"], 2, batch_first=True, bidirectional=True, dropout=0.1)
        self.previous = nn.Embedding(chunks + 1, size["previous"])
        self.decoder = nn.GRU(2 * size["encoder"] + size["previous"], size["decoder"], batch_first=True)
        self.out = nn.Linear(size["decoder"], chunks)

    def encode(self, letters, lengths, accents):
        x = self.letter(letters) + self.accent(accents)[:, None]
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, _ = self.encoder(packed)
        return nn.utils.rnn.pad_packed_sequence(y, batch_first=True)[0]

    def forward(self, letters, lengths, accents, previous):
        joined = torch.cat([self.encode(letters, lengths, accents), self.previous(previous)], -1)
        return self.out(self.decoder(joined)[0])

    @torch.no_grad()
    def greedy(self, letters, lengths, accents):
        encoded = self.encode(letters, lengths, accents)
        previous = torch.full((len(letters),), self.out.out_features)
        state, out = None, []
        for t in range(encoded.shape[1]):
            joined = torch.cat([encoded[:, t], self.previous(previous)], -1)[:, None]
            y, state = self.decoder(joined, state)
            previous = self.out(y[:, 0]).argmax(-1)
            out.append(previous)
        return torch.stack(out, 1)


def batch(rows: list, chunks: int):
    longest = max(len(w) for _, w, _, _ in rows)
    letters = torch.zeros(len(rows), longest, dtype=torch.long)
    target = torch.full((len(rows), longest), -1)
    for i, (_, word, _, codes) in enumerate(rows):
        letters[i, : len(word)] = torch.tensor([LETTERS.index(c) + 1 for c in word])
        if codes:
            target[i, : len(codes)] = torch.tensor(codes)
    previous = torch.cat([torch.full((len(rows), 1), chunks), target[:, :-1].clamp(min=0)], 1)
    lengths = torch.tensor([len(w) for _, w, _, _ in rows])
    return letters, lengths, torch.tensor([a for a, *_ in rows]), previous, target


def distance(a: list[str], b: list[str]) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        corner, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (x != y))
    return row[-1]


def evaluate(model: Letters, rows: list, inventory: list[str]) -> str:
    model.eval()
    report = []
    for a in range(2):
        mine = [r for r in rows if r[0] == a]
        wrong = errors = total = plain_wrong = 0
        for start in range(0, len(mine), 512):
            part = mine[start : start + 512]
            letters, lengths, accents, _, _ = batch(part, len(inventory))
            for (_, word, truth, _), codes in zip(part, model.greedy(letters, lengths, accents).tolist()):
                heard = "".join(inventory[c] for c in codes[: len(word)])
                wrong += heard != truth
                strip = lambda s: [u.strip("ˈˌ") for u in source.units(s)]
                plain_wrong += strip(heard) != strip(truth)
                errors += distance(source.units(heard), source.units(truth))
                total += len(source.units(truth))
        n = max(len(mine), 1)
        report.append(f"{ACCENTS[a]}: PER {100 * errors / max(total, 1):.2f} % WER {100 * wrong / n:.2f} %"
                      f" (without stress {100 * plain_wrong / n:.2f} %) of {n} words")
    model.train()
    return "; ".join(report)


def batches(rows: list, size: int, seed: int):
    """Words of like length together, batches in random order."""
    rng = random.Random(seed)
    order = sorted(rows, key=lambda r: (len(r[1]) + rng.random() * 2))
    parts = [order[i : i + size] for i in range(0, len(order), size)]
    rng.shuffle(parts)
    return parts


def train(model, rows, inventory, options) -> None:
    steps = options.epochs * (len(rows) // options.batch + 1)
    optimiser = torch.optim.AdamW(model.parameters(), lr=options.rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, options.rate, steps, pct_start=0.1)
    loss_of = nn.CrossEntropyLoss(ignore_index=-1, label_smoothing=0.02)
    test = [r for r in options.test if r[3]][:2000]
    start = time.time()
    for epoch in range(options.epochs):
        total = 0.0
        parts = batches(rows, options.batch, epoch)
        for step, part in enumerate(parts):
            if step % 100 == 99:
                print(f"  {step + 1}/{len(parts)}: loss {total / step:.4f}, {time.time() - start:.0f} s", flush=True)
            letters, lengths, accents, previous, target = batch(part, len(inventory))
            hidden = torch.rand(previous.shape) < 0.1
            logits = model(letters, lengths, accents, previous.masked_fill(hidden, len(inventory)))
            loss = loss_of(logits.flatten(0, 1), target.flatten())
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}: loss {total / len(parts):.4f}, {time.time() - start:.0f} s; "
              + evaluate(model, test, inventory), flush=True)
        torch.save(model.state_dict(), options.work / "letters.pt")


def export(model: Letters, inventory: list[str], path: Path) -> None:
    """Header line of chunks, then every matrix: rows and columns (u16), a scale (f32) and int8 values per row."""
    parts = [("\t".join(inventory) + "\n").encode()]
    for name, tensor in model.state_dict().items():
        value = tensor.float().numpy()
        value = value[None] if value.ndim == 1 else value
        scale = np.maximum(np.abs(value).max(1), 1e-8) / 127
        parts.append(np.array(value.shape, "<u2").tobytes() + scale.astype("<f4").tobytes()
                     + np.round(value / scale[:, None]).astype(np.int8).tobytes())
        tensor.copy_(torch.from_numpy(np.round(value / scale[:, None]) * scale[:, None]).reshape(tensor.shape))
        print(name, value.shape)
    path.write_bytes(b"".join(parts))
    print(f"{path}: {path.stat().st_size:,} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=source.WORK)
    parser.add_argument("--out", type=Path, default=DATA)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--rate", type=float, default=6e-3)
    parser.add_argument("--resume", type=Path, help="weights to go on from")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    rows, inventory = examples(options.work)
    options.test = [r for r in rows if source.held_out(r[1])]
    random.Random(0).shuffle(options.test)
    training = [r for r in rows if not source.held_out(r[1]) and r[3] and -1 not in r[3]]
    model = Letters(len(inventory))
    if options.resume:
        model.load_state_dict(torch.load(options.resume))
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(training):,} words", flush=True)
    train(model, training, inventory, options)
    export(model, inventory, options.out / "letters.bin")
    print("held out, as shipped:", evaluate(model, options.test, inventory))


if __name__ == "__main__":
    main()
