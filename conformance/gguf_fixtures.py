"""GGUF files from the tiny checkpoints, and raw blocks of each supported tensor type."""

import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from tokenizer_fixture import write_tokenizer

HERE = Path(__file__).resolve().parent
SDIST = "llama-cpp-python==0.3.36"


class Converter:
    """llama.cpp's convert_hf_to_gguf.py, found on first use."""

    def __init__(self, source=None):
        self.source = source
        self.download = None

    def tree(self):
        if self.source is None:
            self.download = tempfile.TemporaryDirectory()
            home = Path(self.download.name)
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "llama-cpp-python"]
            subprocess.run([*pip, "--dest", home, SDIST], check=True)
            with tarfile.open(next(home.glob("*.tar.gz"))) as archive:
                archive.extractall(home, filter="data")
            self.source = next(home.glob("*/vendor/llama.cpp"))
        return self.source

    def run(self, folder, target):
        driver = HERE / "convert_driver.py"
        command = [sys.executable, driver, self.tree(), folder, target]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"the converter refused {folder}:\n{done.stderr[-3000:]}")


def make(case, entry, converter):
    """Converts one Hugging Face case; its golden stays the one of the folder."""
    from gguf import GGUFReader

    target = HERE / "gguf" / f"{case.gguf}.gguf"
    target.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / case.name
        shutil.copytree(HERE / entry["path"], folder)
        (folder / "golden.safetensors").unlink()
        config = json.loads((folder / "config.json").read_text())
        config["pad_vocab_size_multiple"] = 1
        if "mamba_head_dim" in config:  # the converter checks widths against 64 otherwise
            config["mamba_d_head"] = config["mamba_head_dim"]
        (folder / "config.json").write_text(json.dumps(config))
        write_tokenizer(folder)
        converter.run(folder, target)
    fields = GGUFReader(target).fields
    architecture = fields["general.architecture"]
    return {
        **entry,
        "name": f"gguf/{case.gguf}",
        "path": f"gguf/{case.gguf}.gguf",
        "kind": "gguf",
        "architecture": architecture.contents(),
        "source": "converter",
        "notes": f"the {case.name} checkpoint through convert_hf_to_gguf.py --outtype f32",
        "checks": {},
    }


# --- tensor types --------------------------------------------------------------------

ROWS, COLUMNS = 3, 512
QUANTISED_HERE = ("F16", "BF16", "Q8_0", "Q4_0", "Q4_1")
K_QUANTS = ("Q4_K", "Q5_K", "Q6_K")


def random_k_blocks(name, rng, blocks, size):
    """Random bytes with f16 scales of a sane size where the layout keeps them."""
    raw = rng.integers(0, 256, (blocks, size), dtype=np.uint8)
    scales = rng.uniform(-0.02, 0.02, (blocks, 2)).astype(np.float16).view(np.uint8).reshape(blocks, 4)
    if name == "Q6_K":  # its one scale comes last
        raw[:, -2:] = scales[:, :2]
    else:  # d and dmin come first
        raw[:, :4] = scales
    return raw


def make_types():
    """Writes gguf/types/*.safetensors: raw block bytes and their values, by gguf's own code."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

    folder = HERE / "gguf" / "types"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    entries = []
    for index, name in enumerate(QUANTISED_HERE + K_QUANTS):
        rng = np.random.default_rng([77, index])
        kind = GGMLQuantizationType[name]
        block, size = GGML_QUANT_SIZES[kind]
        tensors = {}
        if name in QUANTISED_HERE:
            values = rng.standard_normal((ROWS, COLUMNS)).astype(np.float32)
            values[0, :32] = 0.0  # a block of zeros
            values[1, :32] = np.float32(1e-6)  # tiny
            values[2, 64:96] *= 1000.0  # large
            tensors["source"] = values
            raw = quants.quantize(values, kind).view(np.uint8).reshape(ROWS, -1)
        else:
            raw = random_k_blocks(name, rng, ROWS * COLUMNS // block, size).reshape(ROWS, -1)
            raw[0, :size] = 0
        tensors["blocks"] = np.ascontiguousarray(raw)
        tensors["values"] = quants.dequantize(raw, kind).astype(np.float32).reshape(ROWS, COLUMNS)
        if not np.isfinite(tensors["values"]).all():
            raise RuntimeError(f"{name}: a value is not finite")
        save_file(tensors, folder / f"{name}.safetensors")
        entries.append(
            {
                "name": name,
                "path": f"gguf/types/{name}.safetensors",
                "ggml_type": int(kind),
                "block_elements": block,
                "block_bytes": size,
                "shape": [ROWS, COLUMNS],
            }
        )
    return entries
