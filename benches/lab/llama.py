"""Makes llama.cpp ready to stand beside Sillage in `sillage lab scaling`.

Builds `llama-bench` (from the sources in PyPI's llama-cpp-python, as the other
benchmarks do), converts the lab's random shapes, and prints what to export.

    cargo run --release -p sillage-lab --example shapes -- WORK 130m
    python benches/lab/llama.py WORK 130m
    export SILLAGE_LLAMA_BENCH=... SILLAGE_LLAMA_GGUF=...    # as printed

The converter of llama.cpp wants torch and transformers (benches/requirements.txt).
Shapes have no tokenizer; GPT-NeoX's is put beside them, whose vocabulary they
have the size of. The tiny shapes have another and are not converted.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import rival  # noqa: E402
from workspace import captured, neox_tokenizer, say  # noqa: E402

KINDS = ("mamba2", "transformer")
TOOLS = ("llama-bench", "llama-quantize")
TYPES = ("F16", "Q8_0", "Q4_K_M")
TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<|endoftext|>",
    "eos_token": "<|endoftext|>",
    "pad_token": "<|endoftext|>",
    "unk_token": "<|endoftext|>",
    "model_max_length": 1_000_000,
}


def with_tokenizer(folder, stage):
    """A copy of the folder's configuration, its weights, and a tokenizer."""
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(parents=True)
    shutil.copyfile(folder / "config.json", stage / "config.json")
    os.symlink((folder / "model.safetensors").resolve(), stage / "model.safetensors")
    shutil.copyfile(neox_tokenizer(), stage / "tokenizer.json")
    (stage / "tokenizer_config.json").write_text(json.dumps(TOKENIZER_CONFIG))
    return stage


def converted(folder, gguf):
    """The F16 file of a shape."""
    wanted = gguf / f"{folder.name}.F16.gguf"
    if not wanted.exists():
        stage = with_tokenizer(folder, gguf / f".{folder.name}")
        part = wanted.with_suffix(".part")
        converter = [sys.executable, rival.RIVAL / "convert_hf_to_gguf.py", stage]
        captured([*converter, "--outtype", "f16", "--outfile", part])
        os.replace(part, wanted)
        shutil.rmtree(stage)
    return wanted


def runs(model):
    """Whether the program survives a token of this model."""
    command = [rival.tool("llama-bench"), "-m", model, "-p", "8", "-n", "1", "-r", "1"]
    return subprocess.run(command, capture_output=True).returncode >= 0


def rebuilt_without_amx():
    """Some virtual machines announce AMX and then forbid it."""
    say("llama-bench dies here; it is built again without AMX")
    shutil.rmtree(rival.RIVAL / "build")
    flags = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
    os.environ["CFLAGS"] = os.environ["CXXFLAGS"] = flags
    rival.build(tools=TOOLS)


def main(work, sizes):
    rival.build(tools=TOOLS)
    gguf = work / "gguf"
    gguf.mkdir(parents=True, exist_ok=True)
    for size in sizes:
        for kind in KINDS:
            folder = work / "shapes" / f"{kind}-{size}"
            if not (folder / "config.json").exists():
                raise SystemExit(
                    f"{folder} is not there; draw it first: cargo run --release -p sillage-lab"
                    f" --example shapes -- {work} {size}"
                )
            source = converted(folder, gguf)
            for kind_of_weights in TYPES[1:]:
                wanted = gguf / f"{folder.name}.{kind_of_weights}.gguf"
                if not wanted.exists():
                    part = wanted.with_suffix(".part")
                    captured([rival.tool("llama-quantize"), source, part, kind_of_weights])
                    os.replace(part, wanted)
            if not runs(wanted):
                rebuilt_without_amx()
    say(rival.version())
    print(f"export SILLAGE_LLAMA_BENCH={rival.tool('llama-bench')}")
    print(f"export SILLAGE_LLAMA_GGUF={gguf.resolve()}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2:] or ["130m", "370m"])
