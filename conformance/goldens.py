"""Runs transformers on the checkpoints and holds its answers against independent ones."""

import math

import numpy as np
import torch
from transformers import AutoModelForCausalLM, Mamba2Config, Mamba2ForCausalLM, MambaConfig, MambaForCausalLM

from reference import Reference

LENGTHS = (1, 3, 63, 64, 65, 300)
TOKENS = 300
GREEDY = 64
SEED = 20260101
# How far transformers in f32 may be from the float64 recurrences, relative to the largest logit.
AGREEMENT = 2e-5


class NoClearWinner(Exception):
    """These weights make greedy decoding fall into a loop or a near tie."""


def sample_tokens(vocab):
    return np.random.default_rng(SEED).integers(0, vocab, TOKENS)


def quiet_load(folder):
    model, info = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[kind]:
            raise RuntimeError(f"{folder}: {kind} {info[kind]}")
    return model.eval()


def twin_of_original(config, tensors):
    """The transformers model that a state-spaces checkpoint describes."""
    ssm, d = config["ssm_cfg"], config["d_model"]
    rows = tensors["backbone.embedding.weight"].shape[0]
    shared = dict(vocab_size=rows, hidden_size=d, num_hidden_layers=config["n_layer"], tie_word_embeddings=True)
    if ssm.get("layer") == "Mamba2":
        heads = 2 * d // ssm["headdim"]
        shape = dict(num_heads=heads, head_dim=ssm["headdim"], state_size=ssm["d_state"])
        model = Mamba2ForCausalLM(Mamba2Config(n_groups=ssm.get("ngroups", 1), chunk_size=64, **shape, **shared))
    else:
        model = MambaForCausalLM(MambaConfig(state_size=ssm.get("d_state", 16), **shared))
    renamed = {k.replace("backbone.embedding.", "backbone.embeddings."): torch.tensor(v) for k, v in tensors.items()}
    model.load_state_dict(renamed)
    return model.eval()


class Transformers:
    """f32 logits of a transformers model on the CPU."""

    def __init__(self, model):
        self.model = model

    def logits(self, tokens):
        ids = torch.tensor(np.asarray(tokens), dtype=torch.long)[None]
        with torch.no_grad():
            return self.model(ids, use_cache=False).logits[0].float().numpy()

    def continued(self, tokens, pieces):
        """Logits when the tokens are fed in `pieces`, carrying transformers' own cache."""
        out, cache, start = [], None, 0
        takes_cache_params = "mamba" in self.model.config.model_type
        key = "cache_params" if takes_cache_params else "past_key_values"
        for piece in pieces:
            ids = torch.tensor(np.asarray(tokens[start : start + piece]), dtype=torch.long)[None]
            with torch.no_grad():
                step = self.model(ids, use_cache=True, **{key: cache})
            out.append(step.logits[0].float().numpy())
            cache, start = step[key], start + piece
        return np.concatenate(out)


class Exact:
    """The float64 reference behind the same interface, rounded to f32 at the end."""

    def __init__(self, reference):
        self.reference = reference

    def logits(self, tokens):
        return self.reference.logits(tokens).astype(np.float32)


def difference(found, expected, scale):
    return float(np.abs(found - expected).max() / scale)


def rounded(value):
    """One digit, upwards: recorded figures should not change with the machine's rounding."""
    if value == 0.0:
        return 0.0
    unit = 10.0 ** math.floor(math.log10(value))
    return float(f"{math.ceil(value / unit) * unit:.0e}")


def check_case(name, runner, reference, tokens, logits):
    """Compares a golden with separate runs, cached runs and the float64 reference."""
    scale = float(np.abs(logits).max())
    exact = reference.logits(tokens)
    checks = {"float64": difference(logits, exact, scale)}
    if checks["float64"] > AGREEMENT:
        raise RuntimeError(f"{name}: transformers and the recurrences differ by {checks['float64']:.1e}")
    checks["separate_runs"] = max(difference(runner.logits(tokens[:n]), logits[:n], scale) for n in LENGTHS)
    if checks["separate_runs"] > AGREEMENT:
        raise RuntimeError(f"{name}: separate runs differ by {checks['separate_runs']:.1e}")
    if isinstance(runner, Transformers):
        for label, pieces in (("cached_steps", [40] + [1] * 30), ("cached_pieces", [40, 25, 60])):
            try:
                again = runner.continued(tokens, pieces)
                checks[label] = difference(again, logits[: len(again)], scale)
            except (AttributeError, RuntimeError, ValueError, TypeError) as error:
                checks[label] = f"{type(error).__name__}: {error}"[:120]
    return {key: rounded(value) if isinstance(value, float) else value for key, value in checks.items()}


def check_weight_of_parts(name, config, tensors, tokens, logits):
    """A golden that would survive losing its scan, attention or old tokens tests nothing."""
    spread = float(logits.std())
    parts = []
    if any(key.endswith("A_log") for key in tensors):
        parts.append("scan")
    if any(key.endswith("q_proj.weight") for key in tensors) or config.get("attn_layer_idx"):
        parts.append("attention")
    for part in parts:
        gone = Reference(config, tensors, [part]).logits(tokens)
        if np.abs(gone - logits).std() < 0.1 * spread:
            raise RuntimeError(f"{name}: {part} hardly matters")
    changed = tokens.copy()
    changed[0] = (changed[0] + 1) % 90
    moved = np.abs(Reference(config, tensors).logits(changed) - logits)[20].max()
    if moved < 1e-3 * np.abs(logits).max():
        raise RuntimeError(f"{name}: token 0 is forgotten at position 20")
    if config.get("model_type") == "nemotron_h":
        clamped = dict(config, time_step_limit=[config["time_step_min"], math.inf])
        if not np.array_equal(Reference(clamped, tensors).logits(tokens), Reference(config, tensors).logits(tokens)):
            raise RuntimeError(f"{name}: a step falls below time_step_min, where implementations differ")


def greedy_run(runner, reference, vocab, scale, forbidden, seed):
    """A prompt and its 64 greedy tokens, with a clear winner at every step in f32 and f64."""
    rng = np.random.default_rng([seed, 7])
    for _ in range(40):
        prompt = rng.integers(0, vocab, int(rng.integers(3, 13)))
        sequence = list(prompt)
        for _ in range(GREEDY):
            last = runner.logits(sequence)[-1]
            second, first = np.sort(last)[-2:]
            token = int(last.argmax())
            if first - second < 1e-3 * scale or token in forbidden or token >= vocab:
                break
            sequence.append(token)
        answer = np.asarray(sequence[len(prompt) :])
        if len(answer) < GREEDY or len(set(answer.tolist())) < 10:
            continue
        exact = reference.logits(np.asarray(sequence[:-1]))[len(prompt) - 1 :]
        if np.array_equal(exact.argmax(-1), answer):
            return prompt, answer
    raise NoClearWinner("no prompt gives a greedy run with clear winners")
