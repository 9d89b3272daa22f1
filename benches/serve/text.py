"""Text over HTTP beside llama.cpp's `llama-server`: same weights, same machine, taking turns.

    python benches/serve/text.py [--parts chats,turns,shared,idle,thousands] [--models smollm2,mamba2-q8,mamba2-bf16]

chats      tokens per second of 16 chats at once, and of one
turns      the first token of a second turn after 8,192 tokens: warm, and after kill -9
shared     two prompts that share 4,000 tokens: what is read, and how soon both begin
idle       memory of idle conversations
thousands  10,000 idle conversations under a budget of 1 GiB; a sample goes on exactly

Every part is written to a result file of its own as soon as it is measured.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))

import chats  # noqa: E402
import idle  # noqa: E402
import material  # noqa: E402
import ours  # noqa: E402
import results  # noqa: E402
import rival  # noqa: E402
import servers  # noqa: E402
import tables  # noqa: E402
import turns  # noqa: E402
from workspace import say  # noqa: E402

PARTS = ("chats", "turns", "shared", "idle", "thousands")
MODELS = ("smollm2", "mamba2-q8", "mamba2-bf16")


def listed(text, known):
    chosen = [part for part in text.split(",") if part]
    for part in chosen:
        if part not in known:
            raise SystemExit(f"'{part}' is none of {', '.join(known)}")
    return chosen


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--parts", default=",".join(PARTS))
    options.add_argument("--models", default=",".join(MODELS))
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--threads", type=int, default=2, help="of llama-server; ours takes one a core")
    options.add_argument("--patience", type=float, default=180, help="seconds to wait for a quiet machine each time")
    options.add_argument("--attempts", type=int, default=3, help="of each run, while others disturb it")
    options.add_argument("--tuning", choices=list(chats.TUNINGS), help="of llama-server; otherwise all are tried")
    options.add_argument("--conversations", type=int, default=10_000)
    options.add_argument("--sample", type=int, default=idle.SAMPLE)
    options.add_argument("--binary", type=Path, help="the sillage binary (default: built here)")
    options.add_argument("--name", default="serve", help="the result files' name after their date")
    asked = options.parse_args()
    parts, wanted = listed(asked.parts, PARTS), listed(asked.models, MODELS)

    program = ours.binary(asked.binary)
    machine = servers.Machine(asked.patience, asked.attempts)
    about = {"threads": asked.threads, "rounds": asked.rounds, "nice": os.getpriority(os.PRIO_PROCESS, 0)}
    written = []

    def keep(part, found):
        written.append(results.write(f"{asked.name}-{part}", {**about, "part": part, **found}))

    if set(parts) - {"thousands"}:
        rival.build(tools=("llama-quantize", rival.SERVER))
        tunings = {}
        if asked.tuning:
            given = chats.TUNINGS[asked.tuning], {"tried": {}, "chosen": asked.tuning}
            tunings = {model.title: given for model in material.models(program, wanted)}
        for part, measure in (("chats", chats.measured), ("turns", turns.second_turns),
                              ("shared", turns.shared_beginnings)):  # fmt: skip
            cases = []
            for model in material.models(program, wanted) if part in parts else ():
                if model.title not in tunings:
                    say(f"--- tuning llama-server for {model.title}")
                    tunings[model.title] = chats.tuned(model, machine, asked.threads)
                say(f"--- {part}: {model.title}")
                tuning, tried = tunings[model.title]
                case = measure(program, model, tuning, machine, asked.rounds, asked.threads)
                cases.append({**case, "tuning": tried})
                # Written after every case, so that a broken run keeps what it had.
                path = results.write(f"{asked.name}-{part}", {**about, "part": part, "cases": cases})
            if cases:
                written.append(path)
        if "idle" in parts:
            cases = []
            for model in material.models(program, wanted):
                tuning, _ = tunings.get(model.title, (chats.TUNINGS["-fa on --kv-unified"], None))
                cases.append(idle.few(program, model, tuning, asked.threads))
            keep("idle", {"cases": cases})
    if "thousands" in parts:
        keep("thousands", idle.thousands(program, machine, asked.conversations, asked.sample))
    for path in written:
        print(tables.of_file(path))


if __name__ == "__main__":
    main()
