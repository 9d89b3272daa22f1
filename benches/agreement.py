"""How closely two engines agree on the same weights and the same text.

Feeds the first tokens of a text to llama.cpp and to `sillage logits`, and
reports for how many positions the likeliest next token is the same, and the
mean Kullback-Leibler divergence KL(llama.cpp || sillage) in nats.

Such a figure needs a floor to be read against: llama.cpp fed one token at a
time is compared with llama.cpp fed 512, the same way. With `--reference`, both
engines are also held against the same weights dequantised and run in f32 by
transformers, which says whose rounding is the larger.

    python benches/agreement.py [--model F.gguf] [--text F] [--tokens 1000] [--reference]
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

import ours
import results
import rival
from workspace import REPOSITORY, say, smollm2

# A next token leads clearly if it is at least this many nats ahead of the second.
# Rounding activations to 8 bits, as both engines do, moves logits by less.
CLEAR_LEAD = 0.25
PROSE = REPOSITORY / "benches" / "prose.txt"


def log_softmax(logits):
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True))


def compare(reference, other):
    """Agreement of `other` with `reference`, both logits [tokens, vocab]."""
    if reference.shape != other.shape:
        raise SystemExit(f"shapes differ: {reference.shape} and {other.shape}")
    divergences, same, leads = [], [], []
    # A few rows at a time: a vocabulary in f64 is large.
    for at in range(0, len(reference), 64):
        p, q = log_softmax(reference[at : at + 64]), log_softmax(other[at : at + 64])
        divergences.append((np.exp(p) * (p - q)).sum(axis=-1))
        same.append(p.argmax(axis=-1) == q.argmax(axis=-1))
        best_two = np.partition(p, -2, axis=-1)[:, -2:]
        leads.append(best_two[:, 1] - best_two[:, 0])
    divergence, agrees = np.concatenate(divergences), np.concatenate(same)
    clear = np.concatenate(leads) > CLEAR_LEAD
    return {
        "top1_agreement": float(agrees.mean()),
        "top1_agreement_where_clear": float(agrees[clear].mean()),
        "clear_positions": int(clear.sum()),
        "mean_kl": float(divergence.mean()),
        "median_kl": float(np.median(divergence)),
        "p99_kl": float(np.quantile(divergence, 0.99)),
        "max_kl": float(divergence.max()),
    }


def exact_logits(model, tokens):
    """The weights of a GGUF file dequantised to f32 and run by transformers."""
    import torch
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(model.parent, gguf_file=model.name, dtype=torch.float32)
    with torch.no_grad():
        return loaded.eval()(torch.tensor([tokens])).logits[0].numpy()


def our_logits(binary, model, tokens, threads):
    from safetensors.numpy import load_file

    with tempfile.TemporaryDirectory() as folder:
        listed, out = Path(folder) / "tokens.json", Path(folder) / "logits.safetensors"
        listed.write_text(json.dumps(tokens))
        ours.sillage(binary, ["logits", model, "--tokens-file", listed, "-o", out, "--threads", threads])
        return load_file(out)["logits"]


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--model", type=Path, help="GGUF file (default: SmolLM2-135M-Instruct Q4_1)")
    options.add_argument("--text", type=Path, default=PROSE, help="UTF-8 prose (default: benches/prose.txt)")
    options.add_argument("--tokens", type=int, default=1000)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--reference", action="store_true", help="also compare both with f32 arithmetic")
    options.add_argument("--rival-only", action="store_true", help="leave sillage out")
    options.add_argument("--binary", type=Path, help="the sillage binary (default: built here)")
    asked = options.parse_args()

    rival.build()
    model = asked.model or smollm2()
    tokens = rival.tokens(model, asked.text.read_text(encoding="utf-8"))[: asked.tokens]
    if len(tokens) < asked.tokens:
        say(f"the text has only {len(tokens)} tokens")
    theirs = rival.logits(model, tokens, asked.threads)
    measured = {"model": model.name, "text": asked.text.name, "tokens": len(tokens)}
    stepwise = rival.logits(model, tokens, asked.threads, batch=1)
    measured["llama_cpp_vs_itself"] = compare(theirs, stepwise)
    del stepwise
    if not asked.rival_only:
        mine = our_logits(ours.binary(asked.binary), model, tokens, asked.threads)
        measured["sillage_vs_llama_cpp"] = compare(theirs, mine)
    if asked.reference:
        exact = exact_logits(model, tokens)
        measured["llama_cpp_vs_f32"] = compare(exact, theirs)
        if not asked.rival_only:
            measured["sillage_vs_f32"] = compare(exact, mine)
    results.write("agreement", measured)
    print(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()
