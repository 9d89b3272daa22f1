"""The voice benchmark.

    run.py timing  [--engines ..]       first audio, real-time factor, memory; one thread, then two; keeps the sound
    run.py wer                          word error rate of the kept sound by every recogniser
    run.py quality                      DNSMOS, the listening proxy and prosody of the kept sound
    run.py cloning --heldout F          clones of the held-out speakers: similarity and WER
    run.py streams                      how many live streams two cores carry
    run.py hour                         is it flat over an hour?
    run.py voices                       every shipped voice: WER, DNSMOS, and how unlike the others it is
    run.py timestamps                   do the words lie where they are said to lie?
    run.py twin --attention CHECKPOINT  the attention twin beside the SSM
    run.py tables                       the newest results as Markdown
    run.py plots [--out DIR]            the newest results as pictures

Results go to benches/results/voice/<date>-<what>.json, every single row to raw/ beside it.
`timing`, `hour`, `streams` and `twin` want a quiet machine.
"""

import argparse
import datetime
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import material
import measure
import peers
import quality
import recognise
import sentences
import similarity
import timestamps

sys.path.append(str(material.HERE.parent))
from results import machine, revision  # noqa: E402  (the engine benchmark's own record of the machine)

CLONE_SENTENCES = 5
VOICE_SENTENCES = 25
HUMAN = ("cathy", "ljspeech")


def keep(what, figures, raw=None):
    """Writes the figures, and the rows they were made from, under today's date."""
    now = datetime.datetime.now(datetime.timezone.utc)
    record = {"what": what, "at": now.isoformat(timespec="seconds"), "machine": machine(), "revision": revision()}
    (material.RESULTS / "raw").mkdir(parents=True, exist_ok=True)
    path = material.RESULTS / f"{now:%Y-%m-%d}-{what}.json"
    path.write_text(json.dumps({**record, **figures}, indent=1) + "\n", encoding="utf-8")
    if raw:
        lines = [json.dumps({"of": name, **short(row)}) for name, rows in raw.items() for row in rows]
        (material.RESULTS / "raw" / f"{now:%Y-%m-%d}-{what}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    material.say(f"wrote {path}")
    return path


def short(row):
    """A raw row without needless digits and without paths of this machine."""
    found = {}
    for key, value in row.items():
        if key == "path":
            value = Path(value).stem
        found[key] = round(value, 4) if isinstance(value, float) else value
    return found


def spoken(names):
    """{engine: [(sentence, wav)]} of the kept sound."""
    found = {}
    for name in names:
        pairs = [(sentence, peers.wav(name, sentence)) for sentence in sentences.load()]
        pairs = [(sentence, path) for sentence, path in pairs if path.exists()]
        if pairs:
            found[name] = pairs
        else:
            material.say(f"{name} has said nothing yet: run.py timing --engines {name}")
    return found


def timing(given):
    figures, raw = {}, {}
    for threads in given.threads:
        found, rows = measure.timing(given.engines, threads, limit=given.limit, few=given.few)
        figures[f"threads {threads}"] = found
        raw.update({f"{name}, threads {threads}": each for name, each in rows.items()})
    keep("timing", {"timing": figures}, raw)


def wer(given):
    """WER of all, of the plain and of the hard sentences; and of human speech as the recognisers' own floor."""
    figures, raw = {}, {}
    for name, pairs in spoken(given.engines).items():
        figures[name] = {}
        for ear in recognise.RECOGNISERS:
            parts = {"all": pairs, **{kind: [p for p in pairs if p[0].kind == kind] for kind in ("plain", "hard")}}
            figures[name][ear] = {}
            for part, chosen in parts.items():
                if chosen:
                    found = recognise.word_errors([(path, s.references) for s, path in chosen], ear)
                    if part == "all":
                        raw[f"{name}, {ear}"] = found["rows"]
                    figures[name][ear][part] = {key: value for key, value in found.items() if key != "rows"}
        material.say(f"{name}: " + ", ".join(f"{ear} {f['all']['wer']:.2%}" for ear, f in figures[name].items()))
    for corpus in HUMAN if given.human else ():
        pairs = recognise.human(material.VOICE_DATA / "MANIFEST.tsv", corpus, given.human)
        figures[f"human, {corpus}"] = {ear: {"all": without_rows(recognise.word_errors(pairs, ear))} for ear in recognise.RECOGNISERS}
    keep("wer", {"wer": figures}, raw)


def without_rows(found):
    return {key: value for key, value in found.items() if key != "rows"}


def qualities(given):
    figures, raw = {}, {}
    groups = {name: [path for _, path in pairs] for name, pairs in spoken(given.engines).items()}
    for corpus in HUMAN if given.human else ():
        groups[f"human, {corpus}"] = [p for p, _ in recognise.human(material.VOICE_DATA / "MANIFEST.tsv", corpus, given.human)]
    for name, paths in groups.items():
        raw[name] = [quality.measured(path) for path in paths]
        figures[name] = {**quality.summary(raw[name]), "listening": quality.listening(paths)}
        material.say(f"{name}: DNSMOS {figures[name]['overall']:.2f}, distance {figures[name]['listening']['distance']:.2f}")
    keep("quality", {"quality": figures}, raw)


def cloning(given):
    """Clones every held-out speaker (unless --clones names a folder of clones) and scores them."""
    speakers, scratch = similarity.heldout(given.heldout), material.CACHE / "heldout"
    folder = given.clones or material.SPEECH / "clones"
    if not given.clones:
        plain = [s for s in sentences.load() if s.kind == "plain"]
        for at, speaker in enumerate(speakers):
            prompt, _ = similarity.parts(speaker, scratch)
            voice = scratch / f"{speaker['speaker']}.voice"
            # The consent clip is the prompt itself: the speaker match is then certain, and nothing is published.
            line = os.environ.get("SILLAGE_CLONE", "clone {clip} --name {name} --consent {clip} --output {voice}")
            words = [part.format(clip=prompt, name=speaker["speaker"], voice=voice) for part in shlex.split(line)]
            subprocess.run([*shlex.split(os.environ.get("SILLAGE_BIN", "sillage")), *words], check=True, stdout=sys.stderr)
            engine = peers.Engine(peers.SILLAGE, 1, str(voice))
            for sentence in plain[at * CLONE_SENTENCES : (at + 1) * CLONE_SENTENCES]:
                target = folder / speaker["speaker"] / f"{sentence.name}.wav"
                engine.ask(text=sentence.text, wav=str(target))
            engine.close()
    figures = similarity.evaluate(folder, speakers, scratch)
    figures["wer"] = {ear: without_rows(found) for ear, found in figures["wer"].items()}
    keep("cloning", {"cloning": figures})


def voices(given):
    """Every shipped voice over a few plain sentences. Likeness is the mean cosine by the unseen encoder."""
    listed = subprocess.run([*shlex.split(os.environ.get("SILLAGE_BIN", "sillage")), "voices", "--json"],
                            check=True, capture_output=True, text=True)  # fmt: skip
    names = [json.loads(line)["name"] for line in listed.stdout.splitlines()]
    plain = [s for s in sentences.load() if s.kind == "plain"][100 : 100 + VOICE_SENTENCES]
    figures, vectors = {}, {}
    for name in names:
        engine, pairs = peers.Engine(peers.SILLAGE, 1, name), []
        for sentence in plain:
            pairs.append((material.SPEECH / "voices" / name / f"{sentence.name}.wav", sentence.references))
            engine.ask(text=sentence.text, wav=str(pairs[-1][0]))
        engine.close()
        found = quality.summary([quality.measured(path) for path, _ in pairs[:10]])
        figures[name] = {key: found[key] for key in ("overall", "signal", "background", "p808", "f0_hz")}
        figures[name]["wer"] = {ear: without_rows(recognise.word_errors(pairs, ear)) for ear in recognise.RECOGNISERS}
        found = similarity.unseen_all([path for path, _ in pairs[:5]])
        vectors[name] = sum(found.values()) / len(found)
        material.say(f"{name}: " + ", ".join(f"{ear} {f['wer']:.1%}" for ear, f in figures[name]["wer"].items()))
    for name, vector in vectors.items():
        others = {other: float(vector @ v) for other, v in vectors.items() if other != name}
        figures[name]["nearest"] = max(others, key=others.get)
        figures[name]["nearest_likeness"] = others[figures[name]["nearest"]]
        figures[name]["own_likeness"] = float(vector @ vector)
    keep("voices", {"voices": figures, "sentences": len(plain)})


def twin(given):
    """Both backbones, as they speak by default (back to the voice's state at the ends of sentences) and carried on."""
    names = [peers.SILLAGE, f"{peers.SILLAGE}:{given.attention}"]
    figures = {"ssm": {}, "attention": {}}
    for key, more in (("lengths", ()), ("lengths carried", ("--carry",))):
        found = measure.twin(names, more)
        for label, name in zip(figures, names, strict=True):
            figures[label][key] = [with_wer(row) for row in found[name]]
    for label, name in zip(figures, names, strict=True):
        _, rows = measure.timing([name], 1)
        figures[label] |= {"sentences": peers.summary(rows[name]), "streams": measure.streams(name)}
    for label, name in zip(figures, names, strict=True):
        pairs = [(path, s.references) for s, path in spoken([name])[name]]
        figures[label]["wer"] = {ear: without_rows(recognise.word_errors(pairs, ear)) for ear in recognise.RECOGNISERS}
    keep("twin", {"twin": figures})


def with_wer(row):
    """A row of one long utterance with the word error rate of its sound in the sound's place."""
    path, text = row.pop("sound")
    return row | {"wer": {ear: recognise.word_errors([(path, [text])], ear)["wer"] for ear in recognise.RECOGNISERS}}


def arguments():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("what", choices=["timing", "wer", "quality", "cloning", "streams", "hour", "timestamps", "voices", "twin", "tables", "plots"])
    options.add_argument("--engines", nargs="+", help=f"of {', '.join((peers.SILLAGE, *peers.PEERS))}; all there are")
    options.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    options.add_argument("--limit", type=int, help="only the first sentences, for a quick look")
    options.add_argument("--few", nargs="+", default=[], help="engines that say every fifth sentence in `timing` only")
    options.add_argument("--human", type=int, default=100, help="human clips beside the engines (0: none)")
    options.add_argument("--heldout", type=Path)
    options.add_argument("--clones", type=Path)
    options.add_argument("--aligner", type=Path, help="stages/classifier2.pt of a prepared folder, a second judge of timestamps")
    options.add_argument("--attention", help="checkpoint of the attention twin")
    options.add_argument("--out", type=Path, default=material.REPOSITORY / "docs" / "plots")
    given = options.parse_args()
    for what, needed in (("cloning", "heldout"), ("twin", "attention")):
        if given.what == what and not getattr(given, needed):
            options.error(f"{what} needs --{needed}")
    return given


def main():
    given = arguments()
    if given.what in ("tables", "plots"):
        import report

        return report.tables() if given.what == "tables" else report.plots(given.out)
    given.engines = peers.available(given.engines)
    if given.what == "streams":
        return keep("streams", {"streams": {t: measure.streams(peers.SILLAGE, t) for t in given.threads}})
    if given.what == "timestamps":
        figures, rows = timestamps.measured(given.limit, classifier=given.aligner)
        return keep("timestamps", {"timestamps": figures}, {peers.SILLAGE: rows})
    if given.what == "hour":
        return keep("hour", {"hour": measure.hour(given.engines)})
    return {"timing": timing, "wer": wer, "quality": qualities, "cloning": cloning, "voices": voices, "twin": twin}[given.what](given)


if __name__ == "__main__":
    main()
