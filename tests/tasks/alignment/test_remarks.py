"""Messages on alignments: key, tuning, bars by printed number and pass, parts without music of the score, another piece."""

import numpy as np
import pytest

from datamodules.alignment.score import PlayedMeasure
from tasks.alignment.aligned import ScoreSegment
from tasks.alignment.remarks import ANOTHER, bar_name, bars_between, remarks
from tests.helpers.known_alignments import RATE, a_score, aligned, through

PRINTED = a_score(
    measures=(
        PlayedMeasure(0.0, "0", 1),
        PlayedMeasure(1.0, "1", 1),
        PlayedMeasure(2.5, "1", 2),
        PlayedMeasure(4.0, "2", 1),
    )
)
"""A pickup, a bar that is repeated, and a last bar; without `measures` bars 1 to 3 at 1.0, 2.5 and 4.0 s."""


def sounding(seconds, *silences, level=0.1):
    """Noise (samples,) with silent parts (start, end) in s."""
    audio = level * np.random.default_rng(0).normal(size=round(seconds * RATE)).astype(np.float32)
    for start, end in silences:
        audio[round(start * RATE) : round(end * RATE)] = 0
    return audio


def segments(*rows):
    return [ScoreSegment(*row) for row in rows]


def test_a_recording_that_plays_the_score_has_no_remark():
    assert remarks(aligned(), True) == []


def test_of_another_piece_nothing_else_is_said():
    other = aligned(transposition=5, tuning_cents=40.0, segments=segments((2.0, 3.0, 0.4, 1.4)))
    assert remarks(other, False) == [ANOTHER] and "another piece" in ANOTHER


@pytest.mark.parametrize(
    ("semitones", "words"),
    [(1, "1 semitone above"), (-1, "1 semitone below"), (7, "7 semitones above"), (-12, "12 semitones below")],
)
def test_key(semitones, words):
    assert remarks(aligned(transposition=semitones), True) == [f"the recording is {words} the score."]


@pytest.mark.parametrize(
    ("cents", "messages"),
    [
        (20.0, []),
        (33.4, ["the recording is tuned +33 cents from 440 Hz."]),
        (-41.0, ["the recording is tuned -41 cents from 440 Hz."]),
    ],
)
def test_tuning(cents, messages):
    assert remarks(aligned(tuning_cents=cents), True) == messages


@pytest.mark.parametrize(
    ("score", "rows", "message"),
    [
        (a_score(), [(0.0, 2.5, 0.4, 3.0), (4.0, 6.0, 3.0, 5.0)], "at 3.0 s the recording omits bar 2."),
        (a_score(), [(0.0, 1.0, 0.4, 1.5), (4.0, 6.0, 1.5, 5.0)], "at 1.5 s the recording omits bars 1 to 2."),
        (a_score(), [(0.0, 4.0, 0.4, 4.4), (1.0, 6.0, 4.4, 9.9)], "at 4.4 s the recording repeats bars 1 to 2."),
        (PRINTED, [(0.0, 2.5, 0.4, 3.0), (4.0, 6.0, 3.0, 5.0)], "at 3.0 s the recording omits bar 1 (pass 2)."),
        (PRINTED, [(0.0, 1.0, 0.4, 1.5), (4.0, 6.0, 1.5, 5.0)], "at 1.5 s the recording omits bars 1 to 1 (pass 2)."),
        (PRINTED, [(0.0, 6.0, 0.4, 6.4), (4.0, 6.0, 6.4, 9.9)], "at 6.4 s the recording repeats bar 2."),
    ],
)
def test_jumps_are_named_in_bars(score, rows, message):
    assert remarks(aligned(score=score, segments=segments(*rows)), True) == [message]


def test_a_pause_within_the_music_is_no_jump():
    assert remarks(aligned(segments=segments((0.0, 2.5, 0.4, 3.0), (2.5, 6.0, 4.0, 6.5))), True) == []


@pytest.mark.parametrize(
    ("score", "span", "message"),
    [
        (a_score(), (2.5, 4.0), "the recording begins in bar 2 and ends in bar 2; bar 1 and bar 3 of the score are not in it."),
        (a_score(), (2.45, 4.0), "the recording begins in bar 2 and ends in bar 2; bar 1 and bar 3 of the score are not in it."),
        (a_score(), (0.0, 3.0), "the recording begins in bar 0 and ends in bar 2; bar 3 of the score is not in it."),
        (a_score(), (4.2, 6.0), "the recording begins in bar 3 and ends in bar 3; bars 1 to 2 of the score are not in it."),
        (
            PRINTED,
            (2.5, 4.0),
            "the recording begins in bar 1 (pass 2) and ends in bar 1 (pass 2); "
            "bars 0 to 1 and bar 2 of the score are not in it.",
        ),
    ],
)
def test_an_excerpt_is_named_in_bars(score, span, message):
    assert remarks(aligned(score=score, segments=segments((*span, 0.0, 6.9))), True) == [message]


def test_bars_cut_at_the_ends_are_not_named_as_omitted():
    assert remarks(aligned(segments=segments((0.0, 5.2, 0.4, 6.0))), True) == []  # the last notes, no whole bar
    assert remarks(aligned(segments=segments((0.6, 6.0, 0.4, 6.0))), True) == []  # a part of the pickup


@pytest.mark.parametrize(
    ("start", "span_end", "silences", "messages"),
    [
        (3.0, 9.5, (), ["0.0 to 3.0 s of the recording are not in the score."]),
        (0.5, 6.0, (), ["6.0 to 10.0 s of the recording are not in the score."]),
        (3.0, 6.0, (), [f"{part} s of the recording are not in the score." for part in ("0.0 to 3.0", "6.0 to 10.0")]),
        (3.0, 6.0, ((0.0, 3.0), (6.0, 10.0)), []),  # silence
        (3.0, 6.0, ((0.0, 1.5), (7.0, 10.0)), []),  # at most 1.5 s of sound
        (1.8, 8.3, (), []),
    ],
)
def test_sound_around_the_music_is_named_in_seconds(start, span_end, silences, messages):
    around = aligned(audio=sounding(10.0, *silences), segments=segments((0.0, 6.0, start, span_end)), span=(start, span_end))
    assert remarks(around, True) == messages


def test_sound_between_passages_is_named_in_seconds():
    rows = segments((0.0, 2.5, 0.4, 3.0), (2.5, 6.0, 7.0, 10.5))
    talk = aligned(audio=sounding(11.0), segments=rows, span=(0.4, 10.5))
    assert remarks(talk, True) == ["3.0 to 7.0 s of the recording are not in the score."]
    assert remarks(talk._replace(audio=sounding(11.0, (3.0, 7.0))), True) == []


def test_noise_far_below_the_music_is_no_sound():
    audio = sounding(10.0)
    audio[: 5 * RATE] *= 1e-3  # -60 dB
    assert remarks(aligned(audio=audio, segments=segments((0.0, 6.0, 5.0, 9.9)), span=(5.0, 9.9)), True) == []


def test_key_comes_before_bars_and_seconds():
    rows = segments((2.5, 4.0, 3.0, 4.5))
    messages = remarks(aligned(transposition=2, tuning_cents=30.0, audio=sounding(10.0), segments=rows, span=(3.0, 4.5)), True)
    assert [message.split()[3] for message in messages[:2]] == ["2", "tuned"] and len(messages) == 5


def test_names_of_bars():
    assert [bar_name(a_score(), time) for time in (0.0, 1.0, 1.0 - 1e-9, 3.9, 99.0)] == ["0", "1", "1", "2", "3"]
    assert [bar_name(PRINTED, time) for time in (0.0, 1.0, 2.5, 3.9, 99.0)] == ["0", "1", "1 (pass 2)", "1 (pass 2)", "2"]


@pytest.mark.parametrize(
    ("start", "end", "text"),
    [
        (0.0, 1.0, ""),
        (0.0, 2.5, "bar 1"),
        (0.5, 4.0, "bars 1 to 2"),
        (1.1, 4.0, "bar 2"),
        (1.0, 3.9, "bar 1"),
        (3.0, 3.5, ""),
        (1.0, 4.2, "bars 1 to 2"),
        (1.0, 7.0, "bars 1 to 3"),
    ],
)
def test_whole_bars_between_two_times(start, end, text):
    assert bars_between(a_score(), start, end) == text


def test_a_score_without_bars_names_none():
    score = a_score(bars=np.zeros(0))
    assert bars_between(score, 0.0, 6.0) == ""
    rows = segments((2.5, 4.0, 0.0, 6.9))
    assert remarks(aligned(score=score, segments=rows, bars_s=through(score.bars), bar_confidence=np.zeros(0)), True) == []
