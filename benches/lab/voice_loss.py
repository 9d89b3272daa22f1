"""Validation loss of the voice and of its attention twin, as points of the lab.

    PYTHON benches/lab/voice_loss.py [--out FILE] [--data ../shared/data/voice] [--five 40] [--minute 10] [--long 1]

Both models, with the weights as they ship (8-bit matrices opened to float), are given the true durations of speech that
no training saw, the teacher's blended speakers of models/voice/heldout.json, and their frames are compared with the true
ones: the mean absolute error of the normalised log-mel, as in training. Nothing they made is fed back to them, so this
is their loss and not that of a drifting sample. A text of a length is a chain of one speaker's sentences in shuffled
order, over and over where there are too few; the speaker is known by a clip that is in no chain. Either the backbone
goes back to the voice's state at the end of every sentence (`carry` false, as both were trained) or never (true). Every
sentence is one sample, in order, with where it begins in the configuration.

Real held-out readers are left out: their durations come from an aligner that is trained, not kept (recipes/voice).

PYTHON is one with torch, numpy, safetensors and soundfile, such as recipes/voice/.venv/bin/python (recipes/voice/run).
"""

import argparse
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import voice as lab

sys.path.append(str(lab.REPOSITORY / "recipes" / "voice"))
sys.path.append(str(lab.REPOSITORY / "recipes" / "common"))

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

import data  # noqa: E402
import features  # noqa: E402
import teacher  # noqa: E402
from model import MELS, Voice, exported  # noqa: E402

BLOCK = 32  # weights that share a scale
QUERIES = 512  # steps whose attention is computed at once
HELDOUT = lab.REPOSITORY / "models" / "voice" / "heldout.json"


def opened(path):
    """(configuration, float tensors) of a packed checkpoint."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        body = file.read()
    about = header.pop("__metadata__")
    packed, found = json.loads(about["tensors"]), {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        raw = np.frombuffer(body[begin:end], dtype=np.uint8)
        if name in packed:
            kind, *shape = packed[name]
            if kind != "Q8_0":
                raise SystemExit(f"{path}: {name} is stored as {kind}; this reads F32 and Q8_0")
            blocks = raw.reshape(-1, 2 + BLOCK)
            scales = blocks[:, :2].copy().view(np.float16).astype(np.float32)
            values = (blocks[:, 2:].view(np.int8).astype(np.float32) * scales).reshape(shape)
        elif entry["dtype"] == "F32":
            values = raw.view(np.float32).reshape(entry["shape"])
        else:
            raise SystemExit(f"{path}: {name} is stored as {entry['dtype']}; this reads F32 and Q8_0")
        found[name] = torch.from_numpy(values.copy())
    return json.loads(about["config"]), found


def loaded(path):
    """The recipe's network with a packed checkpoint's weights."""
    config, tensors = opened(path)
    model = Voice(config)
    own = model.state_dict()
    missing = [name for name in own if exported(name) not in tensors]
    if missing:
        raise SystemExit(f"{path} lacks {', '.join(missing[:3])}")
    # The packed form squeezes taps of convolutions; their order is the same.
    model.load_state_dict({name: tensors[exported(name)].reshape(own[name].shape) for name in own})
    return model.eval()


def attention_in_parts(query, key, value, attn_mask):
    """What torch's attention gives, for some queries at a time: the scores of ten minutes at once need 12 GB."""
    whole = F.scaled_dot_product_attention
    parts = []
    for a in range(0, query.shape[2], QUERIES):
        b = min(a + QUERIES, query.shape[2])
        parts.append(whole(query[:, :, a:b], key[:, :, :b], value[:, :, :b], attn_mask=attn_mask[..., a:b, :b]))
    return torch.cat(parts, 2)


class Parts:
    """torch.nn.functional with attention in parts, for the recipe's stacks."""

    scaled_dot_product_attention = staticmethod(attention_in_parts)

    def __getattr__(self, name):
        return getattr(F, name)


def sentences(folder):
    """{speaker: [{"units", "mel"}]} of the held-out blended speakers, in the order of their clips."""
    held = set(json.loads(HELDOUT.read_text(encoding="utf-8"))["blends"])
    found = {}
    for line in (folder / "kokoro.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if record["speaker"] not in held:
            continue
        row, _ = teacher.teacher_row(record, folder, "kokoro", "")
        if row is None:
            continue
        sound = data.cut(data.decode((folder / record["path"]).read_bytes()), row.start, row.steps * data.STEP)
        sound = sound * features.normalising_gain(sound)
        found.setdefault(row.speaker, []).append({"units": row.units, "mel": features.log_mel(torch.from_numpy(sound).float())})
    return {speaker: clips for speaker, clips in sorted(found.items()) if len(clips) >= 3}


def chains(spoken, seconds, count):
    """`count` lists of (speaker, clips) of about `seconds`; the first clip of a speaker is the reference and in none."""
    order, found = random.Random(f"{lab.SEED} loss {seconds}"), []
    speakers = list(spoken)
    length = lambda clip: sum(clip["units"].durations) * 0.025
    while len(found) < count:
        speaker = speakers[len(found) % len(speakers)]
        pool, chain = [], []
        while sum(map(length, chain)) < seconds - 1.5:
            if not pool:
                pool = order.sample(spoken[speaker][1:], len(spoken[speaker]) - 1)
            chain.append(pool.pop())
        found.append((speaker, chain))
    return found


@torch.no_grad()
def heard(model, clip):
    """The voice that the speaker encoder hears in a clip."""
    mel = (clip["mel"] - model.mel.mean) / model.mel.std
    return model.speaker(mel[None])[0]


@torch.no_grad()
def encoded(model, symbols, clip, voice):
    """Vectors of a sentence's units, phrase by phrase as the runtime encodes them."""
    units, out = clip["units"], []
    numbers = data.phrases(units.symbols)
    for number in range(numbers[-1] + 1):
        mine = [i for i, n in enumerate(numbers) if n == number]
        symbol = torch.tensor([[symbols[units.symbols[i]] for i in mine]])
        stress = torch.tensor([[units.stresses[i] for i in mine]])
        first = torch.full_like(symbol, int(number == 0))
        out.append(model.text(symbol, stress, first, voice, torch.zeros_like(symbol))[0])
    return torch.cat(out)


@torch.no_grad()
def made(model, symbols, clips, voice):
    """Normalised frames (frames, 100) of sentences said one after another without going back."""
    h = torch.cat([encoded(model, symbols, clip, voice) for clip in clips])
    durations = torch.tensor([d for clip in clips for d in clip["units"].durations])
    unit = torch.repeat_interleave(torch.arange(len(h)), durations)
    start = torch.cumsum(torch.cat([torch.zeros(1, dtype=torch.long), durations]), 0)
    at = torch.arange(len(unit))
    pad = lambda x: F.pad(x, (1, 0))[None]  # the prompt goes first
    prompt = torch.zeros(1, len(unit) + 1, dtype=torch.bool)
    prompt[0, 0] = True
    out = model.acoustic(h[None], voice.vector, pad(unit), pad(at - start[unit]), pad(start[unit + 1] - 1 - at), prompt,
                         torch.zeros(1, len(unit) + 1, dtype=torch.long))  # fmt: skip
    return model.frames(out[:, 1:])[0, :, :MELS]


def losses(model, symbols, clips, voice, carry):
    """The loss of every sentence of a chain."""
    if carry:
        frames = made(model, symbols, clips, voice)
    else:
        frames = torch.cat([made(model, symbols, [clip], voice) for clip in clips])
    found, at = [], 0
    for clip in clips:
        true = (clip["mel"] - model.mel.mean) / model.mel.std
        found.append((frames[at : at + len(true)] - true).abs().mean().item())
        at += len(true)
    return found


def fingerprint(model, folder):
    """The runtime's own print of the weights, out of the manifest of a word."""
    wav = Path(folder) / "word.wav"
    subprocess.run([*lab.binary(), "say", "Yes.", "-o", str(wav), "--model", str(model)], check=True, capture_output=True)
    told = subprocess.run([*lab.binary(), "manifest", str(wav), "--json"], check=True, capture_output=True, text=True)
    return lab.fingerprint(json.loads(told.stdout))


def points(series, model, symbols, spoken, seconds, count, about):
    """One point for each manner."""
    for carry in (False, True):
        began, samples, starts, frames = time.monotonic(), [], [], 0
        for speaker, clips in chains(spoken, seconds, count):
            voice = heard(model, spoken[speaker][0])
            samples += losses(model, symbols, clips, voice, carry)
            lengths = [len(clip["mel"]) for clip in clips]
            starts += [round(sum(lengths[:at]) * data.HOP / data.RATE, 3) for at in range(len(lengths))]
            frames += sum(lengths)
        if not all(math.isfinite(sample) for sample in samples):
            raise SystemExit(f"{series}: a loss is not finite")
        config = {**about, "chains": count, "frames": frames, "begins_at": starts, "statistic": "mean", "carry": carry, "trained": 12.8,
                  "of": "held-out blended speakers of Kokoro, true durations", "made_by": "benches/lab/voice_loss.py"}  # fmt: skip
        yield lab.point("validation loss", series, {"seconds": seconds, "carry": carry, "loss": "log-mel"}, "mean absolute error",
                        "lower", samples, config, time.monotonic() - began)  # fmt: skip


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", type=Path, default=Path("voice-scores.jsonl"), help="JSON lines; appended to")
    options.add_argument("--data", type=Path, default=lab.REPOSITORY.parent / "shared" / "data" / "voice")
    options.add_argument("--five", type=int, default=40)
    options.add_argument("--minute", type=int, default=10)
    options.add_argument("--long", type=int, default=1)
    options.add_argument("--threads", type=int, default=1)
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    import stacks

    stacks.F = Parts()
    spoken = sentences(given.data)
    with tempfile.TemporaryDirectory(prefix="sillage-lab-home-") as home:
        os.environ["SILLAGE_HOME"] = home
        prints = {name: fingerprint(path, home) for name, path in lab.models().items()}
    networks = {name: loaded(path) for name, path in lab.models().items()}
    for seconds, count in ((5, given.five), (60, given.minute), (600, given.long)):
        for name, model in networks.items() if count else ():
            symbols = {symbol: number for number, symbol in enumerate(model.config["symbols"])}
            about = {"model": lab.models()[name].name, "fingerprint": prints[name]}
            for line in points(name, model, symbols, spoken, seconds, count, about):
                with given.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
                mean = sum(line["samples"]) / len(line["samples"])
                print(f"{name}, {seconds} s, carry {line['at']['carry']}: {mean:.4f} over {len(line['samples'])} sentences", file=sys.stderr)


if __name__ == "__main__":
    main()
