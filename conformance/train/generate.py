#!/usr/bin/env python3
"""Makes the gradient goldens: small models, and what PyTorch says of their loss.

    python3 conformance/train/generate.py [--only NAME ...]

Every case is a folder:

    config.json, model.safetensors   a Hugging Face checkpoint (float32)
    loss.json                        `tokens`: two sequences, fed one after the other, each from
                                     a fresh state; `loss`: the mean next-token cross-entropy in
                                     nats over all `scored` positions of both (36 + 20);
                                     `sums`: the same per sequence, summed; `checks`, see below
    grads.safetensors                d loss / d parameter under the checkpoint's own names

`manifest.json` lists the cases.  `adamw/` holds five steps of AdamW with the model it names:
`steps.json` (tokens, learning rates, which names decay, losses, norms before clipping) and
`final.safetensors` (all parameters afterwards).

Loss, gradients and steps are computed by `transformers` in float64 and rounded to float32 when
written.  Its models ask for float32 in many places (norms, steps, decays, angles); `in_float64`
makes those requests mean float64.  Three things confirm a golden, and are recorded in `checks`
relative to the largest entry of what is compared:

    reference_loss     the textbook recurrences of ../reference.py, in float64
    reference_grads    central differences of that reference's loss, for every parameter along its
                       gradient and along a random direction; limited by the differences, not by
                       the gradients
    float32            how far transformers itself is from this in plain float32 (the largest over
                       all parameters of |difference| / |largest entry of that parameter's gradient|)
"""

import argparse
import contextlib
import json
import math
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# The suite's folder comes first: `generate` is ../generate.py, while this file is __main__.
sys.path[:] = [str(HERE.parent), *(entry for entry in sys.path if entry != str(HERE)), str(HERE)]

import generate as suite  # noqa: E402

SEED = 20261201
LENGTHS = (37, 21)
ADAMW_MODEL = "mamba2-g1"
ADAMW = dict(betas=[0.9, 0.95], eps=1e-8, weight_decay=0.1, clip=1.0)
SCHEDULE = dict(peak=4e-3, warmup=2, steps=5, floor=0.1)
FLOAT32_LIMIT = 1e-5  # largest `float32` check allowed
NO_DECAY = ("A_log", "D", "dt_bias", "conv1d.weight")


@contextlib.contextmanager
def in_float64():
    """While this lasts, whatever transformers computes 'in float32' is computed in float64."""
    import torch

    kept = torch.float32, torch.float, torch.Tensor.float, torch.get_default_dtype()
    torch.float32 = torch.float = torch.float64
    torch.Tensor.float = torch.Tensor.double
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.float32, torch.float, torch.Tensor.float = kept[:3]
        torch.set_default_dtype(kept[3])


def loaded(folder, kind):
    """The checkpoint as a transformers model in `kind`, every weight found."""
    import torch
    from safetensors.numpy import load_file
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder)
    config.dtype = kind
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").to(kind)
    weights = load_file(folder / "model.safetensors")
    ours = {name: published(name, weights) for name in model.state_dict()}
    # A tied head is no tensor of its own in the file.
    missing = [name for name, theirs in ours.items() if theirs not in weights and not name.endswith("lm_head.weight")]
    if missing or set(weights) - set(ours.values()):
        raise RuntimeError(f"{folder.name}: names do not match: {missing}, {set(weights) - set(ours.values())}")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(weights[ours[name]]))
    # The padding token is a token like any other here: its row is trained too.
    model.get_input_embeddings().padding_idx = None
    return model.train()


def published(name, weights):
    """The name in the file: Nemotron-H's checkpoints say `backbone` where the model says `model`."""
    if name in weights or not name.startswith("model."):
        return name
    return name.replace("model.", "backbone.", 1)


def loss_sums(model, sequences):
    """Summed next-token cross-entropy of each sequence, fed on its own."""
    import torch
    import torch.nn.functional as F

    out = []
    for tokens in sequences:
        ids = torch.tensor(tokens)[None]
        logits = model(ids, use_cache=False).logits[0, :-1]
        out.append(F.cross_entropy(logits, ids[0, 1:], reduction="sum"))
    return out


def gradients(model, sequences, weights):
    """(mean loss, sums, {published name: gradient})"""
    scored = sum(len(tokens) - 1 for tokens in sequences)
    model.zero_grad()
    sums = loss_sums(model, sequences)
    loss = sum(sums) / scored
    loss.backward()
    grads = {published(name, weights): p.grad.detach().clone() for name, p in model.named_parameters()}
    return loss.item(), [part.item() for part in sums], grads


def reference_loss(config, tensors, sequences):
    """The same mean loss from the float64 recurrences."""
    import numpy as np
    from reference import Reference

    model, total, scored = Reference(config, tensors), 0.0, 0
    for tokens in sequences:
        logits = model.logits(np.asarray(tokens))[:-1]
        top = logits.max(-1, keepdims=True)
        logs = logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))
        total -= logs[np.arange(len(logits)), tokens[1:]].sum()
        scored += len(logits)
    return total / scored


def against_reference(config, tensors, sequences, grads):
    """Largest relative error of the gradients against central differences of the reference."""
    import numpy as np

    rng, worst = np.random.default_rng(SEED), 0.0
    for name, grad in grads.items():
        grad, weight = grad.numpy(), tensors[name]
        noise = rng.standard_normal(grad.shape)
        for direction in (grad / np.linalg.norm(grad), noise / np.linalg.norm(noise)):
            step = 1e-5 * max(1.0, float(np.abs(weight).max()))
            ahead = reference_loss(config, {**tensors, name: weight + step * direction}, sequences)
            back = reference_loss(config, {**tensors, name: weight - step * direction}, sequences)
            slope = (ahead - back) / (2 * step)
            error = abs(slope - float((grad * direction).sum())) / float(np.linalg.norm(grad))
            if error > 1e-6:
                raise RuntimeError(f"{name}: slope {slope:.9g}, gradient {float((grad * direction).sum()):.9g}")
            worst = max(worst, error)
    return worst


def exact_view(folder):
    """(config, float64 tensors) as ../reference.py wants them."""
    from reference import read_config, read_tensors

    return read_config(folder), read_tensors(folder)


def sequences_of(rng, vocab):
    return [rng.integers(0, vocab, length).tolist() for length in LENGTHS]


def float32_error(found, exact):
    return max(float((found[n].double() - g).abs().max() / g.abs().max()) for n, g in exact.items())


def make_model(case):
    """The checkpoint's folder, written anew."""
    folder = HERE / case.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    suite.write_config(case, folder)
    suite.write_weights(suite.make_tensors(case, folder), folder, 1)
    return folder


class IllConditioned(Exception):
    """A gradient of this draw is so small that float32 cannot say it well."""


def make_case(case):
    """The case from the first seed whose gradients float32 can be asked to meet."""
    for _ in range(12):
        try:
            return drawn_case(case)
        except IllConditioned as error:
            print(f"{case.name}: {error}; another seed", flush=True)
            case.seed += 1
    raise RuntimeError(f"{case.name}: no seed will do")


def drawn_case(case):
    import numpy as np
    import torch
    from goldens import rounded
    from safetensors.torch import save_file

    folder = make_model(case)
    sequences = sequences_of(np.random.default_rng([SEED, case.seed]), case.config["vocab_size"])
    config, tensors = exact_view(folder)
    with in_float64():
        loss, sums, grads = gradients(loaded(folder, torch.float64), sequences, tensors)
    plain_loss, _, plain = gradients(loaded(folder, torch.float32), sequences, tensors)
    if set(grads) != set(tensors):
        raise RuntimeError(f"{case.name}: gradients for {set(grads) ^ set(tensors)} differ from the file's tensors")
    for name, grad in grads.items():
        if grad.abs().max() < 1e-6 or not torch.isfinite(grad).all():
            raise RuntimeError(f"{case.name}: the gradient of {name} says nothing")
    checks = {
        "reference_loss": rounded(abs(reference_loss(config, tensors, sequences) - loss) / loss),
        "reference_grads": rounded(against_reference(config, tensors, sequences, grads)),
        "float32_loss": rounded(abs(plain_loss - loss) / loss),
        "float32": rounded(float32_error(plain, grads)),
    }
    if checks["float32"] > FLOAT32_LIMIT:
        raise IllConditioned(f"float32 is {checks['float32']} off")
    if checks["reference_loss"] > 1e-11:
        raise RuntimeError(f"{case.name}: not the reference's loss: {checks}")
    save_file({name: grad.to(torch.float32).contiguous() for name, grad in grads.items()}, folder / "grads.safetensors")
    record = {
        "tokens": sequences,
        "scored": sum(LENGTHS) - len(LENGTHS),
        "loss": loss,
        "sums": sums,
        "computed_in": "float64",
        "checks": checks,
    }
    (folder / "loss.json").write_text(dumped(record))
    return {
        "name": case.name,
        "architecture": case.config["model_type"],
        "tied": "lm_head.weight" not in tensors,
        "parameters": sum(tensor.size for tensor in tensors.values()),
        "notes": case.notes,
        "checks": checks,
    }


def dumped(record):
    """JSON with one line a key, and one a sequence."""
    lines = []
    for key, value in record.items():
        text = json.dumps(value)
        if isinstance(value, list) and value and isinstance(value[0], (list, dict)):
            text = "[\n  " + ",\n  ".join(json.dumps(row) for row in value) + "\n ]"
        lines.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


# --- AdamW ---------------------------------------------------------------------------


def rate(step):
    """Learning rate of step 0, 1, ...: linear warm-up, then a cosine down to `floor` of the peak."""
    peak, warmup, steps, floor = (SCHEDULE[key] for key in ("peak", "warmup", "steps", "floor"))
    if step < warmup:
        return peak * (step + 1) / warmup
    share = (step - warmup) / (steps - warmup)
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share)))


def decays(name):
    """Matrices of projections, the embedding and the head decay; nothing else does."""
    if name.endswith(".bias") or "norm" in name:
        return False
    return not name.endswith(NO_DECAY)


def train(folder, kind, batches, weights):
    """Five steps; returns (losses, norms before clipping, {published name: parameter})."""
    import torch

    model = loaded(folder, kind)
    named = {published(name, weights): parameter for name, parameter in model.named_parameters()}
    groups = [
        {"params": [p for n, p in named.items() if decays(n)], "weight_decay": ADAMW["weight_decay"]},
        {"params": [p for n, p in named.items() if not decays(n)], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, betas=tuple(ADAMW["betas"]), eps=ADAMW["eps"])
    losses, norms = [], []
    for step, sequences in enumerate(batches):
        for group in optimiser.param_groups:
            group["lr"] = rate(step)
        loss, _, _ = gradients(model, sequences, weights)
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), ADAMW["clip"])))
        optimiser.step()
        losses.append(loss)
    return losses, norms, {name: p.detach().clone() for name, p in named.items()}


def make_adamw(cases):
    import numpy as np
    import torch
    from goldens import rounded
    from safetensors.torch import save_file

    source = HERE / ADAMW_MODEL
    vocab = cases[ADAMW_MODEL].config["vocab_size"]
    rng = np.random.default_rng([SEED, 5])
    batches = [sequences_of(rng, vocab) for _ in range(SCHEDULE["steps"])]
    _, tensors = exact_view(source)
    with in_float64():
        losses, norms, final = train(source, torch.float64, batches, tensors)
    plain_losses, _, plain = train(source, torch.float32, batches, tensors)
    if not (max(norms) > ADAMW["clip"]):
        raise RuntimeError(f"no step is clipped: norms {norms}")
    moved = {name: float((p - torch.from_numpy(tensors[name])).abs().max()) for name, p in final.items()}
    checks = {
        "float32_losses": rounded(max(abs(a - b) / b for a, b in zip(plain_losses, losses))),
        # The largest difference of any parameter, against how far the furthest one moved.
        "float32": rounded(max(float((plain[n].double() - p).abs().max()) for n, p in final.items()) / max(moved.values())),
    }
    folder = HERE / "adamw"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    save_file({name: p.to(torch.float32).contiguous() for name, p in final.items()}, folder / "final.safetensors")
    record = {
        "model": ADAMW_MODEL,
        "steps": [
            {"lr": rate(step), "loss": losses[step], "norm": norms[step], "tokens": sequences}
            for step, sequences in enumerate(batches)
        ],
        **ADAMW,
        "schedule": SCHEDULE,
        "decay": sorted(name for name in tensors if decays(name)),
        "no_decay": sorted(name for name in tensors if not decays(name)),
        "computed_in": "float64",
        "checks": checks,
    }
    (folder / "steps.json").write_text(dumped(record))
    return {"folder": "adamw", "model": ADAMW_MODEL, "checks": checks}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", help="names of the cases to make again")
    arguments = parser.parse_args()
    suite.enter_environment()

    import torch
    import transformers
    from models import all_cases

    torch.set_num_threads(1)  # one order of summation on every machine
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    manifest_file = HERE / "manifest.json"
    known = {}
    if manifest_file.exists():
        known = {entry["name"]: entry for entry in json.loads(manifest_file.read_text())["cases"]}
    cases, entries = {case.name: case for case in all_cases()}, []
    for case in cases.values():
        wanted = not arguments.only or case.name in arguments.only or case.name not in known
        entries.append(make_case(case) if wanted else known[case.name])
        print(f"{case.name}: {entries[-1]['checks']}", flush=True)
    adamw = make_adamw(cases)
    print(f"adamw: {adamw['checks']}")
    manifest_file.write_text(json.dumps({"format": 1, "cases": entries, "adamw": adamw}, indent=1) + "\n")


if __name__ == "__main__":
    main()
