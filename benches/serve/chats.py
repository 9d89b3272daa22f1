"""How fast 16 chats at once are written, and one alone."""

import ours
import servers
import wire
from material import Prompts, chat, completion, endless, user
from workspace import say

PROMPT, WRITTEN, MANY = 64, 128, 16
# What is tried before anything is timed: the best of these is the rival.
TUNINGS = {
    f"-fa {fa} {kv}": ("-fa", fa, kv) for fa in ("on", "off") for kv in ("--kv-unified", "--no-kv-unified")
}


def rates(replies):
    """Tokens per second of some chats at once: as waited for, and while all of them wrote."""
    began = min(reply.began for reply in replies)
    ended = max(reply.times[-1] for reply in replies)
    all_write = max(reply.times[0] for reply in replies)
    one_ends = min(reply.times[-1] for reply in replies)
    tokens = sum(reply.written for reply in replies)
    figures = {
        "whole": tokens / (ended - began),
        "tokens": [reply.written for reply in replies],
        "prompt_tokens": [reply.prompt_tokens for reply in replies],
        "read": [reply.read for reply in replies],
        "first_s": [reply.first for reply in replies],
    }
    if one_ends > all_write:
        # Pieces of text, which are tokens but for those whose bytes were held back.
        steady = 0.0
        for reply in replies:
            inside = sum(all_write < at <= one_ends for at in reply.times)
            steady += inside * reply.written / len(reply.times)
        figures["steady"] = steady / (one_ends - all_write)
    return figures


def requests(model, prompts, count):
    asked = []
    for _ in range(count):
        if model.chats:
            # The template takes some 30 tokens.
            text = prompts.prose(PROMPT - 52) + " ... Continue this as a very long story with many details."
            asked.append(chat([user(text)], WRITTEN, **endless(model)))
        else:
            asked.append(completion(prompts.prose(PROMPT), WRITTEN, **endless(model)))
    return asked


def llama(model, tuning, threads):
    context = MANY * 512
    return servers.Llama(model.theirs, MANY, context, (*model.options, *tuning), threads)


def tuned(model, machine, threads):
    """The options under which llama-server writes 16 chats fastest."""
    tried = {}
    for label, tuning in TUNINGS.items():
        if not model.chats and "--kv-unified" in tuning and "on" in tuning:
            continue  # A state space model has no attention: two are enough.
        with llama(model, tuning, threads) as server:
            prompts = Prompts(server.port, label)
            wire.ask_all(server.port, requests(model, prompts, 2))
            runs = machine.watched(server, lambda _: wire.ask_all(server.port, requests(model, prompts, MANY)))
            runs = [rates(replies) for replies, _ in runs]
            tried[label] = max(run.get("steady", run["whole"]) for run in runs)
            say(f"{model.title}: llama-server {label}: {tried[label]:.0f} tokens/s")
    best = max(tried, key=tried.get)
    return TUNINGS[best], {"tried": tried, "chosen": best}


def engine(program, model, threads):
    """Our engine without the server, for what the server costs."""
    rows = ours.bench(program, model.mine, prefill=PROMPT, decode=WRITTEN, batches=(1, MANY), depths=(0,),
                      threads=threads, repeats=1)  # fmt: skip
    return {str(row["batch"]): row["decode_runs"] for row in rows}


def measured(program, model, tuning, machine, rounds, threads):
    """All rounds: {side: {chats at once: [run]}}."""
    kept = {"llama-server": {"1": [], "16": []}, "sillage": {"1": [], "16": []}, "engine": {"1": [], "16": []}}
    with llama(model, tuning, threads) as theirs, servers.Sillage(program, model.mine) as mine:
        prompts = Prompts(theirs.port, model.title)
        for server in (theirs, mine):
            wire.ask_all(server.port, requests(model, prompts, 2))
        for turn in range(rounds):
            for count in (MANY, 1):
                for server in (theirs, mine) if turn % 2 == 0 else (mine, theirs):
                    # Prompts are new at every attempt, so that none is known already.
                    tries = machine.watched(
                        server, lambda _, s=server, c=count: wire.ask_all(s.port, requests(model, prompts, c))
                    )
                    for replies, used in tries:
                        run = {**rates(replies), "machine": used}
                        kept[server.name][str(count)].append(run)
                        say(f"{model.title} x{count} {server.name}: {run.get('steady', 0):.0f} steady, "
                            f"{run['whole']:.0f} whole, others {used['others']:.2f}")  # fmt: skip
            machine.quiet()
            for count, runs in engine(program, model, threads).items():
                kept["engine"][count] += runs
        files = {"sillage": model.mine.stat().st_size, "llama-server": model.theirs.stat().st_size}
        memory = {"sillage": mine.memory(), "llama-server": theirs.memory()}
    return {"model": model.name, "type": model.kind, "runs": kept, "file_bytes": files, "memory": memory}

