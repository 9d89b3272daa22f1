"""The parts around the models: data order, rounding, optimiser, stop and resume."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import zstandard

import data
import prepare
import presets
import quant
from optim import orthogonalise

RECIPE = Path(__file__).resolve().parents[1]
TEXT = "It was a dark night; the rain fell in torrents, \ufeff\"except\" at times.\n\nThe year was 1830. "


@pytest.fixture(scope="module")
def books(tmp_path_factory):
    folder = tmp_path_factory.mktemp("books")
    for split, count in (("train", 3), ("valid", 2)):
        lines = "".join(json.dumps({"author": "a", "title": "t", "text": TEXT * (400 + i)}) + "\n" for i in range(count))
        packed = zstandard.ZstdCompressor().compress(lines.encode())
        (folder / f"classic-books.{split}.jsonl.zst").write_bytes(packed)
    return folder


def stage(name, *arguments):
    done = subprocess.run([sys.executable, str(RECIPE / f"{name}.py"), *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_pieces_have_the_tokens_of_the_whole(books):
    tokenizer = prepare.train_tokenizer(books, 300)
    text = TEXT.replace("\ufeff", "") * 30
    joined = [i for part in data.pieces(text, 100) for i in tokenizer.encode(part).ids]
    assert joined == tokenizer.encode(text).ids
    assert tokenizer.decode(joined) == text


def test_schedule_reads_on_and_covers_the_corpus():
    schedule = data.Schedule(tokens=40_000, batch=4, window=16, span=8, seed=3)
    before, _ = schedule.starts(0)
    seen = []
    for step in range(1, 2 * schedule.stretches * 8 // 4):
        starts, fresh = schedule.starts(step)
        assert np.all((starts == before + 16) | fresh)
        assert starts.max() + 16 + 1 <= 40_000
        before, seen = starts, seen + list(starts[fresh])
    again = data.Schedule(tokens=40_000, batch=4, window=16, span=8, seed=3)
    assert np.array_equal(again.starts(77)[0], schedule.starts(77)[0])
    assert len(set(seen[: schedule.stretches - 8])) == schedule.stretches - 8


def test_rounding_keeps_its_promises():
    weight = torch.randn(64, 96, generator=torch.Generator().manual_seed(0))
    spread = weight.reshape(-1, 32).amax(-1) - weight.reshape(-1, 32).amin(-1)
    assert (quant.q8(weight) - weight).abs().max() < weight.abs().max() / 250
    assert ((quant.q4(weight) - weight).abs().reshape(-1, 32).amax(-1) <= spread / 30 * 1.02 + 1e-3).all()
    assert torch.equal(quant.q4(torch.zeros(2, 32)), torch.zeros(2, 32))
    assert torch.equal(quant.noisy_q4(weight, torch.tensor(0.0)), weight)
    assert torch.allclose(quant.noisy_q4(weight, torch.tensor(1.1)), quant.q4(weight), atol=1e-6)


def test_orthogonalise_flattens_the_spectrum():
    matrix = torch.randn(3, 24, 48, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrix))
    assert values.min() > 0.6 and values.max() < 1.3


@pytest.mark.parametrize("model", ["mamba2", "llama"])
def test_stages_run_and_a_resumed_run_goes_on(books, tmp_path, model):
    dims = {"mamba2": {"d_model": 64, "layers": 2, "d_state": 16, "chunk": 16},
            "llama": {"d_model": 64, "layers": 2, "heads": 2, "d_mlp": 96}}[model]
    work = tmp_path / "work"
    stage("prepare", books, "--work", work, "--vocab", 300)
    common = ["--work", work, "--model", model, "--preset", "cpu", "--device", "cpu", "--steps", 12, "--batch", 2,
              "--window", 32, "--every", 4, "--dims", json.dumps(dims)]
    stage("train", *common, "--seconds", 0)
    assert json.loads((work / model / "step.json").read_text())["step"] == 4
    stage("train", *common)
    lines = [json.loads(line) for line in (work / model / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [4, 8, 12]
    assert lines[-1]["loss"] < lines[0]["loss"]
    stage("evaluate", "--work", work, "--name", model, "--device", "cpu")
    result = json.loads((work / model / "evaluation.json").read_text())
    assert result["f32"]["windows"] > 0 and abs(result["q8"]["windows"] / result["f32"]["windows"] - 1) < 0.05
    stage("export", "--work", work, "--name", model, "--out", tmp_path / "hf")
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf")
    out = loaded.generate(**tokenizer("It was a dark", return_tensors="pt", return_token_type_ids=False), max_new_tokens=5)
    assert tokenizer.decode(out[0]).startswith("It was a dark")


def test_presets_fit_the_budget():
    count = {}
    for model in ("mamba2", "llama"):
        dims = presets.dims(model, 3072)
        weights = presets.module(model).initial_weights(dims, torch.Generator().manual_seed(0))
        count[model] = sum(w.numel() for w in weights.values())
        if model == "mamba2":
            assert quant.stored_bytes(weights) + 100_000 < 3_800_000  # tokenizer.json takes less than that
    assert abs(count["llama"] / count["mamba2"] - 1) < 0.02
