"""The voices that ship, and the numbers about speakers that export needs.

Run on the training device after training: `python voices.py --data D --runs R... --out statistics.npz`.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from model import FRAMES

# name, speaker in the data, accent, what to say about it.
SHIPPED = [
    ("cathy", "cathy", "en-US", "woman, US, warm and even; a human reader (CC0)"),
    ("linda", "ljspeech", "en-US", "woman, US, audiobook; a human reader (public domain)"),
    ("heart", "af_heart", "en-US", "woman, US, bright"),
    ("bella", "af_bella", "en-US", "woman, US, full"),
    ("sarah", "af_sarah", "en-US", "woman, US, calm"),
    ("kore", "af_kore", "en-US", "woman, US, firm"),
    ("aoede", "af_aoede", "en-US", "woman, US, light"),
    ("nova", "af_nova", "en-US", "woman, US, clear"),
    ("michael", "am_michael", "en-US", "man, US, friendly"),
    ("fenrir", "am_fenrir", "en-US", "man, US, deep"),
    ("puck", "am_puck", "en-US", "man, US, lively"),
    ("emma", "bf_emma", "en-GB", "woman, UK, composed"),
    ("isabella", "bf_isabella", "en-GB", "woman, UK, soft"),
    ("george", "bm_george", "en-GB", "man, UK, mature"),
    ("fable", "bm_fable", "en-GB", "man, UK, story-teller"),
    ("lewis", "bm_lewis", "en-GB", "man, UK, low"),
]
LONGEST = 480  # steps of a recording that are shown to the encoder


@torch.no_grad()
def speaker_vectors(encoder, corpus, names: list[str], most: int = 40) -> dict[str, np.ndarray]:
    """Per named speaker: the mean voice over up to `most` of its training recordings, its parts of full length."""
    index = {speaker["name"]: n for n, speaker in enumerate(corpus.data.speakers)}
    vectors, tokens, means = [], [], []
    mean = lambda found: (F.normalize(torch.stack(found).mean(0), dim=-1) * found[0].shape[-1] ** 0.5).cpu().numpy()
    for name in names:
        own = np.flatnonzero((corpus.data.speaker == index[name]) & (corpus.data.split == 0) & (corpus.steps >= 80))
        found = []
        for u in own[:most]:
            a, b = int(corpus.offset[u]), int(min(corpus.offset[u + 1], corpus.offset[u] + LONGEST))
            mel = corpus.mel[a * FRAMES : b * FRAMES].float()
            mel = F.pad(mel, (0, 0, 0, -len(mel) % 64))
            segment = (torch.arange(len(mel), device=mel.device) >= (b - a) * FRAMES).long()
            found.append(encoder(mel[None], segment[None])[0])
        vectors.append(mean([v.vector[0] for v in found]))
        tokens.append(mean([v.tokens[0] for v in found]))
        means.append(corpus.means[index[name]].item())
    return {"vectors": np.stack(vectors), "tokens": np.stack(tokens), "means": np.array(means, dtype=np.float32)}


def shipped() -> list[dict]:
    """Name, accent and description of the shipped voices."""
    return [{"name": n, "accent": a, "about": t} for n, _, a, t in SHIPPED]


def main() -> None:
    from export import networks
    from train import corpus_of

    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--runs", type=Path, nargs="+", required=True)
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = options.parse_args()
    corpus = corpus_of(options.data, options.device)
    voice, _ = networks(options.runs)
    found = speaker_vectors(voice.speaker.to(options.device), corpus, [s for _, s, _, _ in SHIPPED])
    np.savez(options.out, mean=corpus.mean.cpu().numpy(), std=corpus.std.cpu().numpy(), **found)


if __name__ == "__main__":
    main()
