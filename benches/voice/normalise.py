"""Brings a transcript and its reference to one form, so that WER counts misheard
words and not ways of writing.

`reference(text)` is a list of words. `slots(text)` is the transcript as a list of
slots, each a list of possible readings ("1987" may stand for nineteen eighty
seven or for its digits); `errors` takes the reading nearest to the reference.
"""

import re

import numbers_spoken as numbers

ABBREVIATIONS = {
    "mr": ["mister"], "mrs": ["missus", "missis", "misses"], "ms": ["miss", "miz"], "dr": ["doctor", "drive"],
    "st": ["saint", "street"], "vs": ["versus"], "etc": ["et cetera", "etcetera"], "jr": ["junior"],
    "sr": ["senior"], "prof": ["professor"], "capt": ["captain"], "sgt": ["sergeant"], "lt": ["lieutenant"],
    "gen": ["general"], "ave": ["avenue"], "rd": ["road"], "blvd": ["boulevard"], "apt": ["apartment"],
    "dept": ["department"], "approx": ["approximately"], "km": ["kilometers", "kilometer"],
    "kg": ["kilograms", "kilogram", "kilos"], "cm": ["centimeters", "centimeter"], "mm": ["millimeters"],
    "mph": ["miles per hour"], "lbs": ["pounds"], "lb": ["pound", "pounds"], "oz": ["ounces", "ounce"],
    "ft": ["feet", "foot"], "ml": ["milliliters"], "mg": ["milligrams"], "gb": ["gigabytes", "gigabyte"],
    "mb": ["megabytes", "megabyte"], "ghz": ["gigahertz"], "inc": ["incorporated"], "corp": ["corporation"],
    "ltd": ["limited"], "feb": ["february"], "aug": ["august"], "sept": ["september"], "oct": ["october"],
    "nov": ["november"], "dec": ["december"], "jan": ["january"], "tv": ["television"],
    "no": ["number"],
}  # fmt: skip
# Ways of writing the same sounds; both sides are brought to the right-hand form.
SPELLINGS = {
    "gray": "grey", "plow": "plough", "tire": "tyre", "tires": "tyres", "ok": "okay", "o": "oh",
    "centre": "center", "theatre": "theater", "metre": "meter", "metres": "meters", "litre": "liter",
    "litres": "liters", "kilometres": "kilometers", "fibre": "fiber", "defence": "defense",
    "offence": "offense", "licence": "license", "practise": "practice", "mould": "mold", "cheque": "check",
    "programme": "program", "pyjamas": "pajamas", "jewellery": "jewelry", "moustache": "mustache",
    "draught": "draft", "draughty": "drafty", "axe": "ax", "catalogue": "catalog", "dialogue": "dialog",
    "judgement": "judgment", "doughnut": "donut", "doughnuts": "donuts", "yoghurt": "yogurt", "storey": "story",
    "steven": "stephen", "sara": "sarah", "philip": "phillip", "ann": "anne", "marc": "mark", "jon": "john",
    "catherine": "katherine", "kathryn": "katherine", "alan": "allen", "allan": "allen", "gonna": "going to",
    "wanna": "want to", "gotta": "got to", "whiskey": "whisky", "alright": "all right", "hooray": "hurray",
    "till": "until", "mum": "mom", "mama": "mamma", "cannot": "can not", "ageing": "aging", "acknowledgement":
    "acknowledgment", "sceptical": "skeptical", "woollen": "woolen", "skilful": "skillful", "percent": "per cent",
    "for ever": "forever", "forevermore": "forever more", "good bye": "goodbye", "goodby": "goodbye",
}  # fmt: skip
SHORT = {"won't": ["will not"], "can't": ["can not"], "shan't": ["shall not"], "let's": ["let us", "lets"],
         "ain't": ["aint"], "y'all": ["you all"], "o'clock": ["oclock"], "ma'am": ["madam", "mam"]}  # fmt: skip
ENDINGS = {"'m": ["am"], "'re": ["are"], "'ve": ["have"], "'ll": ["will"], "'d": ["had", "would"]}
SYMBOLS = {"%": " percent ", "&": " and ", "@": " at ", "#": " number ", "+": " plus ", "=": " equals ",
           "°c": " degrees celsius ", "°f": " degrees fahrenheit ", "°": " degrees "}  # fmt: skip

TOKEN = re.compile(
    r"(?P<sign>[$£€])(?P<whole>\d+)(?:\.(?P<cents>\d+))?(?:\s+(?P<scale>thousand|million|billion|trillion))?"
    r"|(?P<hour>\d{1,2}):(?P<minute>\d{2})"
    r"|(?P<top>\d{1,2})/(?P<bottom>\d{1,2})(?![\d/])"
    r"|(?P<left>\d*)\.(?P<right>\d+)"
    r"|(?P<nth>\d+)(?:st|nd|rd|th)\b"
    r"|(?P<decade>\d+)'?s\b"
    r"|(?P<minus>(?<!\S)-)?(?P<digits>\d+)"
    r"|(?P<word>[a-z]+(?:'[a-z]+)*'?)"
)


def cleaned(text):
    """Lower case, plain quotes, symbols as words, thousands separators gone."""
    text = text.lower().replace("’", "'").replace("‘", "'").replace("é", "e").replace("ï", "i").replace("ñ", "n")
    for symbol, words in SYMBOLS.items():
        text = text.replace(symbol, words)
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text)
    # Dotted letters are one word: u.s.a. is usa, p.m. is pm.
    text = re.sub(r"\b((?:[a-z]\.){2,}[a-z]?)(?![a-z])", lambda m: m[0].replace(".", ""), text)
    text = re.sub(r"(?<=[a-z])\.(?=[a-z])", " dot ", text)
    return re.sub(r"(?<=\w)[-–—/](?=[a-z])|(?<=[a-z])[-–—/](?=\w)|(?<=\d)[-–—](?=\d)", " ", text)


def spelled(word):
    """One word in the spelling that both sides use; may become several words."""
    word = SPELLINGS.get(word, word)
    if len(word) > 5:
        word = word.replace("our", "or")
        word = re.sub(r"is(e|ed|es|er|ers|ing|ation|ations)$", r"iz\1", word)
        word = re.sub(r"(?<=[aeiou])ll(ed|ing|er|ers|or|ors|ous)$", r"l\1", word)
    return word


def phrase(words):
    return tuple(part for word in words for part in spelled(word).split())


def word_readings(word):
    """Readings of one written word: contractions and abbreviations opened."""
    word = word.rstrip("'")
    if word in SHORT:
        return [phrase(reading.split()) for reading in SHORT[word]]
    if word.endswith("n't"):
        return [phrase((word[:-3], "not"))]
    if word.endswith("'s"):
        stem = word[:-2]
        return [phrase(r) for r in ((stem, "is"), (stem + "s",), (stem, "has"), (stem, "us"))]
    for ending, tails in ENDINGS.items():
        if word.endswith(ending):
            return [phrase((word[: -len(ending)], tail)) for tail in tails]
    plain = word.replace("'", "")
    readings = [phrase((plain,))]
    if plain in ABBREVIATIONS:
        readings += [phrase(reading.split()) for reading in ABBREVIATIONS[plain]]
    if plain in numbers.ROMAN:
        readings += numbers.roman(plain)
    if plain == "its":
        readings.append(("it", "is"))
    return readings


def slots(text):
    """The text as slots of alternative readings."""
    found = []
    for match in TOKEN.finditer(cleaned(text)):
        part = match.groupdict()
        if part["sign"]:
            readings = numbers.money(part["sign"], part["whole"], part["cents"], part["scale"])
        elif part["hour"]:
            readings = numbers.clock(part["hour"], part["minute"])
        elif part["top"]:
            readings = numbers.fraction(part["top"], part["bottom"])
        elif part["right"]:
            readings = numbers.decimal(part["left"], part["right"])
        elif part["nth"]:
            base = numbers.cardinal(int(part["nth"]))
            readings = [numbers.ordinal(base), ("the",) + numbers.ordinal(base)]
        elif part["decade"]:
            readings = [w[:-1] + (plural(w[-1]),) for w in numbers.integer(part["decade"])]
        elif part["digits"]:
            readings = numbers.integer(part["digits"])
            if part["minus"]:
                readings = [(name, *words) for words in readings for name in ("minus", "negative")] + readings
        else:
            readings = word_readings(part["word"])
        found.append(list(dict.fromkeys(phrase(reading) for reading in readings)))
    return letters_joined(found)


def plural(word):
    return word[:-1] + "ies" if word.endswith("y") else word + "s"


def letters_joined(found):
    """Runs of two or more single letters become one word: p m is pm."""
    out, run = [], []
    for slot in [*found, None]:
        if slot and len(slot) == 1 and len(slot[0]) == 1 and (len(slot[0][0]) == 1 or slot[0][0] == "oh"):
            run.append(slot)
            continue
        if len(run) > 1:
            out.append([("".join(letter[0][0][:1] for letter in run),)])
        else:
            out += run
        run = []
        if slot:
            out.append(slot)
    return out


def reference(text):
    """The first reading of every slot, as one list of words."""
    return [word for slot in slots(text) for word in slot[0]]


def compounds_joined(words, found):
    """Where one side writes "bookshelf" and the other "book shelf", both become one word."""
    written = {slot[0][0] for slot in found if len(slot[0]) == 1}
    out, at = [], 0
    while at < len(words):
        both = "".join(words[at : at + 2])
        if at + 1 < len(words) and both in written:
            out.append(both)
            at += 2
        else:
            out.append(words[at])
            at += 1
    known, joined, at = set(out), [], 0
    while at < len(found):
        both = "".join("".join(slot[0]) for slot in found[at : at + 2])
        if at + 1 < len(found) and both in known:
            joined.append([(both,)])
            at += 2
        else:
            joined.append(found[at])
            at += 1
    return out, joined


def distance(words, found):
    """Least edits from `words` to any reading of the slots."""
    row = list(range(len(words) + 1))
    for slot in found:
        ends = []
        for reading in slot:
            current = row
            for heard in reading:
                after = [current[0] + 1]
                for at, said in enumerate(words):
                    after.append(min(current[at] + (said != heard), current[at + 1] + 1, after[at] + 1))
                current = after
            ends.append(current)
        row = [min(values) for values in zip(*ends, strict=True)]
    return row[-1]


def errors(references, heard):
    """(errors, words) of a transcript against the nearest of the references."""
    best = None
    for text in references:
        words, found = compounds_joined(reference(text), slots(heard))
        figure = (distance(words, found), len(words))
        if best is None or figure[0] / max(1, figure[1]) < best[0] / max(1, best[1]):
            best = figure
    return best
