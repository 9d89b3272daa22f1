"""Train booklet (or its transformer twin); stop and resume at will.

A run folder keeps run.json (what is trained and how), log.jsonl, and a checkpoint
in three safetensors files. The carried states are not part of a checkpoint: after
a resume every row begins its current window from an empty state.
"""

import argparse
import dataclasses
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

import llama
import mamba2
import presets
import quant
from data import WORK, Schedule
from optim import Optimiser


def rate(progress: float, budget: presets.Budget) -> float:
    """Learning rate as a share of its peak: up, flat, then straight down to zero."""
    if progress < budget.warmup:
        return progress / budget.warmup
    return min(1.0, (1 - progress) / (1 - budget.flat))


def head_loss(hidden: Tensor, embedding: Tensor, targets: Tensor) -> Tensor:
    logits = hidden.to(embedding.dtype) @ embedding.T
    return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


def plain(weights: dict[str, Tensor], share: Tensor, kind: torch.dtype) -> dict[str, Tensor]:
    """The weights as the forward pass wants them: matrices in `kind`."""
    return {n: w.to(kind) if quant.is_matrix(w) else w for n, w in weights.items()}


def noisy(weights: dict[str, Tensor], share: Tensor, kind: torch.dtype) -> dict[str, Tensor]:
    """The same with a `share` of every matrix's blocks rounded to q4."""
    return {n: quant.noisy_q4(w, share).to(kind) if quant.is_matrix(w) else w for n, w in weights.items()}


class Trainer:
    """Weights, optimiser, data order and carried states of one run.

    On a GPU a training step is some hundred small kernels, and starting them one by one
    costs more than running them: after a few ordinary steps the whole step (forward,
    backward, optimiser) is recorded as a CUDA graph and replayed from then on. What
    changes from step to step therefore lives in tensors that stay where they are.
    """

    def __init__(self, model: str, dims, budget: presets.Budget, seed: int, tokens: np.ndarray, device: str):
        self.model, self.dims, self.budget, self.device = model, dims, budget, device
        self.cuda = device.startswith("cuda")
        torch.manual_seed(seed)
        self.source = presets.module(model)
        fresh = self.source.initial_weights(dims, torch.Generator().manual_seed(seed))
        self.weights = {n: w.to(device).requires_grad_() for n, w in fresh.items()}
        groups = {n: self.source.row_groups(n, dims) for n in self.weights}
        self.optimiser = Optimiser(self.weights, groups, budget.lr, budget.adam_lr, budget.decay)
        self.schedule = Schedule(len(tokens), budget.batch, budget.window, budget.span, seed)
        self.tokens = torch.from_numpy(tokens.astype(np.int32)).to(device)
        self.kind = torch.bfloat16 if self.cuda else torch.float32
        fast = (lambda f: torch.compile(f, dynamic=False)) if self.cuda else (lambda f: f)
        self.block, self.head_loss, self.noisy = fast(self.source.block), fast(head_loss), fast(noisy)
        self.step = 0

        self.starts = torch.zeros(budget.batch, dtype=torch.long, device=device)
        self.fresh = torch.ones(budget.batch, dtype=torch.bool, device=device)
        self.scale = torch.zeros((), device=device)
        self.share = torch.tensor(budget.noise, device=device)
        self.offsets = torch.arange(budget.window + 1, device=device)
        self.carry = mamba2.empty_carry(dims, budget.batch, device) if model == "mamba2" else []
        self.graphs: dict[bool, tuple[torch.cuda.CUDAGraph, Tensor]] = {}
        self.warm = {False: 0, True: 0}

    def forward(self, inputs: Tensor, weights: dict[str, Tensor]) -> Tensor:
        if self.model == "llama":
            return llama.hidden(weights, inputs, self.dims, self.block)
        keep = (~self.fresh).float()[:, None, None]
        carry = [(tail * keep, state * keep[..., None]) for tail, state in self.carry]
        hidden, after = mamba2.hidden(weights, inputs, carry, self.dims, self.block)
        for old, new in zip(self.carry, after):
            old[0].copy_(new[0].detach())
            old[1].copy_(new[1].detach())
        return hidden

    def learn(self, rounding: bool) -> Tensor:
        """One step from what the tensors say: no choice, no wait, so it can be recorded."""
        batch = self.tokens[self.starts[:, None] + self.offsets].long()
        prepare = self.noisy if rounding else plain
        weights = prepare(self.weights, self.share, self.kind)
        hidden = self.forward(batch[:, :-1], weights)
        loss = self.head_loss(hidden, weights[self.source.EMBEDDING], batch[:, 1:])
        loss.backward()
        self.optimiser.step(self.scale)
        return loss.detach()

    def recorded(self, rounding: bool) -> Tensor:
        """`learn` through its CUDA graph, once it has run often enough to be compiled."""
        if rounding in self.graphs:
            graph, loss = self.graphs[rounding]
            graph.replay()
            return loss
        self.warm[rounding] += 1
        if self.warm[rounding] <= 4:
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                loss = self.learn(rounding)
            torch.cuda.current_stream().wait_stream(side)
            return loss
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss = self.learn(rounding)
        self.graphs[rounding] = graph, loss
        graph.replay()
        return loss

    def train_step(self) -> Tensor:
        """One batch; returns its mean loss in nats per token, still on the device."""
        progress = self.step / self.budget.steps
        starts, fresh = self.schedule.starts(self.step)
        self.starts.copy_(torch.from_numpy(starts))
        self.fresh.copy_(torch.from_numpy(fresh))
        self.scale.fill_(rate(progress, self.budget))
        rounding = progress >= self.budget.rounding
        self.step += 1
        return self.recorded(rounding) if self.cuda else self.learn(rounding)

    def save(self, folder: Path) -> None:
        host = {n: w.detach().cpu().contiguous() for n, w in self.weights.items()}
        save_file(host, folder / "weights.safetensors", {"step": str(self.step)})
        for name, state in (("momentum", self.optimiser.momentum_state()), ("adam", self.optimiser.adam_state())):
            save_file({n: t.cpu().contiguous() for n, t in state.items()}, folder / f"{name}.safetensors")
        (folder / "step.json").write_text(json.dumps({"step": self.step}))

    def resume(self, folder: Path) -> None:
        self.step = json.loads((folder / "step.json").read_text())["step"]
        for name, saved in load_file(folder / "weights.safetensors").items():
            self.weights[name].data.copy_(saved)
        self.optimiser.restore(load_file(folder / "momentum.safetensors"), load_file(folder / "adam.safetensors"))


def run(trainer: Trainer, folder: Path, bytes_per_token: float, every: int, seconds: float | None) -> None:
    """Train to the budget's end, or until `seconds` have passed; log a line every `every` steps."""
    began = mark = time.monotonic()
    total, counted = torch.zeros((), device=trainer.device), 0
    per_step = trainer.budget.batch * trainer.budget.window
    with open(folder / "log.jsonl", "a") as log:
        while trainer.step < trainer.budget.steps:
            total, counted = total + trainer.train_step(), counted + 1
            if trainer.step % every and trainer.step < trainer.budget.steps:
                continue
            loss, now = (total / counted).item(), time.monotonic()
            if not math.isfinite(loss):
                raise SystemExit(f"the loss is {loss} at step {trainer.step}: lower --lr or try another --seed")
            line = {
                "step": trainer.step,
                "tokens": trainer.step * per_step,
                "loss": round(loss, 4),
                "bits_per_byte": round(loss / math.log(2) / bytes_per_token, 4),
                "rate": round(rate(trainer.step / trainer.budget.steps, trainer.budget), 4),
                "tokens_per_second": round(counted * per_step / (now - mark)),
                "seconds": round(now - began, 1),
            }
            print(json.dumps(line), flush=True)
            log.write(json.dumps(line) + "\n")
            log.flush()
            total, counted, mark = torch.zeros_like(total), 0, now
            if seconds is not None and now - began > seconds:
                break
    trainer.save(folder)


def parse() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--work", type=Path, default=WORK, help="folder that `prepare` filled")
    options.add_argument("--name", help="run folder inside --work; default: the model's name")
    options.add_argument("--model", choices=["mamba2", "llama"], default="mamba2")
    options.add_argument("--preset", choices=sorted(presets.BUDGETS), default="gpu")
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--seconds", type=float, help="stop after this long; run again to go on")
    options.add_argument("--every", type=int, default=100, help="steps between log lines")
    for field in ("steps", "batch", "window"):
        options.add_argument(f"--{field}", type=int)
    for field in ("lr", "adam_lr", "decay"):
        options.add_argument(f"--{field.replace('_', '-')}", type=float)
    options.add_argument("--dims", type=json.loads, default={}, help="dimensions to change, as JSON")
    return options.parse_args()


def main() -> None:
    options = parse()
    index = json.loads((options.work / "index.json").read_text())
    changes = {f: getattr(options, f) for f in ("steps", "batch", "window", "lr", "adam_lr", "decay")}
    changes = {f: v for f, v in changes.items() if v is not None}
    budget = dataclasses.replace(presets.BUDGETS[options.preset], **changes)
    dims = dataclasses.replace(presets.dims(options.model, index["vocab"]), **options.dims)
    torch.backends.cuda.matmul.allow_tf32 = True

    tokens = np.fromfile(options.work / "train.u16", dtype=np.uint16)
    bytes_per_token = sum(b["bytes"] for b in index["train"]) / len(tokens)
    trainer = Trainer(options.model, dims, budget, options.seed, tokens, options.device)
    folder = options.work / (options.name or options.model)
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "model": options.model,
        "dims": dataclasses.asdict(dims),
        "budget": dataclasses.asdict(budget),
        "seed": options.seed,
        "parameters": sum(w.numel() for w in trainer.weights.values()),
        "device": torch.cuda.get_device_name() if trainer.cuda else f"cpu, {torch.get_num_threads()} threads",
    }
    if (folder / "step.json").exists():
        before = json.loads((folder / "run.json").read_text())
        if {k: before[k] for k in ("dims", "budget", "seed")} != {k: record[k] for k in ("dims", "budget", "seed")}:
            raise SystemExit(f"{folder} holds a run with other settings: choose another --name or remove it")
        trainer.resume(folder)
    (folder / "run.json").write_text(json.dumps(record, indent=1))
    print(json.dumps(record))
    run(trainer, folder, bytes_per_token, options.every, options.seconds)


if __name__ == "__main__":
    main()
