#!/usr/bin/env python3
"""The rival: one training case in PyTorch on the CPU, timed.

    python benches/train/rival.py CASE [--json] [--set KEY=VALUE ...]

CASE is a name of cases.json such as `mamba2-256@8x512`, or a JSON file with one case in the
form that `specification` makes (the form `sillage train --bench` reads).  A step is what
training does: forward, loss, backward, clipping by global norm, AdamW.  Tokens are random;
they cost what any tokens cost.  The output has the same form as ours:

    {"tokens_per_s": [one a timed step], "peak_bytes": n, ...}

Peak memory is the process's largest resident set, so every case runs in a fresh process;
`idle_bytes` is what PyTorch itself took before there was a model.  `--set` changes how the
model is written (`Choice` in models.py).
"""

import argparse
import json
import os
import resource
import shutil
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("SILLAGE_BENCH_CACHE", Path.home() / ".cache" / "sillage-bench"))
COMPILED = CACHE / "inductor"
# Large blocks are kept when freed, instead of being given back and paged in again at every
# step, and lie in huge pages (README.md says what that brought).
MALLOC = {
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TOP_PAD_": str(64 << 20),
    "MALLOC_ARENA_MAX": "2",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


def specifications() -> dict[str, dict]:
    """Every case of cases.json by name: `MODEL@BATCHxLENGTH`."""
    listed = json.loads((HERE / "cases.json").read_text())
    common = {key: listed[key] for key in ("threads", "seed", "warmup", "steps", "optimiser")}
    out = {}
    for name, config in listed["models"].items():
        for batch, length in listed["batches"]:
            case = f"{name}@{batch}x{length}"
            out[case] = {"name": case, "model": config, "batch": batch, "length": length, **common}
    return out


def specification(wanted: str) -> dict:
    if wanted.endswith(".json"):
        return json.loads(Path(wanted).read_text())
    known = specifications()
    if wanted not in known:
        raise SystemExit(f"no case called '{wanted}': use one of {', '.join(known)}, or a .json file")
    return known[wanted]


def environment(spec: dict) -> dict[str, str]:
    """What must be set before PyTorch starts."""
    threads = str(spec["threads"])
    return {
        **MALLOC,
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "TORCHINDUCTOR_CACHE_DIR": str(COMPILED),
        "TORCHINDUCTOR_COMPILE_THREADS": threads,
    }


def decays(name: str, weight) -> bool:
    """Weight decay is for matrices: projections, embedding, head."""
    return weight.ndim == 2 and not name.endswith("A_log")


class Trainer:
    def __init__(self, spec: dict, choice):
        import torch

        import head
        from models import Model

        self.torch, self.spec, self.choice = torch, spec, choice
        self.model = Model(spec["model"], choice, spec["seed"])
        for weight in self.model.weights.values():
            weight.requires_grad_()
        self.loss = head.fused_loss if choice.loss == "fused" else head.plain_loss
        wanted, named = spec["optimiser"], self.model.weights
        groups = [
            {"params": [w for n, w in named.items() if decays(n, w)], "weight_decay": wanted["weight_decay"]},
            {"params": [w for n, w in named.items() if not decays(n, w)], "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(
            groups, lr=wanted["lr"], betas=tuple(wanted["betas"]), eps=wanted["eps"], **{choice.adamw: True}
        )
        self.generator = torch.Generator().manual_seed(spec["seed"])

    def batch(self):
        shape = (self.spec["batch"], self.spec["length"] + 1)
        tokens = self.torch.randint(0, self.model.vocab, shape, generator=self.generator)
        return tokens[:, :-1].contiguous(), tokens[:, 1:].reshape(-1)

    def step(self) -> float:
        inputs, targets = self.batch()
        self.optimiser.zero_grad(set_to_none=True)
        hidden = self.model.hidden(inputs)
        loss = self.loss(hidden.flatten(0, 1), self.model.head(), targets)
        loss.backward()
        self.torch.nn.utils.clip_grad_norm_(self.model.weights.values(), self.spec["optimiser"]["clip"], foreach=True)
        self.optimiser.step()
        return loss.item()


def version() -> str:
    from importlib.metadata import version as installed

    return f"PyTorch {installed('torch')}"


def has_compiler() -> bool:
    return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "g++", "clang++"))


class Compiling:
    """Marks the compiler's cache as being written to; a run that was killed meanwhile leaves its
    mark, and the next one then empties the cache, which may hold half a library."""

    def __enter__(self):
        COMPILED.mkdir(parents=True, exist_ok=True)
        marks = list(COMPILED.glob("writing-*"))
        alive = [mark for mark in marks if Path("/proc", mark.name.removeprefix("writing-")).exists()]
        if marks and not alive:
            shutil.rmtree(COMPILED)
            COMPILED.mkdir()
        self.mark = COMPILED / f"writing-{os.getpid()}"
        self.mark.touch()

    def __exit__(self, *_):
        self.mark.unlink(missing_ok=True)


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(spec: dict, settings: list[str]) -> dict:
    import torch

    from models import choice_from

    torch.set_num_threads(spec["threads"])
    if not has_compiler():
        settings = [*settings, "compile=no"]
    choice, idle = choice_from(settings), peak_bytes()
    trainer = Trainer(spec, choice)
    losses, rates = [], []
    began = time.perf_counter()
    with Compiling():
        for _ in range(spec["warmup"]):
            losses.append(trainer.step())
    warm = time.perf_counter() - began
    for _ in range(spec["steps"]):
        start = time.perf_counter()
        losses.append(trainer.step())
        rates.append(spec["batch"] * spec["length"] / (time.perf_counter() - start))
    return {
        "name": spec["name"],
        "tokens_per_s": rates,
        "peak_bytes": peak_bytes(),
        "idle_bytes": idle,
        "warmup_s": warm,
        "losses": losses,
        "parameters": sum(weight.numel() for weight in trainer.model.weights.values()),
        "torch": torch.__version__,
        "choice": choice.__dict__,
    }


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("case", nargs="?", help="a name of cases.json, or a .json file with one case")
    options.add_argument("--json", action="store_true", help="print the result as one JSON object")
    options.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="write the model otherwise")
    options.add_argument("--list", action="store_true", help="print the names of all cases")
    asked = options.parse_args()
    if asked.list or not asked.case:
        print("\n".join(specifications()))
        return
    spec = specification(asked.case)
    wanted = environment(spec)
    if any(os.environ.get(key) != value for key, value in wanted.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **wanted})
    result = measure(spec, asked.set)
    if asked.json:
        print(json.dumps(result))
        return
    rates = sorted(result["tokens_per_s"])
    print(f"{spec['name']}: {rates[len(rates) // 2]:.0f} tokens/s, peak {result['peak_bytes'] / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
