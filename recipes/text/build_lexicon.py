"""Pack misaki's dictionaries into crates/sillage-text/data/{us,gb}.lex.

A file is a deflate stream of: a line of the phoneme characters (their codes are 1, 2, ...), a line
with the number of entries, then four columns: shared prefix lengths (a byte each), the rest of each
word (ended by a line feed), a byte each (1 for gold entries, 2 for names and words of our own), and the readings, each ended by
code 0. Further readings of an entry follow its first after a byte 128 + part of speech.
"""

import argparse
import json
import zlib
from pathlib import Path

import names
import source

TAGS = ["DEFAULT", "NOUN", "VERB", "ADJ", "ADV", "VBD", "VBN", "VBP", "DT", "None"]
DATA = Path(__file__).parents[2] / "crates" / "sillage-text" / "data"


def readings(entry: str | dict) -> list[tuple[str, str]]:
    if isinstance(entry, str):
        return [("DEFAULT", entry)]
    return [("DEFAULT", entry["DEFAULT"])] + [(tag, ps or "") for tag, ps in entry.items() if tag != "DEFAULT"]


def pack(gold: dict, silver: dict, more: dict) -> bytes:
    merged: dict[str, tuple] = {}
    for table, rank in ((more, 2), (silver, 0), (gold, 1)):
        merged |= {word: (entry, rank) for word, entry in table.items()}
    words = sorted(merged, key=str.encode)
    phones = sorted({char for entry, _ in merged.values() for _, ps in readings(entry) for char in ps})
    code = {char: index + 1 for index, char in enumerate(phones)}
    prefixes, rest, flags, sounds = bytearray(), bytearray(), bytearray(), bytearray()
    previous = b""
    for word in words:
        raw = word.encode()
        shared = next((i for i, (a, b) in enumerate(zip(previous, raw)) if a != b), min(len(previous), len(raw)))
        prefixes.append(shared)
        rest += raw[shared:] + b"\n"
        previous = raw
        entry, rank = merged[word]
        flags.append(rank)
        for tag, phonemes in readings(entry):
            if tag != "DEFAULT":
                sounds.append(128 + TAGS.index(tag))
            sounds += bytes(code[char] for char in phonemes)
        sounds.append(0)
    head = "".join(phones) + "\n" + str(len(words)) + "\n"
    return head.encode() + bytes(prefixes) + bytes(rest) + bytes(flags) + bytes(sounds)


def extras(path: Path = Path(__file__).parent / "extras.tsv") -> dict[str, tuple[str, str]]:
    """Our own words: word -> (American, British)."""
    rows = (line.split("\t") for line in path.read_text().splitlines() if line and not line.startswith("#"))
    return {word: (us, gb) for word, us, gb in rows}


def additions(gold: dict, silver: dict, accent: str, options) -> dict[str, str]:
    """Our own words, and the names that letters alone would get wrong (see names.py)."""
    known = {word.lower() for table in (gold, silver) for word in table}
    own = {word: readings[accent == "gb"] for word, readings in extras().items() if word not in known}
    if options.names is None:
        return own
    spoken = json.loads(options.names.read_text())[accent]
    found = names.extra(known | set(own), options.work)
    if accent == "gb":
        found = {word: names.british(reading, word) for word, reading in found.items()}
    return own | {word: reading for word, reading in found.items() if plain(spoken.get(word, "")) != plain(reading)}


def plain(reading: str) -> str:
    """A reading without the differences that nobody hears: stress that is not primary, weak vowels."""
    for mark, other in (("ˌ", ""), ("ᵊ", "ə"), ("ᵻ", "ə"), ("ɾ", "t"), ("ɪ", "ə")):
        reading = reading.replace(mark, other)
    return reading


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--work", type=Path, default=source.WORK)
    options.add_argument("--out", type=Path, default=DATA)
    options.add_argument("--names", type=Path, help="what letters alone make of the names, from read_names.py")
    options = options.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for accent in ("us", "gb"):
        gold, silver = source.dictionaries(accent, options.work)
        more = additions(gold, silver, accent, options)
        raw = pack(gold, silver, more)
        packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9)
        small = packer.compress(raw) + packer.flush()
        (options.out / f"{accent}.lex").write_bytes(small)
        print(f"{accent}.lex: {len(raw):,} bytes packed to {len(small):,}, {len(more):,} words added")


if __name__ == "__main__":
    main()
