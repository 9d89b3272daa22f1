"""Teaches the lab's lessons with PyTorch on a GPU: the same models, first weights, batches, optimiser and
questions as `sillage lab recall|copy|track --full`, so that the tasks need minutes instead of a night,
and a second implementation says whether the first one learns what it should.

    cargo run --release -p sillage-lab --example lessons -- LESSONS
    python benches/lab/teach.py LESSONS OUT.jsonl [--device cpu] [--only TEXT] [--steps N]

Lessons of one shape are taught side by side, all seeds and rates in one batch.  Each begins by holding
its first losses to those that the runtime reached; beyond 0.2 % it refuses.  OUT.jsonl is a run as the
lab writes it: `sillage lab report OUT.jsonl` reads it.  Several processes may share a folder of
lessons: a lesson that one has begun (`OUT.jsonl.claims/`) is left out by the others.
"""

import argparse
import datetime
import hashlib
import json
import math
import os
import platform
import sys
import time
from pathlib import Path

import numpy
import torch
from torch import Tensor

from batched import Model

NOTHING = 0xFFFF
# Tokens of all runs together in a pass without gradients.
ASKED_AT_ONCE = 1 << 19
GOOD = 0.9


class Sequences:
    """A file of sequences: tokens (count, length); places and answers (count, asked), -1 unasked."""

    def __init__(self, folder: Path, entry: dict, device: str):
        shape = (entry["count"], 2, entry["length"])
        raw = numpy.fromfile(folder / entry["file"], dtype="<u2").reshape(shape)
        self.tokens = torch.from_numpy(raw[:, 0].astype(numpy.int16)).to(device)
        asked = raw[:, 1] != NOTHING
        most = int(asked.sum(1).max())
        # A stable sort brings the places where something is asked to the front, in order.
        order = numpy.argsort(~asked, axis=1, kind="stable")[:, :most]
        real = numpy.take_along_axis(asked, order, 1)
        answers = numpy.take_along_axis(raw[:, 1], order, 1).astype(numpy.int32)
        self.places = torch.from_numpy(order.astype(numpy.int32)).to(device)
        self.answers = torch.from_numpy(numpy.where(real, answers, -1).astype(numpy.int32)).to(device)

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.tokens[rows].long(), self.places[rows].long(), self.answers[rows].long()


class Class:
    """Lessons of one shape, each at every rate: run i is lesson i // rates at rate i % rates."""

    def __init__(self, folder: Path, lessons: list[dict], device: str, compiled: bool = False):
        self.folder, self.lessons, self.device = folder, lessons, device
        first = lessons[0]
        self.train, self.rates = first["recipe"]["train"], first["rates"]
        self.runs = len(lessons) * len(self.rates)
        self.model = Model(first["config"], first["layout"])
        # In training every pass has the same shapes, so that one compilation serves all.
        self.logits = self.model.logits
        if compiled:
            # Shapes of another class are another program.
            torch._dynamo.reset()
            self.logits = torch.compile(self.logits, dynamic=False)
        weights = [numpy.fromfile(folder / lesson["init"], dtype="<f4") for lesson in lessons]
        self.flat = torch.tensor(numpy.stack(weights).repeat(len(self.rates), 0), device=device)
        self.flat.requires_grad_()
        self.first, self.second = torch.zeros_like(self.flat), torch.zeros_like(self.flat)
        decays = [torch.full((math.prod(e["shape"]),), float(e["decays"])) for e in first["layout"]]
        self.decay = torch.cat(decays).to(device) * self.train["weight_decay"]
        self.data = [Sequences(folder, lesson["train"], device) for lesson in lessons]
        self.valid = [Sequences(folder, lesson["valid"], device) for lesson in lessons]
        self.rows = torch.zeros(len(lessons), self.train["batch"], dtype=torch.long, device=device)
        # Rate, and what the bias corrections divide by.
        self.numbers = torch.zeros(self.runs + 2, device=device)
        self.graph = None
        self.orders: list[dict[int, Tensor]] = [{} for _ in lessons]

    def rate(self, top: float, step: int) -> float:
        """As the recipe's cosine: `TrainRecipe::rate`."""
        train = self.train
        if step < train["warmup"]:
            return top * (step + 1) / train["warmup"]
        left = (train["steps"] - step) / max(train["steps"] - train["warmup"], 1)
        floor = top * train["floor"]
        return floor + (top - floor) * (0.5 - 0.5 * math.cos(math.pi * left))

    def batch(self, data: list[Sequences], rows: Tensor) -> tuple[Tensor, ...]:
        """Of every run."""
        parts = [sequences.take(own) for sequences, own in zip(data, rows)]
        return tuple(torch.stack(part).repeat_interleave(len(self.rates), 0) for part in zip(*parts))

    def losses(self, logits: Tensor, answers: Tensor) -> Tensor:
        """Mean loss of each run."""
        flat = answers.flatten(1)
        each = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), flat.flatten(), ignore_index=-1, reduction="none").view(flat.shape)
        return each.sum(1) / (flat >= 0).sum(1)

    def work(self) -> Tensor:
        """One step on the rows in `self.rows`; losses before it."""
        tokens, places, answers = self.batch(self.data, self.rows)
        losses = self.losses(self.logits(self.model.weights(self.flat), tokens, places), answers)
        (grad,) = torch.autograd.grad(losses.sum(), self.flat)
        rates, (fix1, fix2) = self.numbers[:-2, None], self.numbers[-2:]
        beta1, beta2 = self.train["betas"]
        with torch.no_grad():
            norm = grad.double().square().sum(1, keepdim=True).sqrt()
            grad = grad * (self.train["clip"] / (norm + 1e-6)).clamp(max=1.0).float()
            self.flat.mul_(1 - rates * self.decay)
            self.first.lerp_(grad, 1 - beta1)
            self.second.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
            self.flat.sub_(rates / fix1 * self.first / ((self.second / fix2).sqrt() + self.train["eps"]))
        return losses.detach()

    def which(self, step: int) -> Tensor:
        """Rows of the step's sequences: each once in order, or epoch by epoch shuffled."""
        size, rows = self.train["batch"], []
        for lesson, data, orders in zip(self.lessons, self.data, self.orders):
            at = torch.arange(step * size, (step + 1) * size)
            epoch = int(at[0]) // len(data)
            if epoch and epoch not in orders:
                orders.clear()
                chance = torch.Generator().manual_seed(lesson["recipe"]["seed"] * 100_003 + epoch)
                orders[epoch] = torch.randperm(len(data), generator=chance)
            at = at % len(data)
            rows.append(orders[epoch][at] if epoch else at)
        return torch.stack(rows)

    def step(self, step: int) -> Tensor:
        beta1, beta2 = self.train["betas"]
        rates = [self.rate(top, step) for top in self.rates] * len(self.lessons)
        numbers = rates + [1 - beta1 ** (step + 1), 1 - beta2 ** (step + 1)]
        self.numbers.copy_(torch.tensor(numbers))
        self.rows.copy_(self.which(step))
        if self.device == "cpu" or step < 3:
            return self.work()
        if self.graph is None:
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.out = self.work()
        self.graph.replay()
        return self.out

    @torch.no_grad()
    def right(self, flat: Tensor, tokens: Tensor, places: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
        """Losses and whether the likeliest answer is right, (runs, sequences, asked)."""
        logits = self.model.logits(self.model.weights(flat), tokens, places)
        target = answers.flatten(1).clamp(min=0)[..., None]
        losses = torch.logsumexp(logits, -1) - logits.gather(-1, target)[..., 0]
        hits = logits.argmax(-1) == answers.flatten(1)
        return losses.view(answers.shape), hits.view(answers.shape)

    def validate(self) -> tuple[Tensor, Tensor]:
        """Mean loss and accuracy of every run."""
        sums = torch.zeros(3, self.runs, device=self.device)
        size = self.train["batch"]
        for at in range(0, len(self.valid[0]), size):
            rows = torch.arange(at, at + size, device=self.device).expand(len(self.lessons), -1)
            tokens, places, answers = self.batch(self.valid, rows)
            losses, hits = self.right(self.flat, tokens, places, answers)
            asked = answers >= 0
            sums += torch.stack([(t * asked).sum((1, 2)) for t in (losses, hits, asked)])
        return sums[0] / sums[2], sums[1] / sums[2]

    def check(self, losses: list[list[float]]) -> None:
        """Holds the first rate's first losses to the runtime's."""
        for i, lesson in enumerate(self.lessons):
            ours = [step[i * len(self.rates)] for step in losses]
            for step, (mine, theirs) in enumerate(zip(ours, lesson["losses"])):
                if not abs(mine - theirs) <= 2e-3 * abs(theirs):
                    sys.exit(f"{lesson['id']}: loss {mine} at step {step + 1}, the runtime has {theirs}")

    def teach(self) -> list[dict]:
        """The result of every lesson: best rate's weights and what was tried."""
        steps, every = self.train["steps"], self.train["valid_every"]
        lowest = torch.full((self.runs,), math.inf, device=self.device)
        accuracy = torch.zeros(self.runs, device=self.device)
        kept = self.flat.detach().clone()
        ended: list[int | None] = [None] * self.runs
        early = []
        for step in range(steps):
            losses = self.step(step)
            if step < 4:
                early.append(losses.tolist())
                if step == min(3, steps - 1):
                    self.check(early)
            if (step + 1) % every and step + 1 != steps:
                continue
            loss, right = self.validate()
            open_runs = torch.tensor([end is None for end in ended], device=self.device)
            better = open_runs & (loss < lowest)
            lowest = torch.where(better, loss, lowest)
            kept = torch.where(better[:, None], self.flat.detach(), kept)
            accuracy = torch.where(open_runs, torch.maximum(accuracy, right), accuracy)
            for run in range(self.runs):
                if ended[run] is None and right[run] >= self.lessons[0]["enough"]:
                    ended[run] = step + 1
            if None not in ended:
                break
        return [self.best(i, kept, accuracy.tolist(), ended, step + 1) for i in range(len(self.lessons))]

    def best(self, i: int, kept: Tensor, accuracy: list[float], ended: list, steps: int) -> dict:
        """The lab's rule: rates in order until one is good, the best of those."""
        at, tried = i * len(self.rates), []
        for j, rate in enumerate(self.rates):
            tried.append((rate, accuracy[at + j]))
            if accuracy[at + j] >= GOOD:
                break
        j = max(range(len(tried)), key=lambda j: tried[j][1])
        return {"flat": kept[at + j], "rates": tried, "rate": tried[j][0], "steps": ended[at + j] or steps}

    def examine(self, results: list[dict]) -> list[list[list[float]]]:
        """Accuracy of each sample, by lesson and question."""
        flat = torch.stack([result["flat"] for result in results])
        out: list[list[list[float]]] = [[] for _ in self.lessons]
        for n, exam in enumerate(self.lessons[0]["exams"]):
            entry = exam["sequences"]
            # Whatever the seed, all are asked the same.
            assert all(lesson["exams"][n]["sequences"] == entry for lesson in self.lessons)
            data = Sequences(self.folder, entry, self.device)
            count, many = entry["count"], len(self.lessons)
            size = max(1, ASKED_AT_ONCE // (entry["length"] * many))
            for at in range(0, count, size):
                rows = torch.arange(at, min(at + size, count), device=self.device)
                tokens, places, answers = (part.expand(many, -1, -1) for part in data.take(rows))
                _, hits = self.right(flat, tokens, places, answers)
                asked = answers >= 0
                part = ((hits & asked).sum(2) / asked.sum(2)).double().tolist()
                for i, samples in enumerate(part):
                    if at == 0:
                        out[i].append([])
                    out[i][n].extend(samples)
        return out


def machine(device: str) -> dict:
    """As the lab describes one; the card stands where the processor would."""
    torch_is = f"PyTorch {torch.__version__.split('+')[0]}, float32"
    name, memory = f"{platform.processor() or platform.machine()}, {torch_is}", 0
    if device != "cpu":
        card = torch.cuda.get_device_properties(0)
        name, memory = f"{card.name}, {torch_is}", card.total_memory
    about = {"cpu": name, "cores": 1, "memory": memory, "isa": "cuda" if device != "cpu" else "pytorch",
             "system": platform.system().lower(), "sillage": "0.1.0"}
    print_of = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:12]
    return {"kind": "machine", "version": 1, "id": print_of, **about}


def now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def lines(here: dict, lesson: dict, result: dict, answers: list[list[float]], seconds: float,
          called: str) -> list[dict]:
    """A finished lesson as the lab writes a job; `called` tells it from the plain one."""
    called = called and f", {called}"
    job = {"measure": lesson["measure"], "job": lesson["id"] + called}
    recipe = json.loads(json.dumps(lesson["recipe"]))
    recipe["train"]["lr"] = result["rate"]
    if task := recipe["data"]["task"]:
        if task.get("corpus"):
            task["corpus"] = Path(task["corpus"]).name
    config = {"trained": lesson["trained"], "seed": recipe["seed"], "recipe": recipe, "rates": result["rates"],
              "steps": result["steps"], "taught by": here["cpu"]}
    out = [{"kind": "begin", **job}]
    for exam, samples in zip(lesson["exams"], answers):
        if (chance := exam["chance"]) is not None:
            samples = [(a - chance) / (1 - chance) for a in samples]
        samples = [round(a, 6) for a in samples]
        point = {key: value for key, value in exam["point"].items() if key not in ("outcome", "reason")}
        point |= {"series": point["series"] + called, "outcome": "measured", "samples": samples,
                  "config": config, "job": job["job"], "machine": here["id"], "time": now(),
                  "seconds": round(seconds, 3)}
        out.append({"kind": "point", **point})
    return out + [{"kind": "done", **job, "points": len(answers)}]


def classes(lessons: list[dict]) -> list[list[dict]]:
    """Lessons that differ in their seeds alone, the most work first."""
    found: dict[str, list[dict]] = {}
    for lesson in lessons:
        found.setdefault(lesson["measure"] + lesson["id"].split(" seed ")[0], []).append(lesson)

    def cost(group: list[dict]) -> float:
        train, first = group[0]["recipe"]["train"], group[0]
        tokens = train["steps"] * train["batch"] * first["train"]["length"]
        return tokens * first["config"]["width"] * len(group) * (2 if "m" in first["config"]["blocks"] else 1)

    return sorted(found.values(), key=cost, reverse=True)


def claimed(folder: Path, name: str) -> bool:
    """Whether this process is the first to ask for it."""
    try:
        os.close(os.open(folder / hashlib.sha256(name.encode()).hexdigest()[:16], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lessons", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", default="")
    parser.add_argument("--steps", type=int, help="end here; to try it out")
    parser.add_argument("--called", default="", help="words after each series' name, as 'taught longer'")
    parser.add_argument("--compile", action="store_true", help="compile the training pass: fewer, larger kernels")
    parser.add_argument("--claims", type=Path, help="folder in which processes tell each other what they do")
    args = parser.parse_args()
    lessons = [json.loads(line) for line in (args.lessons / "lessons.jsonl").open()]
    lessons = [lesson for lesson in lessons if args.only in f"{lesson['measure']} {lesson['id']}"]
    if not lessons:
        sys.exit(f"no lesson contains '{args.only}'")
    claims = args.claims or args.out.with_suffix(".claims")
    claims.mkdir(parents=True, exist_ok=True)
    here = machine(args.device)
    with args.out.open("a") as out:
        start = {"kind": "start", "seed": 0, "threads": 1, "scale": "full", "time": now(),
                 "measures": sorted({lesson["measure"] for lesson in lessons})}
        out.writelines(json.dumps(line) + "\n" for line in (here, start))
        for group in classes(lessons):
            name = f"{group[0]['measure']} {group[0]['id'].split(' seed ')[0]}"
            if not claimed(claims, name):
                continue
            begun = time.monotonic()
            if args.steps:
                for lesson in group:
                    lesson["recipe"]["train"]["steps"] = min(args.steps, lesson["recipe"]["train"]["steps"])
            room = Class(args.lessons, group, args.device, args.compile)
            results = room.teach()
            taught = time.monotonic() - begun
            answers = room.examine(results)
            seconds = (time.monotonic() - begun) / len(group)
            for lesson, result, own in zip(group, results, answers):
                written = lines(here, lesson, result, own, seconds, args.called)
                out.writelines(json.dumps(line) + "\n" for line in written)
            out.flush()
            best = ", ".join(f"{max(a for _, a in result['rates']):.3f}" for result in results)
            print(f"{name}: {best} ({taught:.0f} s taught, {time.monotonic() - begun - taught:.0f} s asked)",
                  file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
