"""Anchors: texts -> times of recording and score."""

import re

import numpy as np
import pytest

from datamodules.alignment.score import PlayedMeasure
from datamodules.common.errors import DataError
from tasks.alignment.anchors import EXPECTED, anchor_times
from tasks.alignment.options import AlignmentOptions
from tests.helpers.known_alignments import a_score

MIDI = a_score(ids=())
"""Bars at 1.0, 2.5 and 4.0 s, notes every half second."""
PRINTED = a_score(
    measures=(
        PlayedMeasure(0.0, "0", 1),
        PlayedMeasure(1.0, "1", 1),
        PlayedMeasure(2.5, "1", 2),
        PlayedMeasure(4.0, "2a", 1),
    ),
    ids=("a", "b", "c-1", "d", "e", "c-2", "f", "f", "g", "h", "i", "j"),
)


@pytest.mark.parametrize(
    ("score", "text", "expected"),
    [
        (MIDI, "bar 2 = 34.5", (34.5, (2.5,))),
        (MIDI, "bar 2 pass 1 = 3", (3.0, (2.5,))),
        (MIDI, "note 3=7", (7.0, (1.0,))),
        (MIDI, "  bar  1  =  0.25 ", (0.25, (1.0,))),
        (PRINTED, "bar 0 = 1", (1.0, (0.0,))),
        (PRINTED, "bar 1 = 1", (1.0, (1.0, 2.5))),
        (PRINTED, "bar 1 pass 2 = 1", (1.0, (2.5,))),
        (PRINTED, "bar 2a = 1", (1.0, (4.0,))),
        (PRINTED, "note c-2 = 1", (1.0, (2.5,))),
        (PRINTED, "note f = 1", (1.0, (3.0, 3.5))),  # one id in two passes
    ],
)
def test_an_anchor_names_a_bar_or_a_note(score, text, expected):
    assert anchor_times([text], score) == (expected,)


def test_anchors_are_sorted_by_time():
    assert anchor_times(["bar 3 = 9", "bar 1 = 2"], MIDI) == ((2.0, (1.0,)), (9.0, (4.0,)))
    assert anchor_times([], MIDI) == ()


@pytest.mark.parametrize(
    ("score", "text", "words"),
    [
        (MIDI, "bar 4 = 1", "has no such bar."),
        (MIDI, "bar 0 = 1", "has no such bar."),
        (MIDI, "bar 2a = 1", "has no such bar."),
        (MIDI, "bar 2 pass 2 = 1", "has no such bar and pass."),
        (MIDI, "note 13 = 1", "has no such note."),
        (MIDI, "note 0 = 1", "has no such note."),
        (PRINTED, "bar 2 = 1", "has no such bar."),
        (PRINTED, "bar 1 pass 3 = 1", "has no such bar and pass."),
        (PRINTED, "note 3 = 1", "has no such note."),
    ],
)
def test_a_place_that_is_not_in_the_score_is_refused(score, text, words):
    with pytest.raises(DataError, match=f"^anchor '{text}': pieces/waltz.mid {words}$"):
        anchor_times([text], score)


@pytest.mark.parametrize(
    "text", ["", "bar 12", "bar = 3", "12 = 3", "bar 12 = -3", "bar 12 = 1:05", "beat 3 = 2", "bar 1 pass two = 3"]
)
def test_another_text_is_refused(text):
    with pytest.raises(DataError, match=re.escape(EXPECTED)):
        anchor_times([text], MIDI)
    with pytest.raises(ValueError, match=re.escape(f"inference: anchor {text!r}: {EXPECTED}")):
        AlignmentOptions(anchors=["bar 1 = 2", text])


def test_times_are_floats():
    ((time, places),) = anchor_times(["bar 1 = 3"], PRINTED)
    assert type(time) is float and all(type(place) is float for place in places) and np.isfinite(places).all()
