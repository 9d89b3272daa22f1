"""Train the tokenizer on the training books and pack both splits to uint16 tokens."""

import argparse
import json
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

import data

# Words with their leading space; digits one by one; punctuation together with the
# line breaks that follow it, so that the end of a paragraph is a single token.
PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+\n*|\s*\n+|\s+(?!\S)|\s+"


def train_tokenizer(folder: Path, vocab: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[AddedToken("<|endoftext|>", special=True)],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    parts = (part for text in data.books(folder, "train") for part in data.pieces(text))
    tokenizer.train_from_iterator(parts, trainer)
    return tokenizer


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("data", nargs="?", type=Path, default=Path("../shared/data/text"))
    options.add_argument("--work", type=Path, default=data.WORK, help="folder for what the stages make")
    options.add_argument("--vocab", type=int, default=3072)
    options = options.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    saved = options.work / "tokenizer.json"
    if saved.exists():
        tokenizer = Tokenizer.from_file(str(saved))
        print(f"keeping {saved}")
    else:
        tokenizer = train_tokenizer(options.data, options.vocab)
        tokenizer.save(str(saved))
    index = {"vocab": tokenizer.get_vocab_size()}
    for split in ("train", "valid"):
        tokens, index[split] = data.pack(tokenizer, options.data, split)
        tokens.tofile(options.work / f"{split}.u16")
        size = sum(book["bytes"] for book in index[split])
        print(f"{split}: {len(index[split])} books, {len(tokens):,} tokens, {size / len(tokens):.3f} bytes per token")
    (options.work / "index.json").write_text(json.dumps(index))


if __name__ == "__main__":
    main()
