#!/usr/bin/env python3
"""Regenerates everything in this folder: checkpoints, goldens, GGUF files, the manifest.

    python3 conformance/generate.py [--only NAME ...] [--llama-cpp DIR]

The first run makes a virtual environment (CONFORMANCE_VENV, by default `.venv` beside this
file) from requirements.txt and starts itself again in it.  GGUF files are written by
llama.cpp's own converter, from DIR or from the source package of `llama-cpp-python`.
"""

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
NEEDED = ("torch", "transformers", "safetensors", "gguf", "numpy", "jinja2", "sentencepiece")


def enter_environment():
    """Re-executes this script in its own virtual environment if something is missing."""
    if all(importlib.util.find_spec(name) for name in NEEDED):
        return
    if os.environ.get("CONFORMANCE_ENTERED"):
        sys.exit("requirements.txt was installed, yet a module is missing: " + ", ".join(NEEDED))
    home = Path(os.environ.get("CONFORMANCE_VENV", HERE / ".venv"))
    python = home / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", HERE / "requirements.txt"], check=True)
    os.environ["CONFORMANCE_ENTERED"] = "1"
    os.execv(python, [str(python), *sys.argv])


def write_config(case, folder):
    config = case.config
    text = json.dumps(config, indent=2)
    if case.wrapped_infinity:
        text = text.replace("Infinity", '{"__float__": "Infinity"}')
    (folder / "config.json").write_text(text + "\n")


def write_weights(tensors, folder, shards):
    """One model.safetensors, or several shards with the usual index file."""
    from safetensors.numpy import save_file

    names = sorted(tensors)
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    index = {"metadata": {"total_size": sum(t.nbytes for t in tensors.values())}, "weight_map": {}}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        # Every n-th tensor, so that one layer's tensors lie in different files.
        part = {name: tensors[name] for name in names[shard::shards]}
        save_file(part, folder / file, metadata={"format": "pt"})
        index["weight_map"].update(dict.fromkeys(part, file))
    index["weight_map"] = dict(sorted(index["weight_map"].items()))
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def shapes_of(case, folder):
    """Tensor shapes under the names a published checkpoint uses."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from weights import original_shapes

    if "ssm_cfg" in case.config:
        return original_shapes(case.config)
    config = AutoConfig.from_pretrained(folder)
    model = AutoModelForCausalLM.from_config(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if case.config["model_type"] == "nemotron_h" and case.extra.get("prefix") != "model":
        shapes = {name.replace("model.", "backbone.", 1): shape for name, shape in shapes.items()}
    return shapes


def make_tensors(case, folder):
    from weights import Filler

    filler = Filler(case.config, case.seed)
    tensors = filler.fill(shapes_of(case, folder))
    for name, tensor in tensors.items():
        if name in ("backbone.embedding.weight", "lm_head.weight") and "vocab_size" in case.config:
            tensor[case.config["vocab_size"] :] *= 0.02  # padding rows never win
    if filler.tied():
        tensors.pop("lm_head.weight", None)
        if not case.skip_tied_head:
            tensors["lm_head.weight"] = tensors["backbone.embedding.weight"].copy()
    return tensors


def make_golden(case, folder, tensors):
    """Computes, checks and writes golden.safetensors; returns the recorded checks."""
    import numpy as np
    from safetensors.numpy import save_file

    import goldens
    from reference import Reference, read_config, read_tensors

    config, exact_tensors = read_config(folder), read_tensors(folder)
    for name in [n for n in exact_tensors if n.startswith("model.") and config.get("model_type") == "nemotron_h"]:
        exact_tensors[name.replace("model.", "backbone.", 1)] = exact_tensors.pop(name)
    reference = Reference(config, exact_tensors)
    if case.source == "reference":
        runner = goldens.Exact(reference)
    elif "ssm_cfg" in config:
        runner = goldens.Transformers(goldens.twin_of_original(config, tensors))
    else:
        runner = goldens.Transformers(goldens.quiet_load(folder))
    tokens = goldens.sample_tokens(config["vocab_size"])
    logits = runner.logits(tokens)
    checks = goldens.check_case(case.name, runner, reference, tokens, logits)
    goldens.check_weight_of_parts(case.name, config, exact_tensors, tokens, logits)
    forbidden = {config.get("eos_token_id")} | (set(range(4)) if case.tokenizer or case.gguf else set())
    scale = float(np.abs(logits).max())
    prompt, greedy = goldens.greedy_run(runner, reference, config["vocab_size"], scale, forbidden, case.seed)
    save_file(
        {
            "tokens": tokens.astype(np.int32),
            "logits": np.ascontiguousarray(logits, dtype=np.float32),
            "greedy_prompt": prompt.astype(np.int32),
            "greedy": greedy.astype(np.int32),
        },
        folder / "golden.safetensors",
    )
    return checks, logits.shape[1]


def make_case(case):
    from goldens import NoClearWinner
    from reference import architecture_of
    from tokenizer_fixture import write_tokenizer, write_tokenizer_golden

    folder = HERE / "hf" / case.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_config(case, folder)
    for attempt in range(12):
        case.seed += attempt
        tensors = make_tensors(case, folder)
        write_weights(tensors, folder, case.shards)
        try:
            checks, vocab = make_golden(case, folder, tensors)
            break
        except NoClearWinner as error:
            print(f"{case.name}: {error}; another seed", flush=True)
    else:
        sys.exit(f"{case.name}: no seed gives a greedy run with clear winners")
    if case.tokenizer:
        write_tokenizer(folder)
        write_tokenizer_golden(folder)
    return {
        "name": case.name,
        "path": f"hf/{case.name}",
        "kind": "hf",
        "architecture": architecture_of(case.config),
        "vocab": vocab,
        "golden": f"hf/{case.name}/golden.safetensors",
        "tolerances": {"logits": 1e-4},
        "source": case.source,
        "notes": case.notes,
        "checks": checks,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", help="names of the cases to make again")
    parser.add_argument("--llama-cpp", type=Path, help="a llama.cpp source tree with convert_hf_to_gguf.py")
    arguments = parser.parse_args()
    enter_environment()

    import torch
    import transformers

    import gguf_fixtures
    from block_checks import check_blocks
    from cases import all_cases

    torch.set_num_threads(1)  # one order of summation on every machine
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    check_blocks()
    manifest_file = HERE / "manifest.json"
    known = {}
    if manifest_file.exists():
        known = {entry["name"]: entry for entry in json.loads(manifest_file.read_text())["cases"]}
    entries = []
    converter = gguf_fixtures.Converter(arguments.llama_cpp)
    for case in all_cases():
        wanted = not arguments.only or case.name in arguments.only
        entry = make_case(case) if wanted else known[case.name]
        entries.append(entry)
        print(f"{case.name}: {entry['checks']}", flush=True)
        if case.gguf:
            again = wanted or f"gguf/{case.gguf}" not in known
            entries.append(gguf_fixtures.make(case, entry, converter) if again else known[f"gguf/{case.gguf}"])
    types = gguf_fixtures.make_types()
    manifest = {"format": 1, "tensor_types": types, "cases": entries}
    manifest_file.write_text(json.dumps(manifest, indent=1) + "\n")
    print(f"{len(entries)} cases")


if __name__ == "__main__":
    main()
