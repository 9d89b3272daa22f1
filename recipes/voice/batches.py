"""Utterances packed into rows of one speaker each, with everything on the training device.

`Corpus` holds flat tensors over all utterances: sound (int16), normalised log-mel and F0 per frame, units. `Packer`
draws rows with NumPy; `Corpus.row_tensors` turns the drawn indices into a batch without leaving the device.
"""

import math
import multiprocessing
import os
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from features import RATE, log_mel
from model import FRAMES, HOP, MELS, STEP
from voices import SHIPPED

TABLES = ("split", "bandlimit", "speaker", "speakers", "unit_offset", "symbol", "stress", "phrase", "duration", "corpus", "corpora")
REFERENCE = 384  # frames of the speaker encoder's reference, 4.8 s
LISTEN = 112  # steps of a row that a listener judges the speaker by, 2.8 s
MANY = "librispeech-many"  # the corpus of many readers


@dataclass
class Shape:
    """Rows of a batch, steps and units of a row (multiples of 64), frames of the piece that is made audible."""

    rows: int = 32
    steps: int = 512
    units: int = 320
    piece: int = 48


class Corpus:
    """`data` is what data.load returns. Frames and samples of utterance u start at 2 and 600 times offset[u]."""

    def __init__(self, data, device: str):
        self.data, self.device = data, device
        steps = np.asarray(data.steps, dtype=np.int64)
        self.steps, self.offset = steps, np.concatenate([[0], np.cumsum(steps)])
        self.sound = torch.from_numpy(data.audio).to(device)
        data.audio = data.audio[:0]
        f0 = torch.from_numpy(np.asarray(data.f0, dtype=np.float32)).to(device)
        self.voiced = f0 > 0
        self.mel = self.all_mels()
        self.mean, self.std = self.statistics()
        self.mel = ((self.mel.float() - self.mean) / self.std).half()
        self.log_f0 = held(f0, self.offset)
        self.means = self.speaker_means()
        self.taught = torch.from_numpy(np.asarray(data.embedding, dtype=np.float32)).to(device)
        narrow = np.bincount(data.speaker, weights=data.bandlimit != 0) > 0
        self.narrow_speakers = torch.from_numpy(narrow).to(device)

    def all_mels(self) -> Tensor:
        out = torch.empty(len(self.sound) // HOP, MELS, dtype=torch.float16, device=self.device)
        for u in range(len(self.steps)):
            a, b = self.offset[u], self.offset[u + 1]
            sound = self.sound[a * STEP : b * STEP].float() / 32768
            out[a * FRAMES : b * FRAMES] = log_mel(sound[None])[0].half()
        return out

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Per band over frames that are not silent, of full-band recordings of the training split."""
        full = np.repeat((self.data.bandlimit == 0) & (self.data.split == 0), self.steps * FRAMES)
        mel = self.mel[torch.from_numpy(full).to(self.device)]
        mel = mel[mel.float().mean(1) > -7.5].float()
        return mel.mean(0), mel.std(0).clamp(min=0.5)

    def speaker_means(self) -> Tensor:
        """Mean log F0 over the voiced frames of each speaker."""
        speaker = torch.from_numpy(np.repeat(self.data.speaker, self.steps * FRAMES)).to(self.device).long()
        weight = self.voiced.float()
        count = int(self.data.speaker.max()) + 1
        total = torch.zeros(count, device=self.device).index_add(0, speaker, self.log_f0.float() * weight)
        return total / torch.zeros(count, device=self.device).index_add(0, speaker, weight).clamp(min=1)


def held(f0: Tensor, offset: np.ndarray) -> Tensor:
    """log F0, linearly bridged through unvoiced frames within each utterance."""
    host = f0.cpu().numpy()
    out = np.full(len(host), 5.0, dtype=np.float32)
    for a, b in zip(offset[:-1] * FRAMES, offset[1:] * FRAMES):
        piece = host[a:b]
        at = np.flatnonzero(piece > 0)
        if len(at):
            out[a:b] = np.interp(np.arange(b - a), at, np.log(piece[at]))
    return torch.from_numpy(out).to(f0.device)


class Packer:
    """Draws rows: a speaker, a reference of his, others of his utterances in random order until the row is full, and a
    piece to make audible. Speakers are drawn by the root of their amount; those that ship five times as often, since
    they are what most people hear, and the many readers `readers` times, since all that is known of how real people differ
    comes from their few seconds each."""

    def __init__(self, corpus: Corpus, shape: Shape, seed: int, split: int = 0, readers: float = 4.0):
        # Only the small tables: packers travel to other processes.
        data = SimpleNamespace(**{name: getattr(corpus.data, name) for name in TABLES})
        self.data, self.steps, self.offset = data, corpus.steps, corpus.offset
        self.shape, self.seed, self.rng = shape, seed, np.random.default_rng(seed)
        usable = (data.split == split) & (self.steps + 1 <= shape.steps) & (self.steps >= 24)
        self.of = {}
        for u in np.flatnonzero(usable):
            self.of.setdefault(int(data.speaker[u]), []).append(int(u))
        self.speakers = np.array(sorted(self.of))
        ships = {speaker for _, speaker, _, _ in SHIPPED}
        weight = np.array([self.amount(s) ** 0.5 for s in self.speakers])
        for i, s in enumerate(self.speakers):
            if data.speakers[s]["name"] in ships:
                weight[i] *= 5
            elif data.corpora[data.corpus[self.of[int(s)][0]]] == MANY:
                weight[i] *= readers
        self.weight = weight / weight.sum()

    def amount(self, speaker: int) -> float:
        return float(sum(self.steps[self.of[int(speaker)]]))

    def draw(self) -> dict[str, np.ndarray]:
        shape = self.shape
        speakers = self.rng.choice(self.speakers, size=shape.rows, p=self.weight)
        rows = [self.row(int(s)) for s in speakers]
        batch = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
        batch["speaker"] = speakers
        return batch

    def row(self, speaker: int) -> dict[str, np.ndarray]:
        shape, data = self.shape, self.data
        unit_keys = ("symbol", "stress", "first", "phrase", "target")
        units = {k: np.zeros(shape.units, dtype=np.int64) for k in unit_keys}
        units["phrase"] -= 2
        units["target"] -= 1
        steps = {k: np.zeros(shape.steps, dtype=np.int64) for k in ("unit", "done", "left", "segment", "source")}
        steps["segment"] -= 2
        steps["source"] -= 1
        prompt = np.zeros(shape.steps, dtype=bool)
        t = n = phrase = 0
        taken = []
        own = self.of[speaker]
        reference = int(own[self.rng.integers(len(own))])
        others = [u for u in own if u != reference] or own
        for u in self.rng.permutation(others):
            a, b = data.unit_offset[u], data.unit_offset[u + 1]
            count, length = int(b - a), int(self.steps[u])
            if t + 1 + length > shape.steps or n + count > shape.units:
                continue
            numbers = data.phrase[a:b].astype(np.int64)
            durations = data.duration[a:b].astype(np.int64)
            units["symbol"][n : n + count] = data.symbol[a:b]
            units["stress"][n : n + count] = data.stress[a:b]
            units["first"][n : n + count] = numbers == 0
            units["phrase"][n : n + count] = numbers + phrase
            units["target"][n : n + count] = durations
            phrase += int(numbers[-1]) + 1
            prompt[t] = True
            steps["segment"][t : t + 1 + length] = len(taken)
            start = np.cumsum(durations) - durations
            unit = np.repeat(np.arange(count), durations)
            steps["unit"][t + 1 : t + 1 + length] = unit + n
            steps["done"][t + 1 : t + 1 + length] = np.arange(length) - start[unit]
            steps["left"][t + 1 : t + 1 + length] = durations[unit] - 1 - (np.arange(length) - start[unit])
            steps["source"][t + 1 : t + 1 + length] = self.offset[u] + np.arange(length)
            taken.append((int(u), t + 1, length))
            t, n = t + 1 + length, n + count
            if shape.steps - t < 48 or len(taken) == 12:
                break
        return {**units, **steps, "prompt": prompt, **self.extras(taken), **self.reference(reference)}

    def extras(self, taken: list[tuple[int, int, int]]) -> dict[str, np.ndarray]:
        """Where the audible piece lies (first step of the row, of the corpus), and the steps a listener gets."""
        want = self.shape.piece // FRAMES
        u, at, length = taken[self.rng.integers(len(taken))]
        if length < want:
            u, at, length = max(taken, key=lambda t: t[2])
        skip = int(self.rng.integers(max(length - want, 0) + 1))
        spoken = np.concatenate([np.arange(at, at + length) for _, at, length in taken])
        begin = int(self.rng.integers(max(len(spoken) - LISTEN, 0) + 1))
        return {
            "piece_row": np.int64(at + skip), "piece_source": np.int64(self.offset[u] + skip),
            "said": np.int64(taken[0][0]), "listen": np.resize(spoken[begin:], LISTEN),
            "window": self.rng.random(2).astype(np.float32),
        }

    def reference(self, utterance: int) -> dict[str, np.ndarray]:
        """Which frames of the corpus the speaker encoder hears."""
        frames = int(self.steps[utterance]) * FRAMES
        start = int(self.rng.integers(max(frames - REFERENCE, 0) + 1))
        return {
            "reference": np.int64(utterance), "reference_start": np.int64(self.offset[utterance] * FRAMES + start),
            "reference_frames": np.int64(min(frames, REFERENCE)),
        }


def drawn(packer: Packer, processes: int = max(2, min(8, (os.cpu_count() or 2) // 8))):
    """Batches without end, drawn in other processes while the device works."""
    context = multiprocessing.get_context("spawn")
    ready = context.Queue(maxsize=2 * processes)
    for number in range(processes):
        context.Process(target=keep_drawing, args=(packer, number, ready), daemon=True).start()
    while True:
        yield ready.get()


def keep_drawing(packer: Packer, number: int, ready) -> None:
    packer.rng = np.random.default_rng([packer.seed, number])
    while True:
        ready.put(packer.draw())


def to_device(batch: dict[str, np.ndarray], device: str) -> dict[str, Tensor]:
    return {k: torch.from_numpy(np.ascontiguousarray(v)).to(device, non_blocking=True) for k, v in batch.items()}


@dataclass
class Disguise:
    """Turns rows into other people's speech: frequencies are stretched by exp(`stretch`) (shorter or longer vocal
    tracts, and pitch with them), and bands are raised or lowered by a smooth curve (other heads, other rooms). Rows
    with stretch 0 and curve 0 are as they were."""

    stretch: Tensor  # (rows,)
    curve: Tensor  # (rows, 100), in standard deviations of the log-mel

    @staticmethod
    def draw(plain: int, narrow: Tensor) -> "Disguise":
        """The first `plain` rows stay themselves. `narrow` (rows,): the recording has no upper bands, so that it can
        be stretched upwards only."""
        rows, device = len(narrow), narrow.device
        other = (torch.arange(rows, device=device) >= plain).float()
        stretch = (torch.rand(rows, device=device) * 2 - 1) * 0.16 * other
        stretch = torch.where(narrow, stretch.abs(), stretch)
        waves = torch.arange(1, 5, device=device)
        shapes = torch.cos(torch.pi * waves[:, None] * torch.linspace(0, 1, MELS, device=device))
        curve = (torch.randn(rows, 4, device=device) * 0.25 / waves**0.5) @ shapes
        return Disguise(stretch, curve * other[:, None])

    def mel(self, corpus: Corpus, mel: Tensor) -> Tensor:
        """Normalised log-mel frames (rows, frames, 100)."""
        place = stretched_bands(self.stretch)
        low = place.floor().clamp(0, MELS - 2)
        share = (place - low).clamp(0, 1)[:, None]
        index = low.long()[:, None].expand(-1, mel.shape[1], -1)
        raw = mel * corpus.std + corpus.mean
        raw = torch.gather(raw, 2, index) * (1 - share) + torch.gather(raw, 2, index + 1) * share
        changed = (raw - corpus.mean) / corpus.std + self.curve[:, None]
        same = (self.stretch == 0)[:, None, None]
        return torch.where(same, mel, changed)

    def sound(self, corpus: Corpus, sound: Tensor) -> Tensor:
        """Samples (rows, n) changed in the same way, but for the tempo, which goes up with the frequencies; a length
        of sound that a listener knows the new speaker by."""
        length = sound.shape[1]
        at = torch.arange(length, device=sound.device) * self.stretch.exp()[:, None]
        at = at.remainder(length - 2)  # what a faster reading leaves empty is read again
        first = at.long()
        share = at - first
        sound = torch.gather(sound, 1, first) * (1 - share) + torch.gather(sound, 1, first + 1) * share
        gain = self.curve * corpus.std  # of the bands, nepers
        place = band_place(torch.fft.rfftfreq(length, 1 / RATE, device=sound.device))
        low = place.floor().clamp(0, MELS - 2).long()
        share = (place - low).clamp(0, 1)
        gain = gain[:, low] * (1 - share) + gain[:, low + 1] * share
        return torch.fft.irfft(torch.fft.rfft(sound) * gain.exp(), n=length)


TOP = math.log1p(RATE / 2 / 700.0)  # of the mel scale, in its natural unit


def band_place(hertz: Tensor) -> Tensor:
    """Where a frequency lies on the band axis: 0 is the centre of the first band."""
    return torch.log1p(hertz / 700.0) * ((MELS + 1) / TOP) - 1


def stretched_bands(stretch: Tensor) -> Tensor:
    """(rows, 100): from which place on the band axis each band takes its value when frequencies are multiplied by
    exp(stretch)."""
    hertz = 700.0 * torch.expm1(torch.arange(1, MELS + 1, device=stretch.device) * (TOP / (MELS + 1)))
    return band_place(hertz * torch.exp(-stretch)[:, None])


def frames_of(corpus: Corpus, batch: dict[str, Tensor], disguise: Disguise | None = None) -> dict[str, Tensor]:
    """Targets of every frame of the rows: mel, pitch relative to the speaker's mean, voicing, and which count."""
    real = batch["source"] >= 0
    source = batch["source"].clamp(min=0)
    frame = (source[..., None] * FRAMES + torch.arange(FRAMES, device=source.device)).flatten(1)
    mask = real.repeat_interleave(FRAMES, 1)
    mean = corpus.means[batch["speaker"]][:, None]
    mel = corpus.mel[frame].float()
    return {
        "mel": disguise.mel(corpus, mel) if disguise else mel, "pitch": (corpus.log_f0[frame] - mean) / 0.25,
        "voiced": corpus.voiced[frame].float(), "mask": mask.float(),
    }


def references(corpus: Corpus, batch: dict[str, Tensor], disguise: Disguise | None = None) -> tuple[Tensor, Tensor]:
    """(rows, 384, 100) mel frames and their segment numbers: 0 for frames, 1 for padding."""
    index = torch.arange(REFERENCE, device=batch["reference_start"].device)
    inside = index < batch["reference_frames"][:, None]
    frame = (batch["reference_start"][:, None] + index).clamp(max=len(corpus.mel) - 1)
    mel = corpus.mel[frame].float()
    mel = disguise.mel(corpus, mel) if disguise else mel
    return mel * inside[..., None], (~inside).long()
