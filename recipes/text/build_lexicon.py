"""Pack misaki's dictionaries into crates/sillage-text/data/{us,gb}.lex.

A file is a deflate stream of: a line of the phoneme characters (their codes are 1, 2, ...), a line
with the number of entries, then four columns: shared prefix lengths (a byte each), the rest of each
word (ended by a line feed), a byte each that is 1 for gold entries, and the readings, each ended by
code 0. Further readings of an entry follow its first after a byte 128 + part of speech.
"""

import argparse
import zlib
from pathlib import Path

import source

TAGS = ["DEFAULT", "NOUN", "VERB", "ADJ", "ADV", "VBD", "VBN", "VBP", "DT", "None"]
DATA = Path(__file__).parents[2] / "crates" / "sillage-text" / "data"


def readings(entry: str | dict) -> list[tuple[str, str]]:
    if isinstance(entry, str):
        return [("DEFAULT", entry)]
    return [("DEFAULT", entry["DEFAULT"])] + [(tag, ps or "") for tag, ps in entry.items() if tag != "DEFAULT"]


def pack(gold: dict, silver: dict) -> bytes:
    merged = {word: (entry, 0) for word, entry in silver.items()} | {word: (entry, 1) for word, entry in gold.items()}
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
        entry, is_gold = merged[word]
        flags.append(is_gold)
        for tag, phonemes in readings(entry):
            if tag != "DEFAULT":
                sounds.append(128 + TAGS.index(tag))
            sounds += bytes(code[char] for char in phonemes)
        sounds.append(0)
    head = "".join(phones) + "\n" + str(len(words)) + "\n"
    return head.encode() + bytes(prefixes) + bytes(rest) + bytes(flags) + bytes(sounds)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--work", type=Path, default=source.WORK)
    options.add_argument("--out", type=Path, default=DATA)
    options = options.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for accent in ("us", "gb"):
        raw = pack(*source.dictionaries(accent, options.work))
        packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9)
        small = packer.compress(raw) + packer.flush()
        (options.out / f"{accent}.lex").write_bytes(small)
        print(f"{accent}.lex: {len(raw):,} bytes packed to {len(small):,}")


if __name__ == "__main__":
    main()
