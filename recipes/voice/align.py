"""Which step of a recording belongs to which unit: a small frame classifier and Viterbi decoding over whole steps.

The classifier learns from the teacher's speech, whose durations are known, and is then heard on real recordings.
Its classes are the phones, the space (the end of a word in running speech) and silence.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import data
from features import STEP, log_mel
from teacher import loud_steps
from units import BOS, EOS, PHONES, PUNCTUATION, SPACE, Units, pauses

BANDS = 84  # up to 7.6 kHz, which every recording has
CLASSES = [*PHONES, SPACE, "silence"]
NUMBER = {name: i for i, name in enumerate(CLASSES)}
SILENCE, IGNORED = NUMBER["silence"], -100
SPEEDS = ((1, 1), (8, 9), (9, 8))  # resampling: up, down
PRIOR = 0.1  # how much of the classes' prior is divided out of their probability
PAUSE_COST, PAUSE_STEPS = 3.0, 6  # cost of a silence nobody wrote; its least length in steps to become a comma


class Classifier(nn.Module):
    """Log-probabilities of the classes for every frame, from about 0.4 s around it."""

    def __init__(self, width: int = 160):
        super().__init__()
        self.input = nn.Conv1d(BANDS, width, 5, padding=2)
        dilations = (1, 2, 4, 1, 2, 4)
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in dilations)
        self.convs = nn.ModuleList(nn.Conv1d(width, width, 3, padding=d, dilation=d) for d in dilations)
        self.output = nn.Conv1d(width, len(CLASSES), 1)

    def forward(self, mel: Tensor) -> Tensor:
        """(batch, frames, 84) -> (batch, frames, classes)"""
        x = self.input(mel.transpose(1, 2))
        for norm, conv in zip(self.norms, self.convs):
            x = x + F.dropout(conv(F.gelu(norm(x))), 0.1, self.training)
        return self.output(F.gelu(x)).transpose(1, 2).log_softmax(-1)


def levelled(mel: Tensor) -> Tensor:
    """Log-mel bands relative to their mean over the louder half of the frames, floored 7 nepers (60 dB) below."""
    level = mel.mean(1)
    mean = mel[level >= level.median()].mean(0)
    return (mel - mean).clamp(min=-7.0) / 2.0


def frame_classes(units: Units, loud: np.ndarray) -> np.ndarray:
    """Class of every step of a teacher's utterance; sounding steps of punctuation are left out."""
    out = np.full(sum(units.durations), IGNORED)
    at = 0
    for i, (symbol, duration) in enumerate(zip(units.symbols, units.durations)):
        steps = slice(at, at + duration)
        if symbol in NUMBER and not (symbol == SPACE and units.symbols[i - 1] in PUNCTUATION):
            out[steps] = NUMBER[symbol]
        else:
            out[steps] = np.where(loud[steps], IGNORED, SILENCE)
        at += duration
    return out


def recorded_classes(units: Units) -> np.ndarray:
    """Class of every step of an aligned recording; gaps with punctuation are silence where they are long enough."""
    out, at = np.full(sum(units.durations), IGNORED), 0
    for i, (symbol, duration) in enumerate(zip(units.symbols, units.durations)):
        marked = symbol not in NUMBER or (symbol == SPACE and units.symbols[i - 1] in PUNCTUATION)
        if not marked:
            out[at : at + duration] = NUMBER[symbol]
        elif duration >= 3:
            out[at : at + duration] = SILENCE
        at += duration
    return out


def examples(sound: np.ndarray, classes: np.ndarray, speeds: tuple = SPEEDS) -> list[tuple[Tensor, Tensor]]:
    """(mel, class) per frame at several speeds."""
    from scipy.signal import resample_poly

    out = []
    for up, down in speeds:
        faster = sound if up == down else resample_poly(sound, up, down).astype(np.float32)
        mel = log_mel(torch.from_numpy(faster))[:, :BANDS]
        at = ((np.arange(len(mel)) + 0.5) * down / up / 2).astype(int).clip(max=len(classes) - 1)
        out.append((mel.half(), torch.from_numpy(classes[at])))
    return out


def disturbed(mel: Tensor, generator: torch.Generator) -> Tensor:
    """A random smooth equaliser and a random floor of noise."""
    draw = lambda *shape: torch.randn(*shape, generator=generator)
    points = F.interpolate(draw(1, 1, 7) * 0.7, size=BANDS, mode="linear", align_corners=True)[0, 0]
    mel = mel + points
    loud = mel.mean(1).quantile(0.9)
    tilt = torch.linspace(0.5, -0.5, BANDS) * draw(1)
    floor = loud - 2.5 - 5.0 * torch.rand(1, generator=generator) + tilt
    return torch.logaddexp(mel, floor + 0.3 * draw(*mel.shape))


def train(samples: list[tuple[Tensor, Tensor]], epochs: int, seed: int = 0, chunk: int = 256, rows: int = 32,
          model: Classifier | None = None, rate: float = 2e-3) -> Classifier:
    """A classifier trained on pieces of 256 frames, or `model` trained on."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = model or Classifier()
    total = epochs * (sum(len(mel) for mel, _ in samples) // (chunk * rows))
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=total + 1, pct_start=0.1)
    weight = torch.tensor([len(mel) for mel, _ in samples], dtype=torch.float)
    model.train()
    for step in range(total):
        mels, labels = torch.zeros(rows, chunk, BANDS), torch.full((rows, chunk), IGNORED)
        for row, k in enumerate(torch.multinomial(weight, rows, generator=generator).tolist()):
            mel, classes = samples[k]
            start = int(torch.randint(max(len(mel) - chunk, 0) + 1, (1,), generator=generator))
            whole = mel.float()
            if torch.rand(1, generator=generator) < 0.7:
                whole = disturbed(whole, generator)
            piece = levelled(whole)[start : start + chunk]
            mels[row, : len(piece)] = piece
            labels[row, : len(piece)] = classes[start : start + chunk]
        logs = model(mels)
        loss = F.nll_loss(logs.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"classifier {step}/{total}: loss {loss.item():.3f}", flush=True)
    return model.eval()


def priors(samples: list[tuple[Tensor, Tensor]]) -> np.ndarray:
    counts = np.ones(len(CLASSES))
    for _, classes in samples:
        known = classes[classes >= 0].numpy()
        counts += np.bincount(known, minlength=len(CLASSES))
    return np.log(counts / counts.sum())


@torch.inference_mode()
def hear(model: Classifier, sound: np.ndarray) -> np.ndarray:
    """(steps, classes): log-probabilities, mean over a step's two frames."""
    steps = -(-len(sound) // STEP)
    mel = log_mel(torch.from_numpy(data.cut(sound, 0, steps * STEP)))[:, :BANDS]
    return model(levelled(mel)[None])[0].view(steps, 2, -1).mean(1).double().numpy()


@dataclass
class States:
    """What Viterbi walks through: a class and a unit for each state, which states may be passed over, at what cost."""

    classes: list[int]
    units: list[int]
    optional: list[bool]
    cost: list[float]

    def add(self, kind: int, unit: int, optional: bool, cost: float = 0.0) -> None:
        self.classes.append(kind)
        self.units.append(unit)
        self.optional.append(optional)
        self.cost.append(cost)


def states(units: Units) -> States:
    """One state a phone; a gap between words is a space and a silence, either of which may be missing."""
    out = States([], [], [], [])
    for i, symbol in enumerate(units.symbols):
        if symbol in (BOS, EOS):
            out.add(SILENCE, i, True)
        elif not pauses(symbol):
            out.add(NUMBER[symbol], i, False)
        elif not pauses(units.symbols[i + 1]):  # the last unit of a gap
            written = symbol in PUNCTUATION or units.symbols[i - 1] in PUNCTUATION
            out.add(NUMBER[SPACE], i, True)
            out.add(SILENCE, i, True, 0.0 if written else PAUSE_COST)
    return out


def viterbi(logs: np.ndarray, path: States) -> np.ndarray:
    """(states,): steps of each state on the best way through all of them."""
    steps, count = len(logs), len(path.classes)
    emitted, cost = logs[:, path.classes], np.array(path.cost)
    optional = np.array(path.optional)
    reach = 1  # how many states ahead a walk may go: past as many optional ones as stand together
    run = 0
    for flag in path.optional:
        run = run + 1 if flag else 0
        reach = max(reach, run + 1)
    allowed = np.zeros((reach + 1, count), dtype=bool)
    allowed[0] = True
    for jump in range(1, reach + 1):
        for s in range(jump, count):
            allowed[jump, s] = optional[s - jump + 1 : s].all()
    best = np.full(count, -np.inf)
    for s in range(min(reach, count)):
        if optional[:s].all():
            best[s] = emitted[0, s] - cost[s]
    back = np.zeros((steps, count), dtype=np.int8)
    for t in range(1, steps):
        options = np.full((reach + 1, count), -np.inf)
        options[0] = best
        for jump in range(1, min(reach, count - 1) + 1):
            options[jump, jump:] = best[:-jump] - cost[jump:]
        options[~allowed] = -np.inf
        back[t] = options.argmax(0)
        best = options[back[t], np.arange(count)] + emitted[t]
    ends = [s for s in range(count) if optional[s + 1 :].all()]
    s = max(ends, key=lambda e: best[e])
    if not np.isfinite(best[s]):
        raise ValueError("fewer steps than phones")
    out = np.zeros(count, dtype=int)
    for t in range(steps - 1, -1, -1):
        out[s] += 1
        s -= int(back[t, s])
    return out


def align(logs: np.ndarray, units: Units, prior: np.ndarray) -> tuple[Units, float]:
    """Units with their durations, and the mean log-probability of the phones' steps.

    A silence of 6 steps or more that nobody wrote becomes a comma. A gap's steps are shared evenly between its
    punctuation and its space, as the teacher does.
    """
    path = states(units)
    given = viterbi(logs - PRIOR * prior, path)
    gaps = {}
    for kind, unit, steps in zip(path.classes, path.units, given):
        gaps.setdefault(unit, []).append((kind, int(steps)))
    out = Units()
    at, total, sounding = 0, 0.0, 0
    for i, (symbol, stress) in enumerate(zip(units.symbols, units.stresses)):
        if i not in gaps:
            out.add(symbol, stress, 0)
            continue
        steps = sum(n for _, n in gaps[i])
        if not pauses(symbol):
            total += logs[at : at + steps, gaps[i][0][0]].sum()
            sounding += steps
            out.add(symbol, stress, steps)
        elif symbol == SPACE:
            share(out, steps, gaps[i][-1][1])
        else:
            out.add(symbol, stress, steps)
        at += steps
    return out, total / max(sounding, 1)


def share(out: Units, steps: int, silent: int) -> None:
    """Add a space that ends a gap of `steps` steps, giving the punctuation before it its half."""
    if out.symbols[-1] not in PUNCTUATION:
        if silent < PAUSE_STEPS:
            out.add(SPACE, 0, steps)
            return
        out.add(",", 0, 0)
    out.durations[-1] = steps - steps // 2
    out.add(SPACE, 0, steps // 2)


def teacher_examples(sound: np.ndarray, units: Units) -> list[tuple[Tensor, Tensor]]:
    return examples(sound, frame_classes(units, loud_steps(sound, sum(units.durations))))
