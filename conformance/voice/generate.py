"""Tiny voice models of random weights, and what PyTorch says they sound like.

    python conformance/voice/generate.py

needs what recipes/voice/requirements.txt lists (torch, numpy, safetensors). For each backbone it writes a folder
with config.json and model.safetensors (in bf16, to which the weights are rounded first), and golden.safetensors:

    voice, tokens, mu     the voice that speaks
    symbols, stresses, phrase, durations, h, steps
                          units of all phrases one after another: ids, stress, number of the phrase, whole steps,
                          text vectors, real steps
    frames                (frames, 102) as the backbone makes them, at speed 1
    log_f0, samples       the natural log of F0 of these frames, and their sound with seed 7; F0 is taken from it in
                          f64, since phases add up what is rounded
    clip, mel, heard, heard_tokens, heard_mu
                          a recording, its log-mel spectrogram, and the voice the speaker encoder hears in `mel`
"""

import json
import math
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "recipes" / "voice"), str(ROOT / "recipes" / "common")]

import model as networks  # noqa: E402
import vocoder as vocoding  # noqa: E402
from features import log_mel  # noqa: E402
from stacks import Context  # noqa: E402

SYMBOLS = ["<bos>", "<eos>", ";", ",", ".", " ", "a", "e", "i", "k", "s", "t", "ð", "ə"]
SEED = 7
# Units by symbol, with a stress mark before some; a bar ends a phrase.
TEXT = ["<bos>ðə 'kat, ", "a 'ti ", "is'ak; ", "si,kə 'tat.<eos>"]


def units(text: str) -> list[tuple[int, int]]:
    found, stress, at = [], 0, 0
    while at < len(text):
        long = next((s for s in ("<bos>", "<eos>") if text.startswith(s, at)), text[at])
        at += len(long)
        if long == "'":
            stress = 1
            continue
        found.append((SYMBOLS.index(long), stress))
        stress = 0
    return found


def phrases() -> list[dict]:
    out = []
    for text in TEXT:
        pairs = units(text)
        sounding = [SYMBOLS[s].isalpha() or SYMBOLS[s] == "<bos>" for s, _ in pairs]
        out.append({"symbols": [s for s, _ in pairs], "stresses": [x for _, x in pairs], "sounding": sounding})
    return out


def build(backbone: str) -> tuple[networks.Voice, vocoding.Vocoder, dict]:
    """Networks whose weights are such that every part of the computation shows in the sound."""
    torch.manual_seed(1)
    config = networks.configuration(SYMBOLS, backbone, "tiny")
    voice, vocoder = networks.Voice(config), vocoding.Vocoder(config)
    with torch.no_grad():
        for module in (voice, vocoder):
            for name, value in module.named_parameters():
                if name.endswith("norm.weight"):
                    value.add_(0.2 * torch.randn_like(value))
                elif name.endswith("bias") and "dt" not in name:
                    value.add_(0.2 * torch.randn_like(value))
        voice.duration.down.bias.fill_(math.log(2.6))
        voice.acoustic.head.weight.mul_(20)
        voice.acoustic.head.weight[networks.MELS :: networks.MELS + 2].mul_(0.5)
        # Attention that is not the same everywhere.
        for name, value in voice.text.attend.named_parameters():
            if "q_proj" in name:
                value.mul_(3)
        voice.speaker.query.weight.mul_(4)
        # Some frames voiced, some not.
        voice.acoustic.head.bias[networks.MELS + 1 :: networks.MELS + 2] = {"ssm": 0.0, "attention": -1.0}[backbone]
        voice.mel.mean.copy_(torch.linspace(-3, -6, networks.MELS))
        voice.mel.std.copy_(torch.linspace(1, 2, networks.MELS))
        vocoder.head.weight.mul_(10)
        vocoder.head.bias[:513].add_(-1)
        for tensor in (*voice.state_dict().values(), *vocoder.state_dict().values()):
            tensor.copy_(tensor.bfloat16().float())
    return voice.eval(), vocoder.eval(), config


def someone(count: int) -> networks.Speaker:
    """Random voices, their tokens in the steps of 1/2048 in which voices are kept."""
    chance = torch.Generator().manual_seed(2)
    vectors = torch.randn(count, networks.VOICE, generator=chance)
    tokens = torch.randn(count, networks.TOKENS, networks.VOICE, generator=chance)
    full = lambda x: torch.nn.functional.normalize(x, dim=-1) * networks.VOICE**0.5
    return networks.Speaker(full(vectors), (full(tokens) * 2048).round() / 2048)


def clip(seconds: float) -> torch.Tensor:
    """Something like a vowel that comes and goes, over quiet noise."""
    t = torch.arange(int(seconds * networks.SAMPLE_RATE)) / networks.SAMPLE_RATE
    pitch = 140 + 30 * torch.sin(2 * math.pi * 1.3 * t)
    phase = 2 * math.pi * torch.cumsum(pitch / networks.SAMPLE_RATE, 0)
    tone = sum(torch.sin(k * phase) / k for k in range(1, 20))
    noise = torch.randn(len(t), generator=torch.Generator().manual_seed(3))
    return (0.08 * tone * (0.6 + 0.4 * torch.sin(2 * math.pi * 2 * t)) + 0.003 * noise).float()


def heard(voice: networks.Voice, sound: torch.Tensor) -> dict[str, torch.Tensor]:
    mel = log_mel(sound[None])
    normal = (mel - voice.mel.mean) / voice.mel.std
    padded = torch.nn.functional.pad(normal, (0, 0, 0, -normal.shape[1] % 64))
    segment = (torch.arange(padded.shape[1]) >= normal.shape[1]).long()
    found, mu = voice.speaker(padded, segment[None])
    return {"clip": sound, "mel": mel[0], "heard": found.vector[0], "heard_tokens": found.tokens[0], "heard_mu": mu}


def padded_backbone(acoustic: networks.Acoustic) -> None:
    """`Stack` wants lengths that are multiples of 64: what is added behind changes nothing before it."""
    whole = acoustic.backbone.forward

    def forward(x: torch.Tensor, context: Context) -> torch.Tensor:
        extra = -x.shape[1] % 64
        segment = torch.nn.functional.pad(context.segment, (0, extra), value=9)
        return whole(torch.nn.functional.pad(x, (0, 0, 0, extra)), Context.of(segment))[:, : x.shape[1]]

    acoustic.backbone.forward = forward


def sound_of(vocoder: vocoding.Vocoder, frames: torch.Tensor, log_f0: torch.Tensor) -> torch.Tensor:
    voiced = (frames[:, networks.MELS + 1] > 0).float()
    plain = vocoding.excitation
    vocoding.excitation = lambda _, voiced, begin: plain(log_f0[None].double().exp(), voiced, begin)
    noise = vocoding.hash_noise(SEED, len(frames))
    sound = vocoder(frames[None, :, : networks.MELS], log_f0[None], voiced[None], noise[None], torch.zeros(1))[0]
    vocoding.excitation = plain
    return sound


@torch.no_grad()
def case(backbone: str) -> None:
    voice, vocoder, config = build(backbone)
    speakers = someone(2)
    mus = torch.tensor([5.1, 4.7])
    content = {networks.exported(n): v for n, v in voice.state_dict().items()}
    content |= {f"vocoder.{n}": v for n, v in vocoder.state_dict().items()}
    content = {n: v.bfloat16().contiguous() for n, v in content.items()}
    content["voices.vectors"], content["voices.mu"] = speakers.vector[None], mus
    content["voices.tokens"] = speakers.tokens.reshape(1, -1, networks.VOICE)
    listed = [{"name": "low", "about": "the first", "accent": "en-US"}, {"name": "high", "about": "", "accent": "en-GB"}]
    folder = Path(__file__).parent / backbone
    folder.mkdir(exist_ok=True)
    text = json.dumps(config | {"voices": listed}, ensure_ascii=False, indent=1)
    (folder / "config.json").write_text(text + "\n")
    save_file(content, folder / "model.safetensors", {"format": "pt"})

    padded_backbone(voice.acoustic)
    said = phrases()
    speaker = speakers.map(lambda x: x[0])
    made = networks.synthesise(voice, said, speaker)
    frames = made["frames"]
    log_f0 = mus[0] + 0.25 * frames[:, networks.MELS]
    sound = sound_of(vocoder, frames, log_f0)
    golden = {
        "voice": speaker.vector, "tokens": speaker.tokens, "mu": mus[:1],
        "symbols": torch.tensor([s for p in said for s in p["symbols"]], dtype=torch.int32),
        "stresses": torch.tensor([s for p in said for s in p["stresses"]], dtype=torch.int32),
        "phrase": torch.tensor([n for n, p in enumerate(said) for _ in p["symbols"]], dtype=torch.int32),
        "durations": torch.tensor(made["durations"], dtype=torch.int32),
        "h": made["h"], "steps": made["steps"], "frames": frames, "log_f0": log_f0,
        "samples": sound,
        **heard(voice, clip(1.7)),
    }
    save_file({n: v.contiguous() for n, v in golden.items()}, folder / "golden.safetensors")
    for file in folder.iterdir():
        file.chmod(0o644)
    share = (frames[:, networks.MELS + 1] > 0).float().mean().item()
    print(f"{backbone}: {len(frames)} frames, {share:.0%} voiced, peak {sound.abs().max():.3f}, "
          f"rms {sound.square().mean().sqrt():.3f}, F0 {log_f0.exp().min():.0f} to {log_f0.exp().max():.0f} Hz")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for kind in ("ssm", "attention"):
        case(kind)
