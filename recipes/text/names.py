"""Names that misaki's dictionaries lack, from the CMU Pronouncing Dictionary (public domain; the npm
package `cmu-pronouncing-dictionary` 3.0.0, ISC), brought into misaki's alphabet and habits.

British readings are made from the American ones by rule: r is lost before consonants, vowels take
their British length and quality. Spelling decides between the two vowels of *lot* and *palm*.
"""

import re
import subprocess
import tarfile
from pathlib import Path

import source

PACKAGE = "cmu-pronouncing-dictionary@3.0.0"
LINE = re.compile(r"""^\s*(?:'([^']+)'|"([^"]+)"|([a-z]+)): ['"]([^'"]+)['"],?$""", re.M)
SOUNDS = {
    "AA": "ɑ", "AE": "æ", "AH": "ʌ", "AO": "ɔ", "AW": "W", "AY": "I", "B": "b", "CH": "ʧ", "D": "d", "DH": "ð",
    "EH": "ɛ", "ER": "ɜɹ", "EY": "A", "F": "f", "G": "ɡ", "HH": "h", "IH": "ɪ", "IY": "i", "JH": "ʤ", "K": "k",
    "L": "l", "M": "m", "N": "n", "NG": "ŋ", "OW": "O", "OY": "Y", "P": "p", "R": "ɹ", "S": "s", "SH": "ʃ", "T": "t",
    "TH": "θ", "UH": "ʊ", "UW": "u", "V": "v", "W": "w", "Y": "j", "Z": "z", "ZH": "ʒ",
}
VOWEL = "AIOQWYaiuæɑɒɔəɛɜɪʊʌᵻᵊ"


def cmudict(work: Path) -> dict[str, str]:
    """word -> ARPAbet, first readings only."""
    saved = work / "cmudict.js"
    if not saved.exists():
        subprocess.run(["npm", "pack", "--silent", "--pack-destination", str(work), PACKAGE], check=True)
        with tarfile.open(next(work.glob("cmu-pronouncing-dictionary-*.tgz"))) as archive:
            licence = archive.extractfile("package/license").read().decode()
            if "ISC License" not in licence:
                raise SystemExit(f"{PACKAGE}: the licence has changed; check before using it")
            saved.write_bytes(archive.extractfile("package/index.js").read())
    found = {}
    for match in LINE.finditer(saved.read_text()):
        word = next(group for group in match.groups()[:3] if group)
        if "(" not in word:
            found.setdefault(word, match.group(4))
    return found


def american(arpabet: str) -> str:
    """misaki's alphabet: stress before the vowel, weak vowels, flapped t."""
    out = []
    for sound in arpabet.split("#")[0].split():
        name, stress = (sound[:-1], sound[-1]) if sound[-1].isdigit() else (sound, "")
        phone = SOUNDS[name]
        if stress == "0":
            phone = {"AH": "ə", "ER": "əɹ"}.get(name, phone)
        out.append({"1": "ˈ", "2": "ˌ"}.get(stress, "") + phone)
    text = "".join(out)
    text = re.sub(r"(?<=[dtszʃʒʧʤpbkɡfv])ə(l|n)(?![%s])" % VOWEL, r"ᵊ\1", text)
    return re.sub(r"(?<=[AIOWYiuæɑəɛɪɹʊʌɔ])t(?=[əɪiᵊO])", "ɾ", text)


def british(american_reading: str, word: str) -> str:
    text = american_reading.replace("ɾ", "t").replace("ᵻ", "ɪ").replace("æ", "a").replace("O", "Q")
    for us, gb in (("ɔɹ", "ɔː"), ("ɑɹ", "ɑː"), ("ɜɹ", "ɜː"), ("əɹ", "ə"), ("ɛɹ", "ɛː"), ("ɪɹ", "ɪə"), ("iɹ", "ɪə"),
                   ("ʊɹ", "ʊə"), ("ɹ", "")):
        text = re.sub(rf"{us}(?![ˈˌ]?[{VOWEL}])", gb, text)
    text = re.sub(r"ɜ(?=ɹ)", "ɜː", text)
    text = re.sub(r"ɔ(?=ɹ)", "ɔː", text)
    text = re.sub(r"(?<!ɪ)ɔ(?!ː)", "ɔː", text)
    text = re.sub(r"ɑ(?!ː)", "ɒ" if "o" in word else "ɑː", text)
    text = re.sub(r"u(?!ː)", "uː", text)
    return re.sub(r"(?<=[ˈˌ])i(?!ː)", "iː", text)


def stems(word: str) -> set[str]:
    """What a word may be an inflection of."""
    found = {word}
    for ending, instead in (("s", ""), ("es", ""), ("ies", "y"), ("d", ""), ("ed", ""), ("ing", ""), ("ing", "e")):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            found.add(word.removesuffix(ending) + instead)
    double = re.fullmatch(r"(.+)(.)\2(?:ing|ed)", word)
    return found | ({double.group(1) + double.group(2)} if double else set())


def extra(known: set[str], work: Path) -> dict[str, str]:
    """American readings of the words that are not in `known` (lower case) nor made from one of them."""
    found = {}
    for word, arpabet in cmudict(work).items():
        if re.fullmatch(r"[a-z]{3,}", word) and not stems(word) & known:
            found[word] = american(arpabet)
    return found
