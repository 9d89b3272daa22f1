"""The voice's networks: text encoder, acoustic backbone, speaker encoder.

The vocoder is in vocoder.py. `config` below is what the checkpoint carries and the runtime reads. Shapes:
units are (batch, units), steps (batch, steps), frames (batch, 2 * steps, ...); rows are packed (see stacks.py).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stacks import Context, Stack

SAMPLE_RATE, HOP, N_FFT, MELS, FRAMES = 24000, 300, 1024, 100, 2
STEP = HOP * FRAMES
VOICE = 128
TOKENS = 24  # vectors of a voice beside the one that sums it up
PITCH = FRAMES * (MELS + 2)
# Bands above 7.6 kHz are kept from the speaker encoder: half of all recordings do not have them.
SPEAKER_BANDS = 84
NEAR = 16  # positions within a unit that are told apart, from either end

SIZES = {
    "small": dict(text=256, text_blocks=2, attend_blocks=2, acoustic=320, acoustic_blocks=6, vocoder=256,
                  vocoder_ff=768, vocoder_blocks=6, speaker=256, speaker_blocks=3),
    "tiny": dict(text=64, text_blocks=1, attend_blocks=1, acoustic=64, acoustic_blocks=2, vocoder=64, vocoder_ff=96,
                 vocoder_blocks=2, speaker=64, speaker_blocks=1),
}


def mamba2_blocks(count: int, headdim: int = 64) -> list[dict]:
    return [{"type": "mamba2", "d_state": 64, "headdim": headdim, "d_conv": 4}] * count


def attention_blocks(count: int, d_model: int, d_ff: int) -> list[dict]:
    pair = [
        {"type": "attention", "heads": d_model // 64, "head_dim": 64, "rope_theta": 10000.0},
        {"type": "mlp", "d_ff": d_ff, "activation": "gelu_tanh"},
    ]
    return pair * count


def backbone_blocks(kind: str, d_model: int, count: int) -> list[dict]:
    """Either backbone with as many parameters: a Mamba-2 block, or attention and an MLP sized to match it."""
    if kind == "ssm":
        return mamba2_blocks(count)
    inner = 2 * d_model
    mamba = d_model * (2 * inner + 2 * 64 + inner // 64) + inner * d_model + 5 * (inner + 128)
    d_ff = round((mamba - 4 * d_model * (d_model // 64) * 64) / (2 * d_model) / 32) * 32
    return attention_blocks(count, d_model, d_ff)


def configuration(symbols: list[str], backbone: str = "ssm", size: str = "small") -> dict:
    s = SIZES[size]
    stack = lambda d_model, blocks: {"d_model": d_model, "blocks": blocks}
    pair = [{"type": "conv", "d_conv": 7}, {"type": "mlp", "d_ff": s["vocoder_ff"], "activation": "gelu_tanh"}]
    return {
        "model_type": "sillage-voice", "version": 1, "sample_rate": SAMPLE_RATE, "hop": HOP, "n_fft": N_FFT,
        "frames_per_step": FRAMES, "mels": MELS, "voice_dim": VOICE, "voice_tokens": TOKENS, "voice_space": "sillage-voice-2",
        "speaker_bands": SPEAKER_BANDS,
        "near": NEAR, "noise_bands": 64, "symbols": symbols, "backbone": backbone,
        "text": {"forward": stack(s["text"], mamba2_blocks(s["text_blocks"])),
                 "backward": stack(s["text"], mamba2_blocks(s["text_blocks"])),
                 "attend": stack(s["text"], attention_blocks(s["attend_blocks"], s["text"], 2 * s["text"]))},
        "acoustic": stack(s["acoustic"], backbone_blocks(backbone, s["acoustic"], s["acoustic_blocks"])),
        "vocoder": stack(s["vocoder"], pair * s["vocoder_blocks"]),
        "speaker": stack(s["speaker"], mamba2_blocks(s["speaker_blocks"])),
    }


@dataclass
class Speaker:
    """What the networks know of who speaks: `vector` (batch, 128), which sums the voice up, and `tokens`
    (batch, 24, 128), each about another kind of sound. Both are of length sqrt(128) along their last axis."""

    vector: Tensor
    tokens: Tensor

    def map(self, change) -> "Speaker":
        return Speaker(change(self.vector), change(self.tokens))


class TextEncoder(nn.Module):
    """Units to hidden vectors, seeing one phrase at a time from both ends, and then the voice's tokens."""

    def __init__(self, config: dict):
        super().__init__()
        d = config["text"]["forward"]["d_model"]
        self.embedding = nn.Embedding(len(config["symbols"]), d)
        self.stress = nn.Embedding(3, d)
        self.first = nn.Embedding(2, d)
        for table in (self.embedding, self.stress, self.first):
            nn.init.normal_(table.weight, std=0.5)
        self.voice = nn.Linear(config["voice_dim"], d, bias=False)
        self.forward_ = Stack(config["text"]["forward"])
        self.backward_ = Stack(config["text"]["backward"])
        self.join = nn.Linear(2 * d, d)
        self.token = nn.Linear(config["voice_dim"], d)
        self.attend = Stack(config["text"]["attend"])

    def forward(self, symbol: Tensor, stress: Tensor, first: Tensor, voice: Speaker, phrase: Tensor) -> Tensor:
        """The attending stack is fed the voice's tokens first, then the units: the runtime keeps the state it has after
        the tokens and forks it for every phrase."""
        u = self.embedding(symbol) + self.stress(stress) + self.first(first) + self.voice(voice.vector)[:, None]
        ahead = self.forward_(u, Context.of(phrase))
        back = self.backward_(u.flip(1), Context.of(phrase.flip(1))).flip(1)
        h = self.join(torch.cat([ahead, back], -1))
        tokens = self.token(voice.tokens)
        count = tokens.shape[1]
        return self.attend(torch.cat([tokens.float(), h.float()], 1), Context.after(count, phrase))[:, count:]


class Duration(nn.Module):
    """log(1 + steps) of every unit."""

    def __init__(self, d: int):
        super().__init__()
        self.up, self.down = nn.Linear(d, d), nn.Linear(d, 1)

    def forward(self, h: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(h), approximate="tanh")).squeeze(-1)


class Acoustic(nn.Module):
    """Unit vectors spread over steps, then the causal backbone, then two frames a step."""

    def __init__(self, config: dict):
        super().__init__()
        d, voice = config["acoustic"]["d_model"], config["voice_dim"]
        self.join = nn.Linear(config["text"]["forward"]["d_model"], d)
        self.voice = nn.Linear(voice, d, bias=False)
        self.from_start, self.to_end = nn.Embedding(NEAR, d), nn.Embedding(NEAR, d)
        nn.init.normal_(self.from_start.weight, std=0.3)
        nn.init.normal_(self.to_end.weight, std=0.3)
        self.prompt = nn.Parameter(torch.randn(d) * 0.3)
        self.prompt_voice = nn.Linear(voice, d, bias=False)
        self.backbone = Stack(config["acoustic"])
        self.head = nn.Linear(d, PITCH)
        nn.init.normal_(self.head.weight, std=0.02)

    def forward(self, h: Tensor, voice: Tensor, unit: Tensor, done: Tensor, left: Tensor, prompt: Tensor,
                segment: Tensor) -> Tensor:
        """h (batch, units, d_text); unit, done, left, segment (batch, steps): which unit each step belongs to, its
        index within it from either end, its utterance; prompt: the step is its utterance's prompt."""
        spread = torch.gather(h, 1, unit[..., None].expand(-1, -1, h.shape[-1]))
        x = self.join(spread) + self.from_start(done.clamp(max=NEAR - 1)) + self.to_end(left.clamp(max=NEAR - 1))
        x = x + self.voice(voice)[:, None]
        first = (self.prompt + self.prompt_voice(voice))[:, None]
        x = torch.where(prompt[..., None], first.to(x.dtype), x)
        return self.head(self.backbone(x.float(), Context.of(segment)))


class SpeakerEncoder(nn.Module):
    """Normalised log-mel frames (batch, frames, 100) to a voice and its mean log F0."""

    def __init__(self, config: dict):
        super().__init__()
        d = config["speaker"]["d_model"]
        self.bands, self.dim = config["speaker_bands"], config["voice_dim"]
        self.input = nn.Linear(config["mels"], d)
        self.trunk = Stack(config["speaker"])
        self.gate = nn.Linear(d, 1)
        self.out = nn.Linear(2 * d, self.dim + 1)
        self.query = nn.Linear(d, config["voice_tokens"], bias=False)
        self.token = nn.Linear(d, self.dim)

    def forward(self, mel: Tensor, segment: Tensor | None = None) -> tuple[Speaker, Tensor]:
        seen = torch.zeros_like(mel)
        seen[..., : self.bands] = mel[..., : self.bands]
        segment = torch.zeros(mel.shape[:2], dtype=torch.long, device=mel.device) if segment is None else segment
        g = self.trunk(self.input(seen).float(), Context.of(segment))
        inside = (segment == 0)[..., None]
        weight = torch.sigmoid(self.gate(g).float()) * inside
        weight = weight / weight.sum(1, keepdim=True)
        mean = (weight * g).sum(1)
        deviation = torch.sqrt((weight * (g - mean[:, None]).square()).sum(1) + 1e-5)
        out = self.out(torch.cat([mean, deviation], -1)).float()
        vector = F.normalize(out[:, : self.dim], dim=-1) * self.dim**0.5
        share = self.query(g).float().masked_fill(~inside, float("-inf")).softmax(1)  # over frames, for every token
        tokens = self.token(share.transpose(1, 2) @ g).float()
        return Speaker(vector, F.normalize(tokens, dim=-1) * self.dim**0.5), 5.0 + 0.5 * out[:, self.dim]


class Voice(nn.Module):
    """Everything before the vocoder."""

    def __init__(self, config: dict):
        super().__init__()
        self.config = config
        self.text = TextEncoder(config)
        self.duration = Duration(config["text"]["forward"]["d_model"])
        self.acoustic = Acoustic(config)
        self.speaker = SpeakerEncoder(config)
        self.mel = nn.Module()
        self.mel.register_buffer("mean", torch.zeros(MELS))
        self.mel.register_buffer("std", torch.ones(MELS))

    def frames(self, out: Tensor) -> Tensor:
        """(batch, steps, 204) to (batch, 2 * steps, 102): mel, pitch, voicing logit."""
        return out.reshape(out.shape[0], -1, MELS + 2)


def exported(name: str) -> str:
    """A parameter's name in the checkpoint."""
    return name.replace("forward_", "forward").replace("backward_", "backward")


@torch.no_grad()
def synthesise(model: Voice, phrases: list[dict], voice: Speaker, speed: float = 1.0, durations=None) -> dict:
    """One utterance the way the runtime makes it: phrases of {"symbols", "stresses"} to frames. The yardstick
    for the runtime's goldens; `voice` without a batch axis; `durations` overrides the predicted ones."""
    voice = voice.map(lambda x: x[None])
    h, steps = [], []
    for number, phrase in enumerate(phrases):
        symbol = torch.tensor([phrase["symbols"]])
        stress = torch.tensor([phrase["stresses"]])
        first = torch.full_like(symbol, int(number == 0))
        h.append(model.text(symbol, stress, first, voice, torch.zeros_like(symbol))[0])
        steps.append(torch.expm1(model.duration(h[-1])).clamp(min=0))
    h, steps = torch.cat(h), torch.cat(steps)
    if durations is None:
        durations = whole_steps(steps / speed, [s for p in phrases for s in p["sounding"]])
    unit = torch.repeat_interleave(torch.arange(len(h)), torch.tensor(durations))
    start = torch.cumsum(torch.tensor([0] + durations), 0)
    done = torch.arange(len(unit)) - start[unit]
    left = start[unit + 1] - 1 - torch.arange(len(unit)) if len(unit) else done
    pad = lambda x: F.pad(x, (1, 0))[None]  # the prompt goes first
    length = len(unit) + 1
    prompt = torch.zeros(1, length, dtype=torch.bool)
    prompt[0, 0] = True
    out = model.acoustic(h[None], voice.vector, pad(unit), pad(done), pad(left), prompt,
                         torch.zeros(1, length, dtype=torch.long))
    return {"h": h, "steps": steps, "durations": durations, "frames": model.frames(out[:, 1:])[0]}


def whole_steps(steps: Tensor, sounding: list[bool]) -> list[int]:
    """Rounds cumulatively, so that errors do not add up; a sounding phone gets at least one step."""
    given, total, whole = 0, 0.0, []
    for real, sounds in zip(steps.tolist(), sounding):
        total += real
        count = max(int(total + 0.5) - given, int(sounds), 0)
        given += count
        whole.append(count)
    return whole
