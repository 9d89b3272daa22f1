"""The lab's voice scores, without any model: python -m pytest benches/lab, or run this file."""

import json
import tempfile
from pathlib import Path

import voice

PLAIN = [f"Sentence number {n} is said here." for n in range(250)]


def words(text, step=0.5):
    """Timestamps as `say` writes them, half a second a word."""
    return [{"text": word, "start": at * step, "end": at * step + 0.4} for at, word in enumerate(text.split())]


def test_texts_are_the_same_again_and_hold_no_sentence_twice():
    for seconds, count in ((5, 40), (60, 3), (600, 2)):
        found = voice.texts(PLAIN, seconds, count)
        assert found == voice.texts(PLAIN, seconds, count)
        assert [len(text) for text in found] == [voice.SENTENCES[seconds]] * count
        assert all(len(set(text)) == len(text) for text in found)
    assert voice.texts(PLAIN, 5, 3) == voice.texts(PLAIN, 5, 40)[:3], "more texts change none of the first"
    used = [sentence for text in voice.texts(PLAIN, 60, 3) for sentence in text]
    assert len(set(used)) == len(used)


def test_sentences_end_between_words():
    said = ["One two.", "Three, four - five!", "Six."]
    ends = voice.sentence_ends(said, [w for w in words(" ".join(said)) if w["text"] != "-"])
    assert ends == [(0.9 + 1.0) / 2, (2.9 + 3.0) / 2, None]


def test_the_same_word_in_two_sentences_is_told_apart():
    said = ["The end.", "The end.", "The end is near."]
    assert voice.sentence_ends(said, words(" ".join(said))) == [(0.9 + 1.0) / 2, (1.9 + 2.0) / 2, None]


def test_a_word_that_is_not_in_the_text_is_told():
    try:
        voice.sentence_ends(["One two."], [{"text": "three", "start": 0.0, "end": 1.0}])
    except SystemExit as error:
        assert "three" in str(error)
    else:
        raise AssertionError("a foreign word went unseen")


def test_pieces_cover_all_sound_and_all_words():
    said = [f"Say {n}." for n in range(8)]
    ends = [3.0 * (n + 1) for n in range(7)] + [None]
    found = voice.pieces(said, ends, 24.5, 4)
    assert [piece[:2] for piece in found] == [(0.0, 12.0), (12.0, 24.5)]
    assert " ".join(text for _, _, text in found) == " ".join(said)
    found = voice.pieces(said[:7], [*ends[:6], None], 21.0, 3)
    assert [piece[:2] for piece in found] == [(0.0, 9.0), (9.0, 21.0)], "what is left over joins the last"
    assert found[1][2] == " ".join(said[3:7])
    assert voice.pieces(said[:1], [None], 2.0) == [(0.0, 2.0, "Say 0.")]


def test_points_are_lines_of_the_lab():
    line = voice.point("quality", "attention", {"seconds": 5}, "DNSMOS", "higher", [3.0], {"texts": "x"}, 1.0)
    assert line["kind"] == "point" and line["measure"] == "voice" and line["outcome"] == "measured"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scores.jsonl"
        assert voice.kept(path) == {}
        path.write_text(json.dumps(line) + "\n" + json.dumps(line)[:40], encoding="utf-8")
        assert list(voice.kept(path).values()) == [line], "a torn last line is left out"


def test_a_fingerprint_is_found_in_a_manifest():
    assert voice.fingerprint({"claim": {"tool": "sillage", "model": "6c4c"}, "valid": True}) == "6c4c"
    assert voice.fingerprint({"claim": {}}) is None


if __name__ == "__main__":
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            test()
            print("ok", name)
