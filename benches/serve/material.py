"""What the two servers are given: models, prompts of a set length, and how each is asked."""

import random
from dataclasses import dataclass
from pathlib import Path

import ours
import wire
from workspace import HF, REPOSITORY, smollm2

WORDS = (REPOSITORY / "benches" / "prose.txt").read_text(encoding="utf-8").split()


@dataclass(frozen=True)
class Model:
    """One model on both sides."""

    name: str
    kind: str
    mine: Path
    theirs: Path
    chats: bool
    # The tokens that end a text: both sides are kept from choosing them where all answers must be equally long.
    ends: tuple
    # Told to llama-server, which otherwise ends a slot at the trained length.
    options: tuple = ()

    @property
    def title(self):
        return f"{self.name} {self.kind}"


def models(program, only):
    """The models asked for, made if need be. Only a first run needs PyTorch."""
    found = []
    if "smollm2" in only:
        longer = ("--override-kv", "llama.context_length=int:16384")
        found.append(Model("SmolLM2-135M", "Q4_1", smollm2(), smollm2(), True, (0, 2), longer))
    for key, kind, rival_kind in (("mamba2-q8", "q8", "Q8_0"), ("mamba2-bf16", "bf16", "F16")):
        if key in only:
            found.append(Model("mamba2-130m", rival_kind, *mamba2(program, kind, rival_kind), False, (0,)))
    return found


def mamba2(program, kind, rival_kind):
    import rival

    name = "mamba2-130m"
    if not (HF / name / "model.safetensors").exists():
        import checkpoints

        checkpoints.checkpoint(name)
    return ours.quantised(program, name, kind), rival.gguf(name, rival_kind)


class Prompts:
    """Prose of so many tokens, never the same beginning twice.

    The rival counts; both have the same tokenizer.
    """

    def __init__(self, port, seed):
        self.port, self.random, self.number = port, random.Random(seed), 0

    def count(self, text):
        return len(self.tokens(text))

    def tokens(self, text):
        return wire.plain(self.port, "POST", "/tokenize", {"content": text})[1]["tokens"]

    def prose(self, length):
        """Prose of `length` tokens, or one or two fewer."""
        self.number += 1
        start = self.random.randrange(len(WORDS))
        words = [f"{self.random.choice(WORDS)} {self.random.randrange(10**6)}:"]
        words += [WORDS[(start + n) % len(WORDS)] for n in range(length)]
        low, high = 1, len(words)
        while low < high:
            middle = (low + high + 1) // 2
            if self.count(" ".join(words[:middle])) <= length:
                low = middle
            else:
                high = middle - 1
        return " ".join(words[:low])


def user(text):
    return {"role": "user", "content": text}


def said(text):
    return {"role": "assistant", "content": text}


def endless(model):
    """The same as llama-server's `ignore_eos`, in terms that both know."""
    return {"logit_bias": {str(token): -100 for token in model.ends}}


GREEDY = {"temperature": 0, "stream": True, "stream_options": {"include_usage": True}}


def chat(messages, count, **more):
    return "/v1/chat/completions", {"model": "m", "messages": messages, "max_tokens": count, **GREEDY, **more}


def completion(prompt, count, **more):
    return "/v1/completions", {"model": "m", "prompt": prompt, "max_tokens": count, **GREEDY, **more}


def response(text, count, before=None, **more):
    body = {"model": "m", "input": text, "max_output_tokens": count, "temperature": 0, "stream": True, **more}
    if before:
        body["previous_response_id"] = before
    return "/v1/responses", body


def native(tokens, count, **more):
    """llama-server's own endpoint, which takes and gives tokens."""
    return "/completion", {"prompt": tokens, "n_predict": count, "temperature": 0, "stream": True,
                           "return_tokens": True, "cache_prompt": True, **more}  # fmt: skip
