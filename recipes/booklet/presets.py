"""The models' dimensions and the two training budgets."""

import dataclasses
from dataclasses import dataclass

import llama
import mamba2
from llama import LlamaDims
from mamba2 import Mamba2Dims


@dataclass(frozen=True)
class Budget:
    batch: int  # rows
    window: int  # tokens per row and step
    span: int  # windows a row reads in one stretch
    steps: int
    lr: float  # Muon's, in the scale of Adam's
    adam_lr: float
    decay: float = 0.1
    warmup: float = 0.01  # share of the steps
    flat: float = 0.4  # share of the steps after which the rate falls, linearly to zero
    rounding: float = 0.75  # share of the steps after which q4 rounding noise sets in
    noise: float = 0.5  # share of blocks rounded by then


BUDGETS = {
    "gpu": Budget(batch=64, window=1024, span=8, steps=16_500, lr=8e-3, adam_lr=3e-3),
    "cpu": Budget(batch=8, window=512, span=8, steps=1_100, lr=8e-3, adam_lr=3e-3),
}


def dims(model: str, vocab: int):
    if model == "mamba2":
        return Mamba2Dims(vocab=vocab, d_model=256, layers=6, d_state=64, headdim=64)
    return LlamaDims(vocab=vocab, d_model=256, layers=4, heads=4, d_mlp=512)


def dims_from(record: dict):
    """Dimensions as a run folder's run.json keeps them."""
    kind = Mamba2Dims if record["model"] == "mamba2" else LlamaDims
    names = {field.name for field in dataclasses.fields(kind)}
    return kind(**{k: v for k, v in record["dims"].items() if k in names})


def module(model: str):
    return {"mamba2": mamba2, "llama": llama}[model]
