"""The ways a written number may be read, as tuples of words."""

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
).split()
TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()
SCALES = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred"))
IRREGULAR = {
    "one": "first", "two": "second", "three": "third", "five": "fifth",
    "eight": "eighth", "nine": "ninth", "twelve": "twelfth",
}  # fmt: skip
COINS = {"$": ("dollar", "cent"), "£": ("pound", "penny"), "€": ("euro", "cent")}
PLURAL = {"penny": "pence"}


def cardinal(number, joint=False):
    """105 as (one, hundred, five), or with `joint` (one, hundred, and, five)."""
    if number < 20:
        return (ONES[number],)
    if number < 100:
        return (TENS[number // 10],) + ((ONES[number % 10],) if number % 10 else ())
    for size, name in SCALES:
        if number >= size:
            rest = number % size
            words = cardinal(number // size, joint) + (name,)
            if not rest:
                return words
            return words + (("and",) if joint and rest < 100 else ()) + cardinal(rest, joint)
    raise AssertionError("every number has a scale")


def ordinal(words):
    """The last of the words made ordinal: (twenty, one) -> (twenty, first)."""
    last = words[-1]
    if last in IRREGULAR:
        last = IRREGULAR[last]
    elif last.endswith("y"):
        last = last[:-1] + "ieth"
    else:
        last += "th"
    return words[:-1] + (last,)


def by_digit(digits, zero="zero"):
    return tuple(zero if digit == "0" else ONES[int(digit)] for digit in digits)


def pair(two):
    """Two digits as said inside a year or a code: 05 as (oh, five), 00 as (hundred)."""
    if two == "00":
        return ("hundred",)
    return ("oh", ONES[int(two[1])]) if two[0] == "0" else cardinal(int(two))


def integer(digits):
    """All the usual readings of a run of digits."""
    number = int(digits)
    readings = [by_digit(digits), by_digit(digits, "oh")]
    if number < 10**15:
        readings += [cardinal(number), cardinal(number, joint=True)]
    if len(digits) == 3:
        readings.append((ONES[int(digits[0])],) + pair(digits[1:]))
    if len(digits) == 4 and digits[0] != "0":
        readings.append(cardinal(int(digits[:2])) + pair(digits[2:]))
    if len(digits) == 3 and digits.startswith("1"):
        readings += [("a",) + cardinal(number)[1:], ("a",) + cardinal(number, joint=True)[1:]]
    if 0 < number <= 31:
        readings += [ordinal(cardinal(number)), ("the",) + ordinal(cardinal(number))]
    return list(dict.fromkeys(readings))


def decimal(whole, part):
    """3.14 as three point one four, and the looser readings."""
    readings = []
    for left in integer(whole or "0"):
        for zero in ("zero", "oh"):
            readings.append(left + ("point",) + by_digit(part, zero))
        if len(part) == 2:
            # 6.05 may also be a time of day: six oh five.
            readings += [left + ("point",) + pair(part), left + pair(part)]
    if not whole or whole == "0":
        readings += [("point",) + by_digit(part, zero) for zero in ("zero", "oh")]
    return list(dict.fromkeys(readings))


def money(sign, whole, part, scale):
    """$9.50 as nine dollars and fifty cents, nine fifty, ...; $3.5 million likewise."""
    unit, coin = COINS[sign]
    number = int(whole)
    units = unit if number == 1 else unit + "s"
    if scale:
        amounts = decimal(whole, part) if part else integer(whole)
        return [amount + (scale, name) for amount in amounts for name in (units, unit, unit + "s")]
    if not part or int(part) == 0:
        return [amount + (name,) for amount in integer(whole) for name in (units, unit)]
    small = cardinal(int(part.ljust(2, "0")))
    coins = coin if small == ("one",) else PLURAL.get(coin, coin + "s")
    readings = []
    for amount in (cardinal(number), cardinal(number, joint=True)):
        readings += [
            amount + (units, "and") + small + (coins,),
            amount + (units,) + small + (coins,),
            amount + (units,) + small,
            amount + small,
            small + (coins,) if not number else amount + (units, "and") + small,
        ]
    return list(dict.fromkeys(readings + [words + (units,) for words in decimal(whole, part)]))


def clock(hour, minute):
    """7:05 as seven oh five; 7:00 as seven, seven o'clock or seven hundred."""
    left = cardinal(int(hour))
    if minute == "00":
        return [left, left + ("oclock",), left + ("hundred",)]
    return [left + pair(minute), left + cardinal(int(minute)), left + by_digit(minute)]


def fraction(top, bottom):
    """3/4 as three quarters, three fourths, three over four, three four."""
    upper, lower = cardinal(int(top)), cardinal(int(bottom))
    if bottom == "2":
        readings = [("a", "half"), ("one", "half"), ("half",)] if top == "1" else [upper + ("halves",)]
    else:
        names = [ordinal(lower)] + ([("quarter",)] if bottom == "4" else [])
        readings = [upper + n[:-1] + (n[-1] + ("" if top == "1" else "s"),) for n in names]
        if top == "1":
            readings += [("a",) + n for n in names]
    return readings + [upper + ("over",) + lower, upper + lower, upper + ("slash",) + lower]


ROMAN = dict(zip("ii iii iv v vi vii viii ix x xi xii xiii xiv xv xvi".split(), range(2, 17), strict=True))


def roman(numeral):
    """viii as the eighth or eight; the caller keeps the letters themselves too."""
    words = cardinal(ROMAN[numeral])
    return [("the",) + ordinal(words), words, ordinal(words)]
