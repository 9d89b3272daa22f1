"""The rival: llama.cpp, built from the sources in the PyPI package `llama-cpp-python`.

It is built for this very machine (GGML_NATIVE), outside the repository, and
measured with its own tools: `llama-bench` for one session, `llama-batched-bench`
for many. `llama-server` is built only where it is asked for.
"""

import json
import os
import shutil
import statistics
import sys
import tarfile

from workspace import CACHE, DOWNLOADS, GGUF, HF, RIVAL, captured, from_pypi, run, say

TOOLS = ("llama-bench", "llama-batched-bench", "llama-quantize", "llama-perplexity")
SERVER = "llama-server"
BINDINGS = CACHE / "llama-cpp-python"


def tool(name):
    return RIVAL / "build" / "bin" / name


def archive():
    return from_pypi("llama_cpp_python-*.tar.gz", "llama-cpp-python", source=True)


def version():
    """The package's version; its llama.cpp carries no revision of its own."""
    found = sorted(DOWNLOADS.glob("llama_cpp_python-*.tar.gz"))
    if not found:
        return "no llama.cpp fetched"
    number = found[-1].name.removeprefix("llama_cpp_python-").removesuffix(".tar.gz")
    return f"llama.cpp of llama-cpp-python {number}"


def unpack():
    """Lays out llama.cpp and the Python bindings beside it."""
    if RIVAL.exists() and BINDINGS.exists():
        return
    stage = CACHE / "unpack"
    shutil.rmtree(stage, ignore_errors=True)
    with tarfile.open(archive()) as box:
        box.extractall(stage, filter="data")
    top = next(stage.iterdir())
    if not RIVAL.exists():
        shutil.move(top / "vendor" / "llama.cpp", RIVAL)
    if not BINDINGS.exists():
        BINDINGS.mkdir()
        shutil.move(top / "llama_cpp", BINDINGS / "llama_cpp")
    shutil.rmtree(stage)


def build(jobs=None, tools=TOOLS):
    """Builds `tools` unless they are there."""
    unpack()
    if all(tool(name).exists() for name in tools):
        return
    # cmake may come from this environment's own scripts folder.
    places = os.path.dirname(sys.executable) + os.pathsep + os.environ.get("PATH", "")
    cmake = shutil.which("cmake", path=places)
    if cmake is None:
        raise SystemExit("cmake was not found: install it, or `pip install cmake`")
    options = [
        "CMAKE_BUILD_TYPE=Release",
        "GGML_NATIVE=ON",
        "LLAMA_CURL=OFF",
        "LLAMA_OPENSSL=OFF",
        "LLAMA_BUILD_TESTS=OFF",
        "LLAMA_BUILD_EXAMPLES=OFF",
        f"LLAMA_BUILD_SERVER={'ON' if SERVER in tools else 'OFF'}",
        # Its web page would be fetched from the hub; nothing here looks at it.
        "LLAMA_USE_PREBUILT_UI=OFF",
    ]
    run([cmake, "-B", "build", *("-D" + option for option in options)], cwd=RIVAL, stdout=sys.stderr)
    command = [cmake, "--build", "build", "-j", str(jobs or os.cpu_count()), "--target", *tools]
    run(command, cwd=RIVAL, stdout=sys.stderr)


def gguf(name, kind):
    """Checkpoint `name` as a GGUF file of weight type `kind` (F16, Q8_0, Q4_K_M)."""
    wanted = GGUF / f"{name}.{kind}.gguf"
    if wanted.exists():
        return wanted
    GGUF.mkdir(parents=True, exist_ok=True)
    unfinished = wanted.with_suffix(".part")
    if kind == "F16":
        converter = [sys.executable, RIVAL / "convert_hf_to_gguf.py", HF / name]
        captured([*converter, "--outtype", "f16", "--outfile", unfinished])
    else:
        captured([tool("llama-quantize"), gguf(name, "F16"), unfinished, kind])
    os.replace(unfinished, wanted)
    return wanted


def single(model, depth, prefill, decode, threads, repeats):
    """One session at `depth`: (prefill runs, decode runs) in tokens per second."""
    command = [tool("llama-bench"), "-m", model, "-t", threads, "-r", repeats, "-o", "json"]
    command += ["-p", prefill, "-n", decode, "-d", depth]
    prefill_runs, decode_runs = [], []
    for row in json.loads(captured(command)):
        (decode_runs if row["n_gen"] else prefill_runs).extend(row["samples_ts"])
    return prefill_runs, decode_runs


def batched(model, batches, decode, threads, repeats):
    """Many sessions at once: {batch: runs} in tokens per second over the whole batch."""
    context = max(batches) * (decode + 16)
    command = [tool("llama-batched-bench"), "-m", model, "-t", threads, "-tb", threads, "-c", context]
    command += ["-npp", 1, "-ntg", decode, "-npl", ",".join(map(str, batches)), "--output-format", "jsonl"]
    runs = {batch: [] for batch in batches}
    for _ in range(repeats):
        for line in captured(command).splitlines():
            if line.startswith("{"):
                row = json.loads(line)
                runs[row["pl"]].append(row["speed_tg"])
    return runs


def bindings():
    """llama.cpp's Python bindings, over the library that was built here."""
    unpack()
    os.environ["LLAMA_CPP_LIB_PATH"] = str(RIVAL / "build" / "bin")
    if str(BINDINGS) not in sys.path:
        sys.path.insert(0, str(BINDINGS))
    import llama_cpp

    return llama_cpp


def logits(model, tokens, threads, batch=512):
    """llama.cpp's logits for every position of `tokens`, float32 [tokens, vocab]."""
    import numpy as np

    llama_cpp = bindings()
    loaded = llama_cpp.Llama(
        str(model), n_ctx=len(tokens), n_batch=batch, n_threads=threads, n_threads_batch=threads,
        logits_all=True, verbose=False,
    )
    loaded.eval(list(tokens))
    return np.array(loaded.scores[: len(tokens)], dtype=np.float32)


def tokens(model, text):
    """llama.cpp's own token ids for `text`, with the start token if the model has one."""
    llama_cpp = bindings()
    loaded = llama_cpp.Llama(str(model), vocab_only=True, verbose=False)
    return loaded.tokenize(text.encode("utf-8"))


if __name__ == "__main__":
    build()
    say(version())
    print(statistics.median(single(sys.argv[1], 0, 512, 128, 2, 3)[1]) if sys.argv[1:] else RIVAL)
