"""Train the voice in stages; every stage stops after --seconds and goes on from where it was when run again.

  vocoder   on real frames (shared by both backbones)
  acoustic  text, durations, frames and speaker encoder, --backbone ssm or attention
  joint     both together on what the acoustic model predicts, so that the vocoder hears its mistakes

A run folder holds one checkpoint (checkpoint.pt: weights, averages, optimisers, step) and log.jsonl.
"""

import argparse
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import data
import stacks
from batches import Corpus, Packer, Shape, drawn, frames_of, to_device
from discriminators import SoundCritics, SpectrumCritic, critic_loss, fooling_loss, matching_loss, spectral_loss
from losses import BANDLIMIT, WEIGHTS, SpeakerHeads, acoustic_losses, predict
from model import FRAMES, HOP, MELS, Voice, configuration
from vocoder import Vocoder, draw_noise

LEFT, RIGHT = 16, 4  # frames of a piece that give context and are not judged


class Average:
    """An exponential moving average of a module's weights: what is exported."""

    def __init__(self, module: nn.Module, keep: float = 0.999):
        self.keep, self.of = keep, dict(module.named_parameters())
        self.kept = {n: p.detach().clone() for n, p in self.of.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        keep = min(self.keep, (1 + step) / (10 + step))
        names = list(self.kept)
        torch._foreach_lerp_([self.kept[n] for n in names], [self.of[n].detach() for n in names], 1 - keep)


class Run:
    """Networks, critics, optimisers and averages of one stage."""

    def __init__(self, options, corpus: Corpus, symbols: list[str]):
        self.options, self.corpus, self.device, self.step = options, corpus, options.device, 0
        torch.manual_seed(options.seed)
        self.config = configuration(symbols, options.backbone, options.size)
        self.nets = nn.ModuleDict()
        if options.stage in ("acoustic", "joint"):
            self.nets["voice"] = Voice(self.config)
            self.nets["heads"] = SpeakerHeads(int(corpus.data.speaker.max()) + 1, corpus.taught.shape[1])
        if options.stage in ("vocoder", "joint"):
            self.nets["vocoder"] = Vocoder(self.config)
        self.critics = nn.ModuleDict()
        if options.stage in ("vocoder", "joint"):
            self.critics["sound"] = SoundCritics()
        if options.stage in ("acoustic", "joint"):
            self.critics["spectrum"] = SpectrumCritic()
        self.nets.to(self.device)
        self.critics.to(self.device)
        if "voice" in self.nets:
            self.nets["voice"].mel.mean.copy_(corpus.mean)
            self.nets["voice"].mel.std.copy_(corpus.std)
        self.average = Average(self.nets)
        fused = self.device.startswith("cuda")
        self.optimiser = torch.optim.AdamW(groups(self.nets), lr=options.lr, betas=(0.8, 0.98), fused=fused)
        self.judge = torch.optim.AdamW(self.critics.parameters(), lr=options.lr * 0.5, betas=(0.8, 0.98), fused=fused)
        shape = Shape(options.rows, options.steps_per_row, options.units, options.piece)
        self.packer = Packer(corpus, shape, options.seed, full_band=options.stage == "vocoder")

    def load(self, folder: Path, parts=None) -> None:
        saved = torch.load(folder / "checkpoint.pt", map_location=self.device, weights_only=True)
        for name, net in [*self.nets.items(), *self.critics.items()]:
            if name in saved["nets"] and (parts is None or name in parts):
                net.load_state_dict(saved["nets"][name])
        for name, value in saved["average"].items():
            if name in self.average.kept and (parts is None or name.split(".")[0] in parts):
                self.average.kept[name].copy_(value)
        if parts is None:
            self.step = saved["step"]
            self.optimiser.load_state_dict(saved["optimiser"])
            self.judge.load_state_dict(saved["judge"])

    def save(self, folder: Path) -> None:
        both = [*self.nets.items(), *self.critics.items()]
        content = {
            "nets": {n: m.state_dict() for n, m in both}, "average": self.average.kept, "step": self.step,
            "optimiser": self.optimiser.state_dict(), "judge": self.judge.state_dict(), "config": self.config,
        }
        torch.save(content, folder / "checkpoint.tmp")
        (folder / "checkpoint.tmp").replace(folder / "checkpoint.pt")


def groups(net: nn.Module) -> list[dict]:
    """Weight decay for matrices only."""
    matrices = [p for n, p in net.named_parameters() if p.ndim >= 2 and "conv1d" not in n]
    others = [p for n, p in net.named_parameters() if not (p.ndim >= 2 and "conv1d" not in n)]
    return [{"params": matrices, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]


def critic_windows(run: Run, made: Tensor, truth: dict[str, Tensor], batch: dict[str, Tensor]):
    """Made and true mel windows of 128 frames at the same random places; what is no sound, and the empty upper
    bands of 16 kHz recordings, are made equal, so that the critic cannot tell them by that."""
    frames = made[..., :MELS]
    narrow = torch.from_numpy(run.corpus.narrow_speakers).to(made.device)[batch["speaker"]]
    upper = (torch.arange(MELS, device=made.device) >= BANDLIMIT) & narrow[:, None]
    real = torch.where(upper[:, None], frames.detach(), truth["mel"])
    mask = truth["mask"][..., None]
    frames, real = frames * mask, real * mask
    starts = np.random.default_rng(run.step).integers(0, frames.shape[1] - 128, 2)
    cut = lambda x: torch.cat([x[:, s : s + 128] for s in starts])
    return cut(frames), cut(real)


def pieces(run: Run, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Frame indices into the corpus, log F0, voicing and sound (judged part) of the audible piece of each row."""
    corpus, length = run.corpus, run.options.piece
    first = batch["piece_source"] * FRAMES
    frame = (first[:, None] + torch.arange(length, device=first.device)).clamp(max=len(corpus.mel) - 1)
    sample = (first[:, None] + LEFT) * HOP + torch.arange((length - LEFT - RIGHT) * HOP, device=first.device)
    sound = corpus.sound[sample.clamp(max=len(corpus.sound) - 1)].float() / 32768
    return frame, corpus.log_f0[frame].float(), corpus.voiced[frame].float(), sound


def vocode(run: Run, mel: Tensor, log_f0: Tensor, voiced: Tensor) -> Tensor:
    rows, length, _ = mel.shape
    noise = draw_noise(rows, length, mel.device)
    sound = run.nets["vocoder"](mel, log_f0, voiced, noise, torch.rand(rows, device=mel.device))
    return sound[:, LEFT * HOP : (length - RIGHT) * HOP]


def sound_losses(run: Run, made: Tensor, real: Tensor, log: dict) -> Tensor:
    """Trains the critics on this piece and returns what the vocoder should lower."""
    loss = spectral_loss(made, real)
    log["spectral"] = loss.detach()
    if run.step < run.options.critics_from:
        return 4 * loss
    critic = run.critics["sound"]
    for p in critic.parameters():
        p.requires_grad_(True)
    judged = critic_loss(critic(real[:, None].squeeze(1)), critic(made.detach()))
    judged.backward()
    log["sound_critic"] = judged.detach()
    for p in critic.parameters():
        p.requires_grad_(False)
    fake = critic(made)
    with torch.no_grad():
        true = critic(real)
    fooled, matched = fooling_loss(fake), matching_loss(true, fake)
    log["fooled"], log["matched"] = fooled.detach(), matched.detach()
    return 4 * loss + fooled + 2 * matched


def spectrum_losses(run: Run, made: Tensor, real: Tensor, log: dict) -> Tensor:
    if run.step < run.options.critics_from:
        return made.new_zeros(())
    critic = run.critics["spectrum"]
    for p in critic.parameters():
        p.requires_grad_(True)
    judged = critic_loss(critic(real), critic(made.detach()))
    judged.backward()
    log["spectrum_critic"] = judged.detach()
    for p in critic.parameters():
        p.requires_grad_(False)
    fake = critic(made)
    with torch.no_grad():
        true = critic(real)
    return 0.05 * fooling_loss(fake) + 0.2 * matching_loss(true, fake)


def acoustic_total(run: Run, batch, log) -> tuple[Tensor, dict]:
    made = predict(run.nets["voice"], run.corpus, batch)
    truth = frames_of(run.corpus, batch)
    parts = acoustic_losses(made, run.corpus, batch, truth)
    taught = run.corpus.taught[batch["reference"]]
    parts["classes"], parts["imitation"] = run.nets["heads"](made["voice"], batch["speaker"], taught)
    log.update({n: p.detach() for n, p in parts.items()})
    total = sum(WEIGHTS[n] * p for n, p in parts.items())
    return total + spectrum_losses(run, *critic_windows(run, made["frames"], truth, batch), log), made


def joint_piece(run: Run, batch, made, log) -> Tensor:
    """The piece of each row through the vocoder, with predicted mel and true pitch."""
    frame, log_f0, voiced, real = pieces(run, batch)
    index = batch["piece_row"][:, None] * FRAMES + torch.arange(run.options.piece, device=frame.device)
    index = index.clamp(max=made["frames"].shape[1] - 1)
    mel = torch.gather(made["frames"][..., :MELS], 1, index[..., None].expand(-1, -1, MELS))
    full = batch["bandlimit"] == 0
    mel, log_f0, voiced, real = mel[full], log_f0[full], voiced[full], real[full]
    half = len(mel) // 2  # one half hears true frames, so that the vocoder stays a vocoder
    mel = torch.cat([mel[:half], run.corpus.mel[frame[full][half:]].float()])
    return sound_losses(run, vocode(run, mel, log_f0, voiced), real, log)


def learn(run: Run, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """One step of the stage; returns its losses, still on the device."""
    log: dict[str, Tensor] = {}
    stage, cuda = run.options.stage, run.device.startswith("cuda")
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=cuda):
        total = 0.0
        if stage != "vocoder":
            part, made = acoustic_total(run, batch, log)
            total = total + part * (1.0 if stage == "acoustic" else 2.0)
        if stage == "joint":
            total = total + joint_piece(run, batch, made, log)
        if stage == "vocoder":
            frame, log_f0, voiced, real = pieces(run, batch)
            mel = run.corpus.mel[frame].float()
            mel = mel + torch.randn_like(mel) * 0.05
            total = sound_losses(run, vocode(run, mel, log_f0, voiced), real, log)
    total.backward()
    nn.utils.clip_grad_norm_(run.nets.parameters(), 5.0)
    run.optimiser.step()
    if run.step >= run.options.critics_from:
        nn.utils.clip_grad_norm_(run.critics.parameters(), 5.0)
        run.judge.step()
    run.optimiser.zero_grad(set_to_none=True)
    run.judge.zero_grad(set_to_none=True)
    run.average.update(run.step)
    return log


def rate(progress: float, warmup: float = 0.02) -> float:
    """Learning rate as a share of its peak: up, then along a cosine to a twentieth."""
    if progress < warmup:
        return progress / warmup
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - warmup) / (1 - warmup))))


def train(run: Run, folder: Path) -> None:
    options, began = run.options, time.monotonic()
    mark, since, sums = began, run.step, {}
    source = drawn(run.packer)
    with open(folder / "log.jsonl", "a") as log:
        while run.step < options.steps:
            spent = time.monotonic() - began
            if options.seconds and spent > options.seconds:
                break
            progress = max(run.step / options.steps, spent / options.plan if options.plan else 0.0)
            for group in [*run.optimiser.param_groups]:
                group["lr"] = options.lr * rate(progress)
            for group in [*run.judge.param_groups]:
                group["lr"] = options.lr * 0.5 * rate(progress)
            for name, value in learn(run, to_device(next(source), run.device)).items():
                sums.setdefault(name, []).append(value)
            run.step += 1
            if run.step % options.every == 0:
                now = time.monotonic()
                line = {"stage": options.stage, "step": run.step, "seconds": round(now - began, 1),
                        "steps_per_second": round((run.step - since) / (now - mark), 2), "rate": round(rate(progress), 3)}
                line |= {n: round(torch.stack(v).float().mean().item(), 4) for n, v in sums.items()}
                if not all(np.isfinite(v) for v in line.values() if isinstance(v, float)):
                    raise SystemExit(f"a loss is not finite: {line}; lower --lr or try another --seed")
                print(json.dumps(line), flush=True)
                log.write(json.dumps(line) + "\n")
                log.flush()
                mark, since, sums = now, run.step, {}
    run.save(folder)


def corpus_of(folder: Path, device: str) -> Corpus:
    """The prepared corpus, or what an earlier stage on this machine left of it: decoding and measuring takes a minute."""
    file = folder / "corpus.pt"
    if file.exists():
        corpus = torch.load(file, map_location=device, weights_only=False)
        corpus.device = device
        return corpus
    corpus = Corpus(data.load(folder, os.cpu_count() or 2), device)
    torch.save(corpus, file.with_suffix(".tmp"))
    file.with_suffix(".tmp").replace(file)
    return corpus


def parse() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("stage", choices=["vocoder", "acoustic", "joint"])
    options.add_argument("--data", type=Path, required=True, help="folder that `prepare` filled")
    options.add_argument("--out", type=Path, required=True, help="run folder")
    options.add_argument("--start", type=Path, nargs="*", default=[], help="run folders to take weights from")
    options.add_argument("--backbone", choices=["ssm", "attention"], default="ssm")
    options.add_argument("--size", choices=["small", "tiny"], default="small")
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--seconds", type=float, help="stop after this long; run again to go on")
    options.add_argument("--plan", type=float, help="seconds over which the learning rate falls")
    options.add_argument("--steps", type=int, default=100000)
    options.add_argument("--rows", type=int, default=32)
    options.add_argument("--steps-per-row", type=int, default=512)
    options.add_argument("--units", type=int, default=320)
    options.add_argument("--piece", type=int, default=80, help="frames made audible per row")
    options.add_argument("--lr", type=float, default=1e-3)
    options.add_argument("--critics-from", type=int, default=1000)
    options.add_argument("--every", type=int, default=50)
    return options.parse_args()


def main() -> None:
    options = parse()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    if options.device.startswith("cuda"):
        stacks.Mamba2.fast = staticmethod(torch.compile(stacks.mamba2, dynamic=False))
        stacks.Conv.fast = staticmethod(torch.compile(stacks.causal_taps, dynamic=True))
    options.out.mkdir(parents=True, exist_ok=True)
    corpus = corpus_of(options.data, options.device)
    run = Run(options, corpus, corpus.data.symbols)
    if (options.out / "checkpoint.pt").exists():
        run.load(options.out)
    else:
        for folder in options.start:
            run.load(folder, parts=("voice", "heads", "vocoder", "sound", "spectrum"))
    train(run, options.out)


if __name__ == "__main__":
    main()
