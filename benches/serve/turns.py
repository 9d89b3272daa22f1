"""The second turn after a long history, and two prompts that begin alike.

A second turn is asked of a server that still runs, and of one that was killed
and started again. llama-server keeps the first turn in its slot; after a
restart it is given the slot's file, which the client must have asked for while
the server still ran.
"""

import servers
import wire
from material import Prompts, chat, completion, native, response, said, user
from workspace import say

HISTORY, ANSWER, QUESTION, SECOND = 8192, 16, 16, 8
SHARED, OWN = 4000, 32


def told(reply):
    """What is kept of a turn."""
    timings = reply.timings
    return {
        "first_s": reply.first,
        "prompt_tokens": reply.prompt_tokens or timings.get("prompt_n", 0) + timings.get("cache_n", 0),
        # llama-server's own endpoint has no usage, but says what it read.
        "read": reply.read if reply.usage else timings.get("prompt_n"),
        "written": reply.written or timings.get("predicted_n"),
    }


def theirs_turn(server, model, prompts, history, question):
    """Cold, second turn, and second turn after a restart, on llama-server."""
    if model.chats:
        first = wire.ask(server.port, *chat([user(history)], ANSWER, id_slot=0))
        second = chat([user(history), said(first.text), user(question)], SECOND, id_slot=0)
    else:
        # Its best case: tokens, which need not be cut from the text again.
        tokens = prompts.tokens(history)
        first = wire.ask(server.port, *native(tokens, ANSWER, id_slot=0))
        second = native([*tokens, *first.tokens, *prompts.tokens("\n\n" + question)], SECOND, id_slot=0)
    found = {"cold": told(first)}
    saved, answer, took = server.slot("save")
    found["save"] = {"worked": saved, "seconds": took, "answer": answer}
    found["second"] = told(wire.ask(server.port, *second))
    found["ready_s"] = server.restart()
    restored, answer, took = server.slot("restore")
    found["restore"] = {"worked": restored, "seconds": took, "answer": answer}
    found["restarted"] = told(wire.ask(server.port, *second))
    found["restarted"]["first_with_restore_s"] = found["restarted"]["first_s"] + took
    return found


def mine_turn(server, history, questions):
    """The same on ours, by the name of the answer and by the whole history."""
    first = wire.ask(server.port, *response(history, ANSWER))
    found = {"cold": told(first)}
    found["second"] = told(wire.ask(server.port, *response(questions[0], SECOND, first.id)))
    whole = [user(history), said(first.text)]
    found["second_whole"] = told(wire.ask(server.port, *chat([*whole, user(questions[1])], SECOND)))
    found["ready_s"] = server.restart()
    found["restarted"] = told(wire.ask(server.port, *response(questions[2], SECOND, first.id)))
    server.restart()
    found["restarted_whole"] = told(wire.ask(server.port, *chat([*whole, user(questions[3])], SECOND)))
    return found


def second_turns(program, model, tuning, machine, rounds, threads):
    """All rounds of the second turn: {side: [round]}."""
    kept = {"llama-server": [], "sillage": []}
    options = (*model.options, *tuning)
    with servers.Llama(model.theirs, 1, HISTORY + 1024, options, threads) as theirs:
        with servers.Sillage(program, model.mine) as mine:
            # Made before anything is timed: a prompt for each attempt, the same for both sides.
            prompts = Prompts(theirs.port, f"{model.title} turn")
            texts = [
                [(prompts.prose(HISTORY), [prompts.prose(QUESTION) for _ in range(4)]) for _ in range(machine.attempts)]
                for _ in range(rounds)
            ]

            def run(server, turn, attempt):
                history, questions = texts[turn][attempt]
                if server is theirs:
                    return theirs_turn(server, model, prompts, history, questions[0])
                return mine_turn(server, history, questions)

            for turn in range(rounds):
                for server in (theirs, mine) if turn % 2 == 0 else (mine, theirs):
                    for found, used in machine.watched(server, lambda n, s=server, t=turn: run(s, t, n)):
                        kept[server.name].append({**found, "machine": used})
                        say(f"{model.title} {server.name}: " + brief(found))
    return {"model": model.name, "type": model.kind, "history": HISTORY, "runs": kept}


def brief(run):
    figures = {key: value["first_s"] for key, value in run.items() if isinstance(value, dict) and "first_s" in value}
    return ", ".join(f"{key} {value * 1000:.1f} ms" for key, value in figures.items())


def pair(model, shared, ends):
    """Two requests with the same beginning."""
    prompts = [f"{shared} {end}" for end in ends]
    if model.chats:
        return [chat([user(prompt)], SECOND) for prompt in prompts]
    return [completion(prompt, SECOND) for prompt in prompts]


def shared_beginnings(program, model, tuning, machine, rounds, threads):
    """Two prompts that share 4,000 tokens, one after the other and at once: {side: {how: [run]}}."""
    kept = {name: {"after": [], "at once": []} for name in ("llama-server", "sillage")}
    options = (*model.options, *tuning)
    with servers.Llama(model.theirs, 2, 2 * (SHARED + 512), options, threads) as theirs:
        with servers.Sillage(program, model.mine) as mine:
            prompts = Prompts(theirs.port, f"{model.title} shared")

            def run(server, how):
                shared, ends = prompts.prose(SHARED), [prompts.prose(OWN) for _ in range(2)]
                replies = both(server, pair(model, shared, ends), how)
                # One after the other, the second is asked when the first has been answered.
                waited = [reply.first for reply in replies]
                took = sum(waited) if how == "after" else max(waited)
                return {"turns": [told(reply) for reply in replies], "both_first_s": took}

            for turn in range(rounds):
                for how in ("after", "at once"):
                    for server in (theirs, mine) if turn % 2 == 0 else (mine, theirs):
                        for found, used in machine.watched(server, lambda _, s=server, h=how: run(s, h)):
                            kept[server.name][how].append({**found, "machine": used})
                            read = [turn["read"] for turn in found["turns"]]
                            say(f"{model.title} {how} {server.name}: read {read}, {found['both_first_s']:.2f} s")
    return {"model": model.name, "type": model.kind, "shared": SHARED, "runs": kept}


def both(server, asked, how):
    if how == "at once":
        return wire.ask_all(server.port, asked)
    return [wire.ask(server.port, *request) for request in asked]
