"""Phoneme strings as units: one character each, with its stress; and what their durations mean.

A stress mark is no unit but sets the stress of the unit after it; quotes and brackets are dropped.
"""

from dataclasses import dataclass, field

BOS, EOS, SPACE = "<bos>", "<eos>", " "
PUNCTUATION = tuple(";:,.!?—…")
STRESSES = {"ˈ": 1, "ˌ": 2}
PHONES = tuple("AIOQTWYabdfhijklmnpstuvwzæðŋɐɑɒɔəɛɜɡɪɹɾʃʊʌʒʔʤʧːθᵊᵻ")
SYMBOLS = [BOS, EOS, SPACE, *PUNCTUATION, *PHONES]
# The teacher's sound runs this many steps ahead of its durations (at every speed; measured as the shift at which the
# labels explain most of the spectrum).
TEACHER_LAG = 2
LEAD, TAIL, LAST_MARK = 3, 4, 8  # most steps of <bos>, of <eos>, and of silence given to the last punctuation


@dataclass
class Units:
    symbols: list[str] = field(default_factory=list)
    stresses: list[int] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)

    def add(self, symbol: str, stress: int = 0, duration: int = 0) -> None:
        self.symbols.append(symbol)
        self.stresses.append(stress)
        self.durations.append(duration)

    def part(self, a: int, b: int) -> "Units":
        return Units(self.symbols[a:b], self.stresses[a:b], self.durations[a:b])


def pauses(symbol: str) -> bool:
    """Whether a unit may be silent."""
    return symbol in PUNCTUATION or symbol in (BOS, EOS, SPACE)


def from_phonemes(phonemes: str, durations: list[int] | None = None, unknown: set | None = None) -> Units:
    """Units of a phoneme string; `durations` has one number a character and one more at either end.

    The duration of a mark or of a dropped character goes to the unit that follows.
    """
    if durations is None:
        durations = [0] * (len(phonemes) + 2)
    if len(durations) != len(phonemes) + 2:
        raise ValueError(f"{len(phonemes)} phonemes need {len(phonemes) + 2} durations, not {len(durations)}")
    units = Units()
    units.add(BOS, 0, durations[0])
    stress = carried = 0
    for symbol, duration in zip(phonemes, durations[1:-1]):
        if symbol in STRESSES:
            stress, carried = STRESSES[symbol], carried + duration
        elif symbol in PHONES or symbol in PUNCTUATION or symbol == SPACE:
            units.add(symbol, stress if symbol in PHONES else 0, carried + duration)
            stress = carried = 0
        else:
            carried += duration
            if unknown is not None and symbol not in "“”\"()«»":
                unknown.add(symbol)
    units.add(EOS, 0, carried + durations[-1])
    return units


def earlier(units: Units, steps: int) -> None:
    """Move every boundary `steps` steps towards the start."""
    need = steps
    for i, duration in enumerate(units.durations):
        least = 0 if pauses(units.symbols[i]) else 1
        taken = min(need, max(duration - least, 0))
        units.durations[i] -= taken
        need -= taken
        if not need:
            break
    units.durations[-1] += steps - need


def trim_ends(units: Units, loud: list[bool]) -> int:
    """Give silence its due at both ends, in place; return how many steps were cut from the start.

    `loud` says of every step whether it sounds. Silence within the last phone goes to the punctuation after it (at
    most 8 steps) and <eos> (at most 4); the rest is cut, and so is all of <bos> but its last 3 steps.
    """
    last = max(i for i, symbol in enumerate(units.symbols) if not pauses(symbol))
    start = sum(units.durations[:last])
    total = sum(units.durations)
    end = start + units.durations[last]
    while end > start + 1 and not loud[end - 1]:
        end -= 1
    units.durations[last] = end - start
    quiet = total - end
    for i in range(last + 1, len(units.symbols)):
        units.durations[i] = 0
    if units.symbols[last + 1] in PUNCTUATION:
        units.durations[last + 1] = min(quiet, LAST_MARK)
        quiet -= units.durations[last + 1]
    units.durations[-1] = min(quiet, TAIL)
    cut = max(units.durations[0] - LEAD, 0)
    units.durations[0] -= cut
    return cut
