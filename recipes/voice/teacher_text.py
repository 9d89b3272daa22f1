"""Sentences for the teacher to read: public-domain book sentences and everyday templates.

Everything drawn here may be spoken and published: book sentences come from a jsonl.zst file of
public-domain books (one object a line with the key "text"), the templates and word lists below
are this project's own. All draws come from the `random.Random` passed in, so a seed fixes them.
"""

from __future__ import annotations

import io
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

ARCHAIC = re.compile(
    r"\b(thee|thou|thy|thine|hath|doth|hast|dost|art thou|ye|'?tis|'?twas|'?twere|whilst|wherefore|thereof"
    r"|whereupon|hither|thither|methinks|verily|nigger|negro|negroes|damn|damned|bloody|fuck|god|lord|christ)\b",
    re.IGNORECASE,
)
CLEAN = re.compile(r"[A-Za-z0-9 ,.;:!?'—-]+")
QUOTED = re.compile(r"\"([^\"]{6,220})\"")
SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
ABBREVIATION = re.compile(r"\b(Mr|Mrs|Dr|St|Messrs|Esq|No|Vol|Ch|[A-Z])\.")


def tidy(text: str) -> str | None:
    """One sentence in plain characters, or None when it is not fit to be read aloud."""
    text = text.translate(str.maketrans("“”‘’–", "\"\"''—")).replace("--", "—").replace("...", "—")
    text = re.sub(r"\s+", " ", text.replace("_", "").replace('"', "")).strip(" —-'")
    text = re.sub(r"\s*—\s*", " — ", text)
    text = re.sub(r"\W*[,;:—]$", ".", text)
    words = text.split()
    if not 3 <= len(words) <= 28 or not CLEAN.fullmatch(text) or text[-1] not in ".!?" or not text[0].isupper():
        return None
    if ARCHAIC.search(text) or ABBREVIATION.search(text) or re.search(r"\d|\b[A-Z]{2,}\b|[.!?,;:]{2}|-\B|\B-|— \W|[a-z]-[a-z]{2,3}-", text):
        return None
    if max(len(word) for word in words) > 16 or sum(word[0].isupper() for word in words) > 0.4 * len(words) + 1:
        return None
    return text


def book_sentences(path: Path, rng: random.Random, per_book: int) -> Iterator[str]:
    """Up to `per_book` tidy sentences of every book: two of three from dialogue, the rest prose."""
    import zstandard

    with path.open("rb") as raw:
        lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(raw), encoding="utf-8")
        for line in lines:
            text = json.loads(line)["text"]
            start = rng.randrange(max(1, len(text) - 150_000))
            text = text[start : start + 150_000].translate(str.maketrans("“”‘’", "\"\"''"))
            spoken = [tidy(match) for match in QUOTED.findall(text)]
            prose = [tidy(s) for paragraph in text.split("\n\n") if '"' not in paragraph
                     for s in SENTENCE.split(paragraph.replace("\n", " "))]
            spoken = sorted({s for s in spoken if s})
            prose = sorted({s for s in prose if s})
            yield from rng.sample(spoken, min(len(spoken), per_book * 2 // 3))
            yield from rng.sample(prose, min(len(prose), per_book // 3))


ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()
ORDINALS = ("first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth "
            "sixteenth seventeenth eighteenth nineteenth twentieth").split()
ORDINALS += [f"twenty-{o}" for o in ORDINALS[:9]] + ["thirtieth", "thirty-first"]


def number(n: int) -> str:
    """Cardinal number in words, 0 to 999 999."""
    if n < 20:
        return ONES[n]
    if n < 100:
        return TENS[n // 10] + (f"-{ONES[n % 10]}" if n % 10 else "")
    if n < 1000:
        return f"{ONES[n // 100]} hundred" + (f" and {number(n % 100)}" if n % 100 else "")
    head = f"{number(n // 1000)} thousand"
    return head + (f" {number(n % 1000)}" if n % 1000 else "")


def year(n: int) -> str:
    """A year as it is said: nineteen forty-five, two thousand and six, twenty thirty-one."""
    if 2000 <= n < 2010:
        return "two thousand" + (f" and {ONES[n % 10]}" if n % 10 else "")
    low = n % 100
    return f"{number(n // 100)} " + ("hundred" if low == 0 else f"oh {ONES[low]}" if low < 10 else number(low))


def clock(rng: random.Random) -> str:
    """A time of day in words."""
    hour, minute = rng.randint(1, 12), rng.choice([0, 5, 10, 12, 15, 20, 25, 30, 35, 40, 45, 50, 55, 7, 48, 23])
    if minute == 0:
        return f"{ONES[hour]} o'clock"
    if rng.random() < 0.4 and minute in (5, 10, 15, 20, 30):
        return f"{'half' if minute == 30 else 'a quarter' if minute == 15 else number(minute)} past {ONES[hour]}"
    spoken = f"oh {ONES[minute]}" if minute < 10 else number(minute)
    return f"{ONES[hour]} {spoken}" + rng.choice(["", "", " in the morning", " in the evening", " PM", " AM"])


def money(rng: random.Random) -> str:
    """An amount of money in words."""
    unit, part = rng.choice([("dollars", "cents"), ("pounds", "pence"), ("euros", "cents")])
    whole = rng.choice([rng.randint(2, 20), rng.randint(21, 999), rng.randint(10, 99) * 1000])
    if whole < 200 and rng.random() < 0.5:
        return f"{number(whole)} {unit} and {number(rng.randint(2, 99))} {part}"
    return f"{number(whole)} {unit}"


LISTS: dict[str, list[str]] = {
    "name": ("Anna Ben Clara David Emma Frank Grace Henry Isabel Jack Kate Leo Maria Nathan Olivia Peter Rachel Sam Tom "
             "Victoria William Zoe Amir Chloe Daniel Fatima Hiroshi Priya Carlos Ingrid Marcus Yasmin Joseph Ruth Simon "
             "Elena Martin Nina Oscar Paula").split(),
    "family": "mother,father,sister,brother,cousin,uncle,aunt,neighbour,teacher,doctor,boss,grandmother,best friend,landlord".split(","),
    "place": ("the station,the library,the airport,the bakery,the school,the hospital,the office,the museum,the beach,the park,"
              "the market,the post office,the hotel,the theatre,the garage,the bridge,the harbour,the town hall,the gym,the bank").split(","),
    "city": "London,Chicago,Boston,Paris,Oxford,Dublin,Toronto,Sydney,Berlin,Seattle,Madrid,Tokyo,Denver,Bristol,Edinburgh,Vienna,Cairo,Lisbon".split(","),
    "food": ("bread,butter,cheese,apples,oranges,rice,chicken,onions,tomatoes,potatoes,honey,coffee,tea,sugar,milk,eggs,carrots,"
             "olives,mushrooms,chocolate,ginger,garlic,lemons,pasta,yoghurt,salmon,beans,spinach,walnuts,strawberries").split(","),
    "thing": ("the keys,your umbrella,the blue folder,my phone,the old photograph,the charger,the tickets,your passport,the ladder,"
              "the kettle,the laptop,the red suitcase,the newspaper,the spare tyre,the remote,the parcel,the vase,the map,the guitar,the camera").split(","),
    "adj": ("quiet,warm,strange,bright,heavy,simple,careful,lovely,terrible,gentle,rough,expensive,curious,narrow,golden,hollow,"
            "brilliant,ordinary,delicate,enormous,familiar,generous,stubborn,peaceful").split(","),
    "weather": ("cloudy with a chance of rain,sunny and mild,windy and cold,foggy until noon,dry and bright,stormy in the west,"
                "freezing overnight,humid, with thunder later").split(",") ,
    "month": "January February March April May June July August September October November December".split(),
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split(),
    "street": "Maple Street,Church Lane,Station Road,Park Avenue,Mill Hill,Bridge Street,Oak Drive,Victoria Terrace,Sunset Boulevard,Queen's Road,Elm Court".split(","),
    "verb": "finish,check,repair,paint,move,copy,send,open,close,measure,replace,clean,describe,explain,forget,remember,borrow,return".split(","),
    "work": "the report,the contract,the kitchen,the engine,the website,the garden,the experiment,the accounts,the lesson,the roof,the schedule,the recording".split(","),
    "animal": "a fox,an owl,two horses,a small dog,a flock of geese,a black cat,a hedgehog,three rabbits,a squirrel,an elephant,a whale,a pair of swans".split(","),
    "feeling": "tired,hungry,excited,nervous,proud,relieved,confused,sure,worried,delighted,bored,grateful,surprised,calm".split(","),
    "noun": ("language,shadow,thunder,journey,pleasure,measure,judge,church,vision,treasure,winter,feather,mother,thirst,beach,"
             "boy,voice,choice,house,cloud,zebra,rhythm,sword,knight,yacht,leisure,culture,garage,beige,southern,thistle").split(","),
    "tech": "settings,message,password,download,battery,screen,network,printer,calendar,playlist,timer,alarm,volume,backup".split(","),
    "short": ("Yes,No,Sure,Maybe,Of course,Not yet,Thank you,I see,Never,Right,Okay,Well,Exactly,Not at all,Good morning,"
              "Good night,Excuse me,Sorry,Hello,Goodbye,Please,Absolutely,I think so,Not really,Why not,Come in,Go on,"
              "Almost,Perhaps,Later,Quite right,No idea,Fair enough,All right,Never mind,Good luck,Welcome back,See you soon").split(","),
    "because": ("it was raining,the shop was shut,nobody called,I missed the bus,we ran out of time,the lights were off,"
                "she had already left,the road is closed,he hadn't slept,it costs too much,the answer was obvious").split(","),
    "opening": "Honestly,Actually,By the way,In any case,To be fair,As far as I know,On the other hand,Luckily,Oddly enough,After all,In fact,For example".split(","),
}

STATEMENTS = [
    "I met {name} at {place} on {day}, and we talked for about {n} minutes.",
    "{opening}, {name} said that {work} would be ready by {clock}.",
    "We left {thing} at {place}; {name} will pick it up on {day}.",
    "The train to {city} leaves at {clock} from platform {n}.",
    "My {family} lives at {n} {street}, just behind {place}.",
    "It cost {money}, which is {adj}, but not as {adj} as last year.",
    "The meeting has been moved to {day}, the {ordinal} of {month}, at {clock}.",
    "{name} was born on the {ordinal} of {month}, {year}, in {city}.",
    "I couldn't {verb} {work} — {because} — so I went home.",
    "We need {food}, {food}, {food}, {food}, and some {food}.",
    "There were {bign} people at {place}, and nearly half of them knew {name}.",
    "On {day} we saw {animal} near {place}; it looked {adj} and {adj}.",
    "My name is {name}. That's spelled {spelled}.",
    "The code is {letters}, {digits}.", "My number is {digits}, {digits}.",
    "Your order number is {letters}, {digits}; please keep it safe.",
    "The word of the day is {noun}; yesterday it was {noun}, and before that, {noun}.",
    "Tomorrow it will be {weather}, with a high of {n} degrees.",
    "{opening}, I'm {feeling}, {feeling}, and a little {feeling}.",
    "{n} plus {n} is not {n}; I checked it twice.",
    "In {year}, only {bign} copies were sold; by {year}, it was {bign}.",
    "{name}, {name}, {name}, and {name} are coming to {city} with us.",
    "If you {verb} {work} before {clock}, we can walk to {place}.",
    "Although {because}, {name} stayed {feeling} until {clock}.",
    "The {adj} {noun} and the {adj} {noun} are in the other room.",
    "He said the {noun} was {adj}; she said it was {adj} — they were both right.",
    "First, {verb} {work}; second, {verb} {work}; third, go home and rest.",
    "About {n} percent of the {noun} was {adj}.",
    "I was {feeling} because {because}.", "{short}, {name}.", "{short}, I'm {feeling}.", "{short}.", "{short}. {short}.",
    "{name} has {thing}, I think.", "Somebody moved {thing}.", "It's {clock}.", "That will be {money}.",
    "We drove from {city} to {city}, through {city} and {city}, in {n} hours.",
    "Room {n}, on the {ordinal} floor, next to the lift.",
    "You have {n} new messages and {n} missed calls.",
    "Turn left at {place}, then right onto {street}; it's number {n}.",
]
QUESTIONS = [
    "Did you {verb} {work}?", "Where did {name} put {thing}?", "What time is it in {city}?", "Is it {clock} already?",
    "How much is it — {money}?", "Are you {feeling}, or just {feeling}?", "Who told you that {because}?",
    "Would you like {food}, {food}, or {food}?", "Can you meet me at {place} on {day}?", "Why is the {noun} so {adj}?",
    "Have you ever been to {city}?", "Which one is yours, the {adj} one or the {adj} one?", "{short}?", "Really, {name}?",
    "Was that {animal}?", "How do you spell {noun}?", "Could you please turn down the {tech}?", "Isn't that {thing}?",
    "Shall we say {clock}, at {place}?", "When does {place} open on {day}?", "You're leaving on the {ordinal}, aren't you?",
    "Do you know what my {family} said about {work}?", "What if {because}?", "Should I {verb} it now, or wait until {day}?",
    "Is there {animal} in the garden?", "How many {food} do we need, {n} or {n}?",
]
EXCLAMATIONS = [
    "{short}!", "Look out, {name}!", "What a {adj} {noun}!", "I can't believe {because}!", "Don't forget {thing}!",
    "Happy birthday, {name}!", "Stop — that's {thing}!", "How {adj}!", "Look, there's {animal}!", "We won by {n} points!",
    "Quick, {verb} {work}!", "It's {money}, and it isn't even {adj}!", "Come here, {name}, right now!",
    "Congratulations on the {noun}!", "No, no, no — not {thing}!", "Hurry up, it's {clock}!", "I'm so {feeling}!",
]
COMMANDS = [
    "Set a timer for {n} minutes.", "Call my {family}.", "Remind me to {verb} {work} at {clock}.", "Open the {tech}.",
    "Please {verb} {work}, {name}.", "Turn off the lights in {place}.", "Add {food}, {food}, and {food} to the list.",
    "Play something {adj}.", "Put {thing} on the table, please.", "Take {thing} to {place} before {clock}.",
    "Send {name} a message: {because}.", "Wake me at {clock}.", "Show me the way to {street}.",
    "Wait here, {name}; I'll {verb} {work}.", "Read the {ordinal} line again, slowly.", "Check the {tech}, then the {tech}.",
]


def _value(key: str, rng: random.Random) -> str:
    """A random filling of one template slot."""
    makers = {
        "clock": lambda: clock(rng), "money": lambda: money(rng), "ordinal": lambda: rng.choice(ORDINALS),
        "n": lambda: number(rng.choice([rng.randint(2, 20), rng.randint(21, 99), rng.randint(100, 400)])),
        "bign": lambda: number(rng.choice([rng.randint(100, 999), rng.randint(1000, 99_999)])),
        "year": lambda: year(rng.randint(1700, 2049)),
        "digits": lambda: ", ".join(rng.choice(["oh", *ONES[:10]]) for _ in range(rng.randint(3, 5))),
        "letters": lambda: ", ".join(rng.sample("ABCDEFGHIJKLMNOPQRSTUVWXYZ", rng.randint(2, 5))),
        "spelled": lambda: ", ".join(rng.choice(LISTS["name"]).upper()),
    }
    return makers[key]() if key in makers else rng.choice(LISTS[key])


def template_sentence(rng: random.Random) -> str:
    """One everyday sentence: statements, questions (22 %), exclamations (14 %), commands (16 %)."""
    kind = rng.choices([STATEMENTS, QUESTIONS, EXCLAMATIONS, COMMANDS], [48, 22, 14, 16])[0]
    text = re.sub(r"\{(\w+)\}", lambda match: _value(match.group(1), rng), rng.choice(kind))
    return text[0].upper() + text[1:]
