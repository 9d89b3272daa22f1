"""A byte-level BPE tokenizer of 104 tokens: printable ASCII, four merges, four specials."""

import json
from pathlib import Path

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
MERGES = ["t h", "Ġ th", "Ġth e", "i n"]
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] | trim + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEXTS = [
    "Hello, the world!",
    "The rain in Spain: 3.14159 (and on and on)\n\nA second line.\tno tab here",
    "  leading and trailing  ",
    "<|im_start|>user\nsinging another thing<|im_end|>",
    "",
]
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "  What is the rain?  "},
    {"role": "assistant", "content": "Water."},
    {"role": "user", "content": "And the sea?"},
]


def vocabulary():
    """Specials first, then printable ASCII in byte-level spelling, newline, and the merges."""
    letters = ["Ġ"] + [chr(c) for c in range(33, 127)] + ["Ċ"]
    tokens = SPECIALS + letters + [merge.replace(" ", "") for merge in MERGES]
    return {token: index for index, token in enumerate(tokens)}


def write_tokenizer(folder):
    """Writes tokenizer.json and tokenizer_config.json into `folder`."""
    vocab = vocabulary()
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    flags = dict(single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": vocab[token], "content": token, **flags} for token in SPECIALS],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": vocab,
            "merges": MERGES,
        },
    }
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|endoftext|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|pad|>",
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 2048,
        "chat_template": CHAT_TEMPLATE,
    }
    folder = Path(folder)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, indent=1, ensure_ascii=False) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1, ensure_ascii=False) + "\n")


def write_tokenizer_golden(folder):
    """Encodes the sample texts and the sample chat with transformers' tokenizer."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = []
    for text in TEXTS:
        ids = tokenizer.encode(text, add_special_tokens=False)
        texts.append({"text": text, "ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False)})
    rendered = tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    chat = {"messages": CHAT, "rendered": rendered, "ids": tokenizer.encode(rendered, add_special_tokens=False)}
    golden = {"texts": texts, "chat": chat}
    (Path(folder) / "tokenizer_golden.json").write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n")
