"""What the acoustic model is asked for, apart from the critics."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from batches import Corpus, Disguise, references
from model import MELS, VOICE, Voice

# LibriSpeech is sampled at 16 kHz: its bands from here up hold nothing to learn from.
BANDLIMIT = 86


class SpeakerHeads(nn.Module):
    """Tells training speakers apart, and imitates a larger encoder's vectors; both exist only while training."""

    def __init__(self, speakers: int, taught: int):
        super().__init__()
        self.classes = nn.Parameter(torch.randn(speakers, VOICE))
        self.imitate = nn.Linear(VOICE, taught)

    def forward(self, voice: Tensor, speaker: Tensor, taught: Tensor, plain: Tensor) -> tuple[Tensor, Tensor]:
        """`plain` (rows,): 1 for speakers who are themselves, 0 for those in disguise, who are no class. Rows of
        `taught` that are zero are imitated by nobody."""
        cosine = F.normalize(voice, dim=-1) @ F.normalize(self.classes, dim=-1).T
        margin = F.one_hot(speaker, cosine.shape[1]) * 0.2
        known = (taught.abs().sum(-1) > 0).float()
        imitation = 1 - F.cosine_similarity(self.imitate(voice), taught.float(), dim=-1)
        confused = F.cross_entropy(24 * (cosine - margin), speaker, reduction="none")
        return mean(confused, plain), mean(imitation, known)


def disturbed(mel: Tensor) -> Tensor:
    """References as they come in life: other microphones (a smooth tilt), some noise, sometimes a telephone."""
    rows, _, bands = mel.shape
    device = mel.device
    ramp = torch.linspace(-1, 1, bands, device=device)
    tilt = torch.randn(rows, 2, device=device) * 0.08
    mel = mel + (tilt[:, :1] * ramp + tilt[:, 1:] * (ramp.square() - 0.33))[:, None]
    mel = mel + torch.randn_like(mel) * torch.rand(rows, 1, 1, device=device) * 0.15
    narrow = (torch.rand(rows, 1, 1, device=device) < 0.1) & (torch.arange(bands, device=device) > 60)
    return torch.where(narrow, torch.full_like(mel, -2.5), mel)


def predict(model: Voice, corpus: Corpus, batch: dict[str, Tensor], disguise: Disguise | None = None,
            training: bool = True) -> dict:
    """Everything the networks say about a batch of rows."""
    reference, segment = references(corpus, batch, disguise)
    reference = disturbed(reference) if training else reference
    voice, mu = model.speaker(reference, segment)
    used = voice.map(lambda x: x + 0.05 * torch.randn_like(x)) if training else voice
    h = model.text(batch["symbol"], batch["stress"], batch["first"], used, batch["phrase"])
    out = model.acoustic(h, used.vector, batch["unit"], batch["done"], batch["left"], batch["prompt"], batch["segment"])
    return {"voice": voice, "mu": mu, "steps": model.duration(h).float(), "frames": model.frames(out).float()}


def mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.expand_as(values).sum().clamp(min=1)


def acoustic_losses(made: dict, corpus: Corpus, batch: dict[str, Tensor], truth: dict[str, Tensor],
                    disguise: Disguise | None = None) -> dict[str, Tensor]:
    """Unweighted parts, by name."""
    narrow = corpus.narrow_speakers[batch["speaker"]]
    bands = (torch.arange(MELS, device=narrow.device) < BANDLIMIT) | ~narrow[:, None]
    frames, mask = made["frames"], truth["mask"]
    weight = mask[..., None] * bands[:, None].float()
    target = batch["target"]
    counted = (target >= 0).float()
    step = torch.log1p(target.clamp(min=0).float())
    voiced = mask * (0.1 + 0.9 * truth["voiced"])
    mu = corpus.means[batch["speaker"]] + (disguise.stretch if disguise else 0.0)
    return {
        "mel": mean((frames[..., :MELS] - truth["mel"]).abs(), weight),
        "pitch": mean((frames[..., MELS] - truth["pitch"]).abs(), voiced),
        "voicing": mean(F.binary_cross_entropy_with_logits(frames[..., MELS + 1], truth["voiced"], reduction="none"), mask),
        "duration": mean((made["steps"] - step).abs(), counted),
        "mu": (made["mu"] - mu).abs().mean(),
    }


WEIGHTS = {"mel": 1.0, "pitch": 0.5, "voicing": 0.3, "duration": 0.7, "mu": 0.3, "classes": 0.05, "imitation": 0.5}
