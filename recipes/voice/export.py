"""Write a trained run as a folder (config.json, model.safetensors) that `sillage quantize` packs.

The averaged weights are taken, the shipped voices computed (each the mean of the speaker encoder's vectors over
the speaker's own recordings) and stored with them.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import voices
from model import Voice, configuration, exported
from vocoder import Vocoder


def averaged(folder: Path) -> tuple[dict, dict[str, torch.Tensor]]:
    """The configuration and the averaged weights of a run folder, by `network.parameter`."""
    saved = torch.load(folder / "checkpoint.pt", map_location="cpu", weights_only=True)
    return saved["config"], {n: v.float() for n, v in saved["average"].items()}


def networks(folders: list[Path]) -> tuple[Voice, Vocoder]:
    """The acoustic side and the vocoder, later folders overruling earlier ones."""
    weights: dict[str, torch.Tensor] = {}
    config = None
    for folder in folders:
        found, part = averaged(folder)
        config = found if config is None or any(n.startswith("voice.") for n in part) else config
        weights |= part
    voice, vocoder = Voice(config), Vocoder(config)
    of = lambda prefix: {n.removeprefix(prefix): v for n, v in weights.items() if n.startswith(prefix)}
    voice.load_state_dict(of("voice."), strict=False)
    vocoder.load_state_dict(of("vocoder."), strict=False)
    return voice.eval(), vocoder.eval()


def tensors(voice: Voice, vocoder: Vocoder) -> dict[str, torch.Tensor]:
    out = {exported(n): v.contiguous() for n, v in voice.state_dict().items()}
    return out | {f"vocoder.{n}": v.contiguous() for n, v in vocoder.state_dict().items()}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=Path, nargs="+", required=True, help="run folders, later ones overrule")
    options.add_argument("--statistics", type=Path, required=True, help="statistics.npz that `voices` wrote")
    options.add_argument("--out", type=Path, required=True)
    options = options.parse_args()
    voice, vocoder = networks(options.runs)
    statistics = np.load(options.statistics)
    voice.mel.mean.copy_(torch.from_numpy(statistics["mean"]))
    voice.mel.std.copy_(torch.from_numpy(statistics["std"]))
    content = tensors(voice, vocoder)
    content["voices.vectors"] = torch.from_numpy(statistics["vectors"])[None]
    content["voices.tokens"] = torch.from_numpy(statistics["tokens"]).flatten(0, 1)[None]
    content["voices.mu"] = torch.from_numpy(statistics["means"])
    listed = voices.shipped()
    config = voice.config | {"voices": listed}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "config.json").write_text(json.dumps(config, ensure_ascii=False, indent=1) + "\n")
    save_file(content, options.out / "model.safetensors", {"format": "pt"})
    print(f"{sum(v.numel() for v in content.values()):,} parameters, {len(listed)} voices, in {options.out}")


if __name__ == "__main__":
    main()
