"""What counts as the same words: python -m pytest benches/voice, or run this file."""

import normalise
import sentences

SAME = [
    ("three forty five pm", "3:45 PM."),
    ("three forty five pm", "3.45 p.m."),
    ("six oh five am", "6.05 a.m."),
    ("nineteen eighty seven", "1987"),
    ("nineteen oh five", "1905"),
    ("two thousand and twelve", "2012"),
    ("forty eight dollars and sixty cents", "$48.60"),
    ("one point five million dollars", "$1.5 million"),
    ("three hundred and twenty five thousand pounds", "£325,000"),
    ("five five five oh one four two", "555-0142"),
    ("minus twelve degrees", "-12 degrees"),
    ("King Henry the eighth", "King Henry VIII"),
    ("World War two", "World War II"),
    ("nineteen nineties", "1990s"),
    ("on the third of May", "on the 3rd of May"),
    ("July fourteenth", "July 14"),
    ("anna at example dot com", "anna@example.com"),
    ("www dot example dot org", "www.example.org"),
    ("the US and the UK", "The U.S. and the U.K."),
    ("The colour of the theatre", "the color of the theater"),
    ("it's we're don't can't", "It is, we are, do not cannot"),
    ("a book shelf", "a bookshelf"),
    ("a bookshelf", "a book-shelf"),
    ("half a cup and three quarters", "half a cup and 3/4"),
    ("twenty five cents", "25 cents"),
    ("sixty five miles per hour", "65 mph"),
    ("ten oclock sharp", "10 o'clock sharp"),
    ("thirty one degrees celsius", "31°C"),
    ("seven percent", "7%"),
    ("Mister Smith and Doctor Jones", "Mr. Smith and Dr. Jones"),
]
WRONG = [("a big dog", "a pig dog", 1), ("three forty five", "3:46", 1), ("one two three", "", 3), ("yes", "yes yes", 1)]


def test_ways_of_writing_are_no_errors():
    for spoken, written in SAME:
        assert normalise.errors([spoken], written)[0] == 0, (spoken, written, normalise.slots(written))


def test_misheard_words_are_errors():
    for spoken, heard, wrong in WRONG:
        assert normalise.errors([spoken], heard)[0] == wrong, (spoken, heard)


def test_every_sentence_is_its_own_reference():
    for sentence in sentences.load():
        assert normalise.errors(sentence.references, sentence.references[0])[0] == 0, sentence.text


def test_written_hard_sentences_match_their_spoken_form():
    wrong = [s.text for s in sentences.load() if normalise.errors(s.references, s.text)[0]]
    assert not wrong, wrong


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("test_"):
            check()
            print(f"{name}: passed")
