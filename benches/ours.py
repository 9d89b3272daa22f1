"""Our side: the `sillage` binary, its quantised files and its own bench command."""

import json
import os
from pathlib import Path

from workspace import HF, OURS, REPOSITORY, captured, run


def binary(given=None):
    """The release binary: the one given, `$SILLAGE_BIN`, or one built now."""
    chosen = given or os.environ.get("SILLAGE_BIN")
    if chosen:
        return Path(chosen).resolve()
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    run(["cargo", "build", "--release", "--quiet", "--bin", "sillage"], cwd=REPOSITORY)
    return target / "release" / "sillage"


def sillage(program, arguments):
    return captured([program, *arguments])


def takes(program, command, option):
    """Whether `sillage <command>` knows `option`, read from its own help."""
    return option in captured([program, command, "--help"])


def quantised(program, name, kind):
    """Checkpoint `name` as `sillage quantize` writes it in `kind` (bf16, q8, q4).

    Written anew when the binary is newer than the file: it may quantise otherwise.
    """
    wanted = OURS / f"{name}.{kind}.safetensors"
    if wanted.exists() and wanted.stat().st_mtime > program.stat().st_mtime:
        return wanted
    OURS.mkdir(parents=True, exist_ok=True)
    unfinished = OURS / f"unfinished.{name}.{kind}.safetensors"
    sillage(program, ["quantize", HF / name, "--to", kind, "-o", unfinished])
    os.replace(unfinished, wanted)
    return wanted


def bench(program, model, *, prefill, decode, batches, depths, threads, repeats, state=None):
    """The rows of `sillage bench --json`: one a (batch, depth)."""
    command = ["bench", model, "--prefill", prefill, "--decode", decode]
    command += ["--batch", ",".join(map(str, batches)), "--depth", ",".join(map(str, depths))]
    command += ["--threads", threads, "--json"]
    if takes(program, "bench", "--repeats"):
        command += ["--repeats", repeats]
    if state:
        command += ["--state", state]
    return json.loads(sillage(program, command))["rows"]
