"""What the teacher is given to say, and how it is told."""

import json
import random

import numpy as np
import pytest

import teacher_speech
import teacher_text


@pytest.mark.parametrize(("value", "words"), [
    (0, "zero"), (19, "nineteen"), (40, "forty"), (99, "ninety-nine"), (305, "three hundred and five"),
    (21_016, "twenty-one thousand sixteen"),
])
def test_numbers_in_words(value, words):
    assert teacher_text.number(value) == words


@pytest.mark.parametrize(("value", "words"), [
    (1900, "nineteen hundred"), (1907, "nineteen oh seven"), (1984, "nineteen eighty-four"), (2000, "two thousand"),
    (2006, "two thousand and six"), (2031, "twenty thirty-one"),
])
def test_years_in_words(value, words):
    assert teacher_text.year(value) == words


def test_tidy_keeps_plain_sentences_and_drops_the_rest():
    assert teacher_text.tidy("“Come in--quickly,” she said.") == "Come in — quickly, she said."
    for unfit in ("Too short.", "he starts small and goes on.", "In 1893 it was sold again.", "Thou knowest it well enough.",
                  "Mr. Brown is not at home.", "It ends in the middle of"):
        assert teacher_text.tidy(unfit) is None


def test_templates_fill_every_slot_and_repeat_under_a_seed():
    sentences = [teacher_text.template_sentence(random.Random(seed)) for seed in range(500)]
    assert all(teacher_text.CLEAN.fullmatch(sentence) and sentence[-1] in ".!?" for sentence in sentences)
    assert sentences == [teacher_text.template_sentence(random.Random(seed)) for seed in range(500)]
    assert 0.1 < sum(sentence.endswith("?") for sentence in sentences) / 500 < 0.35


def test_phonemes_outside_the_alphabet_are_refused():
    assert teacher_speech.phonemes_of(lambda text: ' “həlˈO”,  ðˈɛɹ.', "") == "həlˈO, ðˈɛɹ."
    assert teacher_speech.phonemes_of(lambda text: "həlˈO ❓", "") is None
    assert teacher_speech.ids_of({"phonemes": "ðˈɛɹ."}) == [0, 81, 156, 86, 123, 4, 0]


def test_blend_mixes_timbre_and_takes_prosody_from_one_pack(tmp_path):
    for name, value in (("af_one", 1.0), ("jm_two", 2.0), ("bm_three", 3.0)):
        np.full((510, 256), value, np.float32).tofile(tmp_path / f"{name}.bin")
    row = {"phonemes": "aa", "speaker": "tblend0001", "blend": ["af_one", "jm_two", 0.25, "bm_three"]}
    style = teacher_speech.Voices(tmp_path).style(row)
    assert style.shape == (256,) and np.allclose(style[:128], 1.75) and np.allclose(style[128:], 3.0)


def test_index_lists_only_what_was_spoken(tmp_path):
    args = type("Args", (), {"out": tmp_path})
    (tmp_path / "clips").mkdir()
    rows = [{"path": f"clips/{i}.opus", "speaker": "af_heart", "blend": None, "speed": 1.0, "accent": "en-US", "text": "A",
             "phonemes": "ˈA"} for i in range(3)]
    (tmp_path / "plan.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "journal-00.jsonl").write_text("".join(
        json.dumps({"path": f"clips/{i}.opus", "durations": [3, 1, 2, 4]}) + "\n" for i in (0, 1)))
    (tmp_path / "clips/0.opus").touch()
    teacher_speech.index(args)
    (only,) = map(json.loads, (tmp_path / "teacher.jsonl").open())
    assert only["path"] == "clips/0.opus" and only["seconds"] == 0.25 and only["durations"] == [3, 1, 2, 4]
