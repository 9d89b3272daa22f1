"""Holds `batched.py` to the runtime: first losses of every kind of side, on the CPU.

    scripts/bench lessons test LESSONS

LESSONS as `--only` "track parity" writes it (`scripts/bench lessons` does).
"""

import json
import sys
from pathlib import Path

import torch

import teach


def main() -> None:
    folder = Path(sys.argv[1])
    lessons = [json.loads(line) for line in (folder / "lessons.jsonl").open()]
    assert lessons, "no lesson to hold to"
    for group in teach.classes(lessons):
        lesson = group[0]
        room = teach.Class(folder, [lesson], "cpu")
        ours = [room.step(step)[0].item() for step in range(len(lesson["losses"]))]
        off = max(abs(a - b) for a, b in zip(ours, lesson["losses"]))
        print(f"{lesson['id']}: {len(ours)} losses, at most {off:.1e} apart")
        assert len(ours) >= 4 and off < 1e-4, (ours, lesson["losses"])
        # Wrong weights must be found out.
        spoiled = teach.Class(folder, [lesson], "cpu")
        with torch.no_grad():
            spoiled.flat.mul_(1.05)
        wrong = [spoiled.step(step)[0].item() for step in range(len(lesson["losses"]))]
        assert max(abs(a - b) for a, b in zip(wrong, lesson["losses"])) > 1e-4


if __name__ == "__main__":
    main()
