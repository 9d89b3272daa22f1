"""Speak with a trained run, in PyTorch, to hear how far training has come (the runtime does it properly).

Text becomes phonemes through the same front end that made the training data.
"""

import argparse
from pathlib import Path

import numpy as np
import soundfile
import torch

import data
from export import networks
from model import MELS, SAMPLE_RATE, Speaker, synthesise
from vocoder import hash_noise
from voices import SHIPPED


def phrases_of(phonemes: str, symbols: list[str]) -> list[dict]:
    """Phoneme characters to the phrases that `synthesise` takes."""
    units, stress = [("<bos>", 0)], 0
    for character in phonemes:
        if character in "ˈˌ":
            stress = 1 if character == "ˈ" else 2
        elif character in symbols:
            units.append((character, stress))
            stress = 0
    units.append(("<eos>", 0))
    numbers = data.phrases([u for u, _ in units])
    phrases: list[dict] = [{"symbols": [], "stresses": [], "sounding": []} for _ in range(numbers[-1] + 1)]
    for (symbol, mark), number in zip(units, numbers):
        phrases[number]["symbols"].append(symbols.index(symbol))
        phrases[number]["stresses"].append(mark)
        phrases[number]["sounding"].append(symbol.isalpha() or symbol == "<bos>")
    return phrases


@torch.no_grad()
def sound_of(voice, vocoder, phonemes: str, speaker: Speaker, mu: float, seed: int = 0, speed: float = 1.0):
    """24 kHz samples of one utterance."""
    made = synthesise(voice, phrases_of(phonemes, voice.config["symbols"]), speaker, speed)
    frames = made["frames"]
    log_f0 = mu + 0.25 * frames[:, MELS]
    voiced = (frames[:, MELS + 1] > 0).float()
    sound = vocoder(frames[None, :, :MELS], log_f0[None], voiced[None], hash_noise(seed, len(frames))[None],
                    torch.zeros(1))
    return sound[0].numpy(), made


def main() -> None:
    from hibari.g2p import G2P

    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("text", nargs="+")
    options.add_argument("--runs", type=Path, nargs="+", required=True)
    options.add_argument("--statistics", type=Path, required=True)
    options.add_argument("--voice", default="cathy")
    options.add_argument("--speed", type=float, default=1.0)
    options.add_argument("--out", type=Path, required=True, help="folder for 000.wav ...")
    options = options.parse_args()
    voice, vocoder = networks(options.runs)
    statistics = np.load(options.statistics)
    number = [name for name, *_ in SHIPPED].index(options.voice)
    speaker = Speaker(*(torch.from_numpy(statistics[part][number]) for part in ("vectors", "tokens")))
    mu = float(statistics["means"][number])
    say = G2P()
    options.out.mkdir(parents=True, exist_ok=True)
    for n, text in enumerate(options.text):
        phonemes = say(text)
        phonemes = phonemes[0] if isinstance(phonemes, tuple) else phonemes
        sound, _ = sound_of(voice, vocoder, phonemes, speaker, mu, speed=options.speed)
        soundfile.write(options.out / f"{n:03}.wav", np.clip(sound, -1, 1), SAMPLE_RATE)
        print(f"{n:03}.wav  {len(sound) / SAMPLE_RATE:.2f} s  {phonemes}")


if __name__ == "__main__":
    main()
