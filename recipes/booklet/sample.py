"""Continue a prompt with a trained Mamba-2 run: the carry in, one token out, and again."""

import argparse
from pathlib import Path

import torch
from tokenizers import Tokenizer

import data
import mamba2
import presets
import quant
from evaluate import load


@torch.no_grad()
def generate(weights: dict, dims, prompt: list[int], count: int, temperature: float, top_p: float, seed: int):
    random = torch.Generator().manual_seed(seed)
    carry = mamba2.empty_carry(dims, 1)
    tokens = list(prompt)
    for at in range(len(prompt) + count - 1):
        hidden, carry = mamba2.hidden(weights, torch.tensor([[tokens[at]]]), carry, dims)
        if at + 1 < len(tokens):
            continue
        logits = hidden[0, -1] @ weights[mamba2.EMBEDDING].T
        odds, order = torch.softmax(logits / temperature, -1).sort(descending=True)
        odds[odds.cumsum(0) - odds > top_p] = 0
        tokens.append(int(order[torch.multinomial(odds, 1, generator=random)]))
        if tokens[-1] == 0:
            break
    return tokens


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--work", type=Path, default=data.WORK)
    options.add_argument("--name", default="mamba2")
    options.add_argument("--prompt", default="It was a dark night")
    options.add_argument("--tokens", type=int, default=200)
    options.add_argument("--temperature", type=float, default=0.8)
    options.add_argument("--top-p", type=float, default=0.95)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--weights", choices=["f32", "q8", "q4"], default="f32")
    options = options.parse_args()
    weights, record = load(options.work / options.name, "cpu")
    if record["model"] != "mamba2":
        raise SystemExit("sample continues Mamba-2 runs; export the twin and use transformers for it")
    weights = quant.quantised(weights, options.weights)
    tokenizer = Tokenizer.from_file(str(options.work / "tokenizer.json"))
    prompt = tokenizer.encode(options.prompt).ids or [0]
    tokens = generate(weights, presets.dims_from(record), prompt, options.tokens,
                      options.temperature, options.top_p, options.seed)
    print(tokenizer.decode(tokens))


if __name__ == "__main__":
    main()
