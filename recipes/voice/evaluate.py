"""How good a run is on speech it never trained on.

Losses of the acoustic side on the validation split, with the averaged weights (the same figures as in the training
log, for either backbone), and the similarity of the speaker encoder's own vectors: another recording of the same
reader against those of other readers, held-out readers included. Sound is judged elsewhere (benches/voice).
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from batches import Corpus, Packer, Shape, frames_of, to_device
from export import networks
from losses import acoustic_losses, predict
from model import FRAMES
from train import corpus_of


@torch.no_grad()
def validation(voice, corpus: Corpus, batches: int = 12, rows: int = 8) -> dict[str, float]:
    """Mean losses over rows of the validation split; references come from it too."""
    packer = Packer(corpus, Shape(rows=rows), seed=0, split=1)
    sums: dict[str, list[float]] = {}
    for _ in range(batches):
        batch = to_device(packer.draw(), corpus.device)
        made = predict(voice, corpus, batch, training=False)
        for name, loss in acoustic_losses(made, corpus, batch, frames_of(corpus, batch)).items():
            sums.setdefault(name, []).append(loss.item())
    return {name: round(float(np.mean(values)), 4) for name, values in sums.items()}


@torch.no_grad()
def likeness(encoder, corpus: Corpus, split: int) -> dict[str, float]:
    """Mean cosine between voice vectors of two utterances of one speaker, and of two speakers."""
    vectors: dict[int, list[torch.Tensor]] = {}
    for u in np.flatnonzero((corpus.data.split == split) & (corpus.steps >= 120)):
        speaker = int(corpus.data.speaker[u])
        if len(vectors.setdefault(speaker, [])) < 3:
            a, b = corpus.offset[u] * FRAMES, corpus.offset[u + 1] * FRAMES
            vectors[speaker].append(encoder(corpus.mel[a:b].float()[None])[0].vector[0])
    whole = F.normalize(torch.cat([torch.stack(v) for v in vectors.values()]), dim=-1)
    owner = torch.tensor([s for s, v in vectors.items() for _ in v], device=whole.device)
    cosine, same = whole @ whole.T, owner[:, None] == owner
    apart = ~torch.eye(len(whole), dtype=torch.bool, device=whole.device)
    mean = lambda mask: round(cosine[mask].mean().item(), 4) if mask.any() else float("nan")
    return {"speakers": len(vectors), "same": mean(same & apart), "different": mean(~same)}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--runs", type=Path, nargs="+", required=True)
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = options.parse_args()
    corpus = corpus_of(options.data, options.device)
    voice, _ = networks(options.runs)
    voice = voice.to(options.device)
    result = {
        "backbone": voice.config["backbone"], "losses": validation(voice, corpus),
        "known speakers": likeness(voice.speaker, corpus, split=1),
        "held-out speakers": likeness(voice.speaker, corpus, split=2),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
