"""Voice over WebSocket: how many listen at once, what the server costs, and half an hour of it.

    python benches/serve/voice.py [--parts streams,burst,cost,load]

streams    N listeners that each hear one text after the other in real time, for a while
burst      N listeners that all ask at the same instant
cost       first sound through the server beside the bare engine (`sillage say --lines`), taking turns
load       full streams for half an hour: memory, errors, underruns

The clients run on the same two cores as the server and are counted against it.
"""

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))

import ours  # noqa: E402
import results  # noqa: E402
import servers  # noqa: E402
import sockets  # noqa: E402
from workspace import REPOSITORY, say  # noqa: E402

PARTS = ("streams", "burst", "cost", "load")
TEXTS = (REPOSITORY / "benches" / "voice" / "sentences.txt").read_text().splitlines()
VOICES = ("nova", "heart", "michael", "george", "cathy")
# First sounds later than this do not feel immediate.
GOAL_MS = 100


def texts(seed):
    """Two sentences at a time, in an order of the seed's."""
    order = random.Random(seed)
    sentences = [line.split("\t")[-1] for line in TEXTS if line.strip() and not line.startswith("#")]
    while True:
        yield " ".join(order.sample(sentences, 2))


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


async def listener(port, number, stop, spread, heard):
    """Hears texts until the time is over."""
    await asyncio.sleep(spread * random.Random(number).random())
    socket = await sockets.Socket.open(port)
    for turn, text in enumerate(texts(number)):
        if time.perf_counter() > stop:
            break
        voice = VOICES[(number + turn) % len(VOICES)]
        heard.append(await sockets.speak(socket, turn, text, voice))
    socket.close()


async def crowd(port, count, seconds, spread):
    """What `count` listeners heard, and the errors."""
    heard, stop = [], time.perf_counter() + seconds
    tasks = [listener(port, number, stop, spread, heard) for number in range(count)]
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    return heard, [repr(error) for error in ended if error is not None]


def told(server, count, heard, errors, seconds, cpu):
    first = [one.first_ms for one in heard if one.first_ms is not None]
    return {
        "streams": count, "seconds": seconds, "texts": len(heard),
        "first_ms_p50": percentile(first, 0.5), "first_ms_p95": percentile(first, 0.95),
        "first_ms_max": max(first, default=None),
        "underruns": sum(one.late for one in heard), "errors": errors,
        "spoken_seconds": sum(one.seconds for one in heard),
        "server_cores": cpu / seconds, "memory": server.memory(),
    }  # fmt: skip


def measured(server, count, seconds, spread):
    cpu, began = server.processor_seconds(), time.perf_counter()
    heard, errors = asyncio.run(crowd(server.port, count, seconds, spread))
    took = time.perf_counter() - began
    case = told(server, count, heard, errors, took, server.processor_seconds() - cpu)
    say(
        f"{count} streams: first sound {case['first_ms_p50']:.1f} ms p50, {case['first_ms_p95']:.1f} p95, "
        f"{case['first_ms_max']:.1f} max; {case['underruns']} underruns, {len(errors)} errors, "
        f"{case['server_cores']:.2f} cores, {case['memory']['rss'] / 1e6:.0f} MB"
    )
    return case


def streams(program, machine, asked):
    """Steady listening at several numbers of streams; then all at one instant."""
    cases = []
    for count in asked.streams:
        with servers.Sillage(program, options=["--max-sessions", 4096]) as server:
            machine.quiet()
            measured(server, 4, 5, 1)
            cases.append(measured(server, count, asked.seconds, 8))
    return {"cases": cases}


def burst(program, machine, asked):
    cases = []
    for count in asked.streams:
        with servers.Sillage(program, options=["--max-sessions", 4096]) as server:
            machine.quiet()
            measured(server, 4, 5, 1)
            rounds = [measured(server, count, 1, 0) for _ in range(asked.rounds)]
            cases.append({"streams": count, "rounds": rounds})
    return {"cases": cases}


def cost(program, machine, asked):
    """One text at a time: the engine alone and the server, taking turns."""
    engine = subprocess.Popen(
        [program, "say", "--lines", "--voice", "nova"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    engine.stdout.readline()

    async def through(server, lines):
        socket = await sockets.Socket.open(server.port)
        bare, served = [], []
        for number, text in enumerate(lines):
            engine.stdin.write(json.dumps({"text": text}) + "\n")
            engine.stdin.flush()
            bare.append(json.loads(engine.stdout.readline())["first_ms"])
            served.append(await heard_at_once(socket, number, text))
        return bare, served

    async def heard_at_once(socket, number, text):
        start = time.perf_counter()
        first = None
        socket.send(
            {
                "context_id": f"t{number}", "model_id": "sillage", "transcript": text, "continue": False,
                "voice": {"mode": "id", "id": "nova"}, "max_buffer_delay_ms": 0,
                "output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": sockets.RATE},
            }
        )  # fmt: skip
        while True:
            message = await socket.receive()
            if message["type"] == "chunk" and first is None:
                first = 1e3 * (time.perf_counter() - start)
            if message["type"] == "done":
                return first

    rounds = []
    with servers.Sillage(program) as server:
        for _ in range(asked.rounds):
            machine.quiet()
            source = texts(7)
            lines = [next(source) for _ in range(60)]
            bare, served = asyncio.run(through(server, lines))
            rounds.append({"bare_ms": bare, "served_ms": served})
            say(f"bare {statistics.median(bare):.2f} ms, served {statistics.median(served):.2f} ms")
    engine.stdin.close()
    engine.wait()
    bare = [ms for one in rounds for ms in one["bare_ms"]]
    served = [ms for one in rounds for ms in one["served_ms"]]
    return {
        "rounds": rounds,
        "bare_ms_p50": statistics.median(bare), "served_ms_p50": statistics.median(served),
        "bare_ms_p95": percentile(bare, 0.95), "served_ms_p95": percentile(served, 0.95),
    }  # fmt: skip


def load(program, _machine, asked):
    """Full streams for long; memory each half minute."""
    count, minutes = asked.load_streams, asked.minutes
    with servers.Sillage(program, options=["--max-sessions", 4096]) as server:
        measured(server, 4, 5, 1)
        cases, began = [], time.monotonic()
        while time.monotonic() - began < 60 * minutes:
            cases.append(measured(server, count, 30, 5))
        took = (time.monotonic() - began) / 60
    return {"streams": count, "minutes": took, "cases": cases}


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--parts", default="streams,burst,cost")
    options.add_argument("--streams", type=lambda text: [int(n) for n in text.split(",")], default=[16, 32, 64, 96, 128])
    options.add_argument("--seconds", type=float, default=40)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--minutes", type=int, default=30)
    options.add_argument("--load-streams", type=int, default=64)
    options.add_argument("--patience", type=float, default=180, help="seconds to wait for a quiet machine each time")
    options.add_argument("--binary", type=Path, help="the sillage binary (default: built here)")
    options.add_argument("--name", default="serve", help="the result files' name after their date")
    asked = options.parse_args()
    program = ours.binary(asked.binary)
    machine = servers.Machine(asked.patience)
    known = {"streams": streams, "burst": burst, "cost": cost, "load": load}
    for part in asked.parts.split(","):
        if part not in known:
            raise SystemExit(f"'{part}' is none of {', '.join(PARTS)}")
        found = known[part](program, machine, asked)
        results.write(f"{asked.name}-{part}", {"part": part, "goal_ms": GOAL_MS, **found})


if __name__ == "__main__":
    main()
