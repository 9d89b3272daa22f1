"""What preparing must keep: steps that match samples, phrases within bounds, alignments that find the way."""

import io

import numpy as np
import pytest
import torch

import align
import data
import features
import real
import table
from units import BOS, EOS, Units, earlier, from_phonemes, trim_ends


def test_marks_give_their_duration_and_stress_to_the_next_unit():
    units = from_phonemes("ˈæ “b,", [3, 2, 1, 4, 5, 6, 7, 8])
    assert units.symbols == [BOS, "æ", " ", "b", ",", EOS]
    assert units.stresses == [0, 1, 0, 0, 0, 0]
    assert units.durations == [3, 3, 4, 11, 7, 8]


def test_phonemes_and_durations_must_match():
    with pytest.raises(ValueError, match="need 4 durations"):
        from_phonemes("ab", [1, 2, 3])


def test_unknown_symbols_are_told():
    unknown = set()
    assert from_phonemes("aщb", None, unknown).symbols == [BOS, "a", "b", EOS]
    assert unknown == {"щ"}


def test_lag_moves_boundaries_and_keeps_the_sum():
    units = Units([BOS, "a", "b", EOS], [0] * 4, [1, 3, 2, 1])
    earlier(units, 2)
    assert units.durations == [0, 2, 2, 3]


def test_trimming_gives_silence_to_the_mark_and_eos():
    units = Units([BOS, "a", ".", EOS], [0] * 4, [12, 10, 5, 6])
    loud = [False] * 12 + [True] * 4 + [False] * 17
    assert trim_ends(units, loud) == 9
    assert units.durations == [3, 4, 8, 4]


def test_phrases_end_after_marks_and_stay_within_96_units():
    assert data.phrases([BOS, *"ab, cd.", EOS]) == [0, 0, 0, 0, 0, 1, 1, 1, 1]
    assert data.phrases([BOS, *"a—b?! c", EOS]) == [0, 0, 0, 1, 1, 1, 1, 2, 2]
    long = [BOS, *("abcde " * 40), EOS]
    numbers = data.phrases(long)
    sizes = np.bincount(numbers)
    assert len(numbers) == len(long) and sizes.max() <= 96
    assert all(long[end - 1] == " " for end in np.cumsum(sizes)[:-1])
    assert np.bincount(data.phrases([BOS, *("a" * 200), EOS])).tolist() == [96, 96, 10]


def test_mel_frames_are_centred():
    for t in (0, 5, 9):
        sound = torch.zeros(3000)
        sound[300 * t + 150] = 1.0
        mel = features.log_mel(sound)
        assert mel.shape == (10, 100)
        assert int(mel.mean(1).argmax()) == t


def test_mel_bands_are_triangles_of_height_one():
    bands = features.mel_bands(20)
    assert bands.shape == (513, 20) and bands.min() == 0 and 0.9 < bands.max() <= 1


def test_pitch_lies_on_frame_centres():
    pytest.importorskip("pyworld")
    at = np.arange(24000) / 24000
    rising = 120 + 60 * at
    sound = sum(np.sin(k * 2 * np.pi * np.cumsum(rising) / 24000) / k for k in range(1, 20)) * 0.1
    f0 = features.pitch(sound.astype(np.float32))
    assert len(f0) == 80
    expected = 120 + 60 * (np.arange(80) * 300 + 150) / 24000
    assert np.median(np.abs(f0 - expected)[10:70]) < 0.4


def test_viterbi_finds_a_planted_alignment():
    units = Units([BOS, "a", "b", " ", "a", ".", EOS], [0] * 7, [0] * 7)
    planted = ["silence"] * 3 + ["a"] * 4 + ["b"] * 2 + [" "] + ["silence"] * 9 + ["a"] * 5 + ["silence"] * 4
    logs = np.full((len(planted), len(align.CLASSES)), -6.0)
    for step, name in enumerate(planted):
        logs[step, align.NUMBER[name]] = -0.1
    found, score = align.align(logs, units, np.zeros(len(align.CLASSES)))
    assert found.symbols == [BOS, "a", "b", ",", " ", "a", ".", EOS]
    assert found.durations == [3, 4, 2, 5, 5, 5, 0, 4]
    assert score == pytest.approx(-0.1)


def test_too_short_a_sound_is_refused():
    units = Units([BOS, *"abds", EOS], [0] * 6, [0] * 6)
    with pytest.raises(ValueError, match="fewer steps"):
        align.align(np.zeros((3, len(align.CLASSES))), units, np.zeros(len(align.CLASSES)))


def test_long_clips_are_cut_at_pauses():
    units = Units([BOS, "a", ",", " ", "b", " ", "d", EOS], [0] * 8, [10, 300, 6, 6, 200, 2, 200, 20])
    gaps = real.gaps_of(units)
    cuts = real.choose_cuts(gaps[1:-1], [12, 2], 10, 724, 1)
    assert cuts == [0]
    first, begin = real.piece(units, gaps[0], gaps[1])
    assert first.symbols == [BOS, "a", ",", EOS] and first.durations == [3, 300, 8, 1] and begin == 7
    second, begin = real.piece(units, gaps[1], gaps[-1])
    assert second.symbols == [BOS, "b", " ", "d", EOS]
    assert second.durations == [3, 200, 2, 200, 4] and begin == 319


def test_packs_give_back_what_was_put_in(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    rows, found = [], []
    time = np.arange(48000) / 24000
    for k in range(3):
        buffer = io.BytesIO()
        soundfile.write(buffer, 0.3 * np.sin(2 * np.pi * 200 * (k + 1) * time), 24000, format="OGG", subtype="OPUS")
        (tmp_path / f"{k}.opus").write_bytes(buffer.getvalue())
        units = Units([BOS, "a", ".", EOS], [0, 1, 0, 0], [3, 40, 8, 2 + k])
        rows.append(table.Row(f"u{k}", "cathy", f"s{k % 2}", "en-US", f"{k}.opus", 600 * k, "Ah.", units))
        found.append(table.Measured(0.5, np.full(2 * rows[-1].steps, 100.0 * (k + 1))))
    table.write(tmp_path / "packs", rows, found, lambda clip: tmp_path / clip)
    read = data.load(tmp_path / "packs", 1)
    assert read.audio.shape == (600 * sum(row.steps for row in rows),)
    assert read.duration.tolist() == [3, 40, 8, 2, 3, 40, 8, 3, 3, 40, 8, 4]
    assert read.speaker.tolist() == [0, 1, 0] and read.f0[2 * read.step_offset[1]] == 200.0
    for k, row in enumerate(rows):
        begin = 600 * read.step_offset[k]
        piece = read.audio[begin : begin + 600 * row.steps] / 32768
        assert np.abs(piece[4800:24000]).max() == pytest.approx(0.15, abs=0.02)
        crossings = np.count_nonzero(np.diff(np.sign(piece[4800:28800])))
        assert crossings == pytest.approx(400 * (k + 1), rel=0.03)


def test_a_missing_audio_file_leaves_its_utterances_out(tmp_path):
    rows = [table.Row(f"u{k}", corpus, "s", "en-US", f"{k}.bin", 0, "", Units([BOS, "a", EOS], [0] * 3, [1, 2 + k, 1]))
            for k, corpus in enumerate(("cathy", "teacher"))]
    found = [table.Measured(1.0, np.zeros(2 * row.steps)) for row in rows]
    for k in range(2):
        (tmp_path / f"{k}.bin").write_bytes(b"x")
    meta = table.write(tmp_path / "packs", rows, found, lambda clip: tmp_path / clip)
    assert [pack["file"] for pack in meta["packs"]] == ["audio0.bin", "audio1.bin"]
    with np.load(tmp_path / "packs/table.npz") as arrays:
        kept = data.select(dict(arrays), np.array([False, True]))
    assert kept["id"].tolist() == ["u1"] and kept["duration"].tolist() == [1, 3, 1] and len(kept["f0"]) == 10
    assert kept["unit_offset"].tolist() == [0, 3]
