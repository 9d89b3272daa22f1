"""Memory: what an idle conversation costs, and 10,000 of them under a budget.

The 10,000 are made with one short prompt each. Then some are gone on from; all
must say what they would have said had nobody else been there.
"""

import random
import shutil
import time

import servers
import wire
from material import Prompts, chat, completion, response, user
from workspace import say

FEW, PROMPT, WRITTEN = 24, 64, 16
FIRST, SECOND, AT_ONCE, SAMPLE = 8, 16, 16, 200
BUDGET = "1GiB"
THINGS = ("lamp", "boat", "letter", "garden", "clock", "horse", "river", "window", "coat", "island")
PLACES = ("by the sea", "in the hills", "at the mill", "near the church", "beyond the wood")


def few(program, model, tuning, threads):
    """Growth of resident memory by idle conversation, on both sides."""
    found = {}
    llama = servers.Llama(model.theirs, 16, 16 * 512, (*model.options, *tuning), threads)
    # A budget that all fit in, so that what one costs can be seen.
    with llama as theirs, servers.Sillage(program, model.mine, ("--state-budget", "8GiB")) as mine:
        prompts = Prompts(theirs.port, f"{model.title} idle")
        # All slots are used once, so that what they hold from the start does not count.
        texts = [prompts.prose(PROMPT - 30) for _ in range(16 + FEW)]
        for server in (theirs, mine):
            asked = [ask(model, text) for text in texts]
            fresh = server.memory()
            wire.ask_all(server.port, asked[:16])
            before = server.memory()
            for request in asked[16:]:
                wire.ask(server.port, *request)
            after = server.memory()
            again = wire.ask(server.port, *asked[16])
            grown = after["rss"] - before["rss"]
            found[server.name] = {"started": fresh, "before": before, "after": after,
                                  "bytes_each": grown / FEW, "first_again_read": again.read}  # fmt: skip
            if server is mine:
                found[server.name]["states"] = mine.stats()["states"]
            say(f"{model.title} {server.name}: {grown / FEW / 1e6:.2f} MB an idle conversation")
    return {"model": model.name, "type": model.kind, "conversations": FEW, "found": found}


def ask(model, text):
    return chat([user(text)], WRITTEN) if model.chats else completion(text, WRITTEN)


def opening(number):
    thing, place = THINGS[number % len(THINGS)], PLACES[number // len(THINGS) % len(PLACES)]
    text = f"{number}. The {thing} {place} was old, and"
    return response(text, FIRST, temperature=0.8, seed=number, stream=False)


def going_on(number, before):
    return response(" Then,", SECOND, before, temperature=0.8, seed=number + 1, stream=False)


def thousands(program, machine, count, sample):
    """`count` conversations with the built-in model, and a sample of them gone on from."""
    room = shutil.disk_usage("/tmp").free
    with servers.Sillage(program) as unbroken:
        chosen = {0, count - 1, *random.Random(count).sample(range(count), min(sample, count))}
        expected = {number: unbroken_text(unbroken, number) for number in sorted(chosen)}
    with servers.Sillage(program, options=("--state-budget", BUDGET)) as server:
        record = {"conversations": count, "budget": BUDGET, "disk_free_before": room,
                  "before": {**server.memory(), "states": server.stats()["states"]}}  # fmt: skip
        made, seen, began = {}, [], time.perf_counter()
        for start in range(0, count, AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, count))
            replies = wire.ask_all(server.port, [opening(number) for number in numbers])
            made.update({number: (reply.id, reply.text) for number, reply in zip(numbers, replies)})
            if len(made) % (count // 10) < AT_ONCE:
                stats = server.stats()["states"]
                seen.append({"conversations": len(made), "seconds": time.perf_counter() - began,
                             **server.memory(), "disk_files_bytes": server.disk_bytes(), "states": stats})  # fmt: skip
                say(f"{len(made)} conversations: {seen[-1]['rss'] / 1e6:.0f} MB resident, "
                    f"{seen[-1]['disk_files_bytes'] / 1e9:.2f} GB on disk, {seen[-1]['seconds']:.0f} s")  # fmt: skip
        record["growth"] = seen
        record["resumed"] = resumed(server, made, expected, sorted(chosen))
        record["restart_ready_s"] = server.restart()
        record["after_restart"] = {**server.memory(), "states": server.stats()["states"]}
        record["resumed_after_restart"] = resumed(server, made, expected, sorted(chosen))
        record["end"] = {**server.memory(), "states": server.stats()["states"]}
    record["load_after"] = machine.quiet()
    return record


def unbroken_text(server, number):
    first = wire.ask(server.port, *opening(number))
    return first.text, wire.ask(server.port, *going_on(number, first.id)).text


def resumed(server, made, expected, numbers):
    """Goes on from each in a random order: how many said the same, how soon, and what was read."""
    order, same, lost, took, read = list(numbers), 0, 0, [], []
    random.Random(1).shuffle(order)
    before = server.stats()["states"]
    for number in order:
        identity, text = made[number]
        try:
            reply = wire.ask(server.port, *going_on(number, identity))
        except wire.Broken as error:
            say(f"conversation {number}: {error}")
            lost += 1
            continue
        same += (text, reply.text) == expected[number]
        took.append(reply.ended - reply.began)
        read.append(reply.read)
    after = server.stats()["states"]
    found = {"asked": len(order), "same": same, "lost": lost, "seconds": took, "read": read,
             "from_memory": after["memory_hits"] - before["memory_hits"],
             "from_disk": after["disk_hits"] - before["disk_hits"]}  # fmt: skip
    say(f"gone on from {len(order)}: {same} say the same, {lost} lost, {found['from_disk']} from disk, "
        f"longest {max(took, default=0) * 1000:.1f} ms, most read {max(read, default=0)} tokens")  # fmt: skip
    return found
