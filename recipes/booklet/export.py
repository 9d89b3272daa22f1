"""Write a trained run as a Hugging Face folder that `transformers` loads as it is."""

import argparse
import json
from pathlib import Path

from safetensors.torch import load_file, save_file

import data
import presets


def compact_tokenizer(path: Path) -> str:
    """tokenizer.json without white space, merges in the short "a b" form."""
    tokenizer = json.loads(path.read_text())
    merges = tokenizer["model"]["merges"]
    tokenizer["model"]["merges"] = [m if isinstance(m, str) else " ".join(m) for m in merges]
    return json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":"))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--work", type=Path, default=data.WORK)
    options.add_argument("--name", default="mamba2", help="run folder inside --work")
    options.add_argument("--out", type=Path, required=True)
    options = options.parse_args()
    run = options.work / options.name
    record = json.loads((run / "run.json").read_text())
    config = presets.module(record["model"]).huggingface_config(presets.dims_from(record))
    special = "<|endoftext|>"
    files = {
        "config.json": config,
        "generation_config.json": {
            "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
            "do_sample": True, "temperature": 0.8, "top_p": 0.95,
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": special, "eos_token": special, "pad_token": special,
            "clean_up_tokenization_spaces": False,
        },
    }
    options.out.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (options.out / name).write_text(json.dumps(content, indent=2) + "\n")
    (options.out / "tokenizer.json").write_text(compact_tokenizer(options.work / "tokenizer.json"))
    save_file(load_file(run / "weights.safetensors"), options.out / "model.safetensors", {"format": "pt"})
    for file in sorted(options.out.iterdir()):
        print(f"{file.stat().st_size:>10,}  {file}")


if __name__ == "__main__":
    main()
