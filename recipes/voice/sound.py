"""What is audible of a batch: pieces through the vocoder, and what critics and a listener say about them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from batches import LISTEN, Corpus
from discriminators import critic_loss, fooling_loss, matching_loss, spectral_loss
from model import FRAMES, HOP, MELS, SAMPLE_RATE
from vocoder import draw_noise

LEFT, RIGHT = 16, 4  # frames of a piece that give context and are not judged
CUTOFF = 7600.0  # Hz up to which recordings at 16 kHz are judged
LISTENED = 8  # rows that the listener hears


def true_pieces(corpus: Corpus, batch: dict[str, Tensor], length: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of each row's piece of `length` frames: mel, log F0, voicing, and the judged part of its sound."""
    first = batch["piece_source"] * FRAMES
    frame = (first[:, None] + torch.arange(length, device=first.device)).clamp(max=len(corpus.mel) - 1)
    sample = (first[:, None] + LEFT) * HOP + torch.arange((length - LEFT - RIGHT) * HOP, device=first.device)
    sound = corpus.sound[sample.clamp(max=len(corpus.sound) - 1)].float() / 32768
    return corpus.mel[frame].float(), corpus.log_f0[frame].float(), corpus.voiced[frame].float(), sound


def made_mel(frames: Tensor, first_step: Tensor, length: int) -> Tensor:
    """`length` frames of predicted mel (rows, length, 100) from the given steps on."""
    index = first_step[:, None] * FRAMES + torch.arange(length, device=frames.device)
    index = index.clamp(max=frames.shape[1] - 1)
    return torch.gather(frames[..., :MELS], 1, index[..., None].expand(-1, -1, MELS))


def vocode(vocoder: nn.Module, mel: Tensor, log_f0: Tensor, voiced: Tensor) -> Tensor:
    """The judged part of the sound of these frames."""
    rows, length, _ = mel.shape
    noise = draw_noise(rows, length, mel.device)
    sound = vocoder(mel, log_f0, voiced, noise, torch.rand(rows, device=mel.device))
    return sound[:, LEFT * HOP : (length - RIGHT) * HOP]


def narrowed(sound: Tensor, narrow: Tensor) -> Tensor:
    """Rows marked in `narrow` without what lies above 7.6 kHz, which their recordings do not have."""
    spectrum = torch.fft.rfft(sound.float())
    hertz = torch.arange(spectrum.shape[-1], device=sound.device) * (SAMPLE_RATE / sound.shape[-1])
    keep = ((CUTOFF + 400 - hertz) / 400).clamp(0, 1)
    return torch.fft.irfft(spectrum * torch.where(narrow[:, None], keep, torch.ones_like(keep)), n=sound.shape[-1])


def critics_say(critic: nn.Module, made: Tensor, real: Tensor, more: tuple, log: dict, name: str) -> tuple[Tensor, Tensor]:
    """Gives the critic its gradients, and returns (fooling, matching): what the maker should lower."""
    for p in critic.parameters():
        p.requires_grad_(True)
    true = critic(real, *more)
    judged = critic_loss(true, critic(made.detach(), *more))
    judged.backward()
    for p in critic.parameters():
        p.requires_grad_(False)
    fake = critic(made, *more)
    log[name] = judged.detach()
    return fooling_loss(fake), matching_loss(true, fake)


def sound_losses(critic: nn.Module | None, made: Tensor, real: Tensor, log: dict) -> Tensor:
    """What the vocoder should lower; without a critic the distance of the spectra alone."""
    loss = spectral_loss(made, real)
    log["spectral"] = loss.detach()
    if critic is None:
        return 4 * loss
    fooled, matched = critics_say(critic, made, real, (), log, "sound_critic")
    log["fooled"], log["matched"] = fooled.detach(), matched.detach()
    return 4 * loss + fooled + 2 * matched


def likeness_loss(listener: nn.Module, vocoder: nn.Module, corpus: Corpus, batch: dict[str, Tensor], frames: Tensor,
                  known: Tensor, stretch: Tensor, log: dict) -> Tensor:
    """How unlike its speaker the sound of some rows is, to the listener: half of them of the first rows, who are
    themselves, half of the last, who are in disguise. `known` (rows, 192) is what the speakers are known by; `stretch`
    (rows,) moves the true pitch."""
    rows = torch.arange(LISTENED, device=frames.device)
    rows = torch.where(rows < LISTENED // 2, rows, len(known) - LISTENED + rows)
    steps = batch["listen"][rows]
    spread = lambda x: (x[..., None] * FRAMES + torch.arange(FRAMES, device=x.device)).flatten(1)
    mel = torch.gather(frames[rows][..., :MELS], 1, spread(steps)[..., None].expand(-1, LISTEN * FRAMES, MELS))
    source = spread(torch.gather(batch["source"][rows], 1, steps).clamp(min=0))
    log_f0 = corpus.log_f0[source].float() + stretch[rows, None]
    taught = known[rows]
    some = (taught.abs().sum(-1) > 0).float()
    unlike = (1 - F.cosine_similarity(listener(vocode(vocoder, mel, log_f0, corpus.voiced[source].float())), taught, dim=-1)) * some
    unlike = unlike.sum() / some.sum().clamp(min=1)
    log["unlike"] = unlike.detach()
    return unlike
