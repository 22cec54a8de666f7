"""The published sets themselves: their sizes, and that what is read of them is exact."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from datamodules.generation.corpora import JSB, POP909, BoulangerLewandowski, Nottingham
from datamodules.generation.data import survey
from datamodules.generation.piece import ONSET
from tests.helpers.symbolic_layouts import pieces_of, regrid

REAL = Path(os.environ.get("QUINTET_DATA", ""), "generation")
real = pytest.mark.skipif(not REAL.is_dir(), reason="QUINTET_DATA names no folder with generation/")


@pytest.mark.realdata
@real
def test_the_real_jsb_has_its_published_sizes():
    splits = JSB(str(REAL / "jsb")).read()
    assert [len(split) for split in splits] == [229, 76, 77, 0]
    assert [sum(piece.length for piece in split) for split in splits[:3]] == [55_228, 18_408, 18_900]
    found = json.loads((REAL / "jsb/Jsb16thSeparated.json").read_text())
    assert all(regrid(piece).tolist() == grid for piece, grid in zip(splits.test, found["test"], strict=True))
    duplicates = survey(splits)["duplicates"]
    assert not duplicates["across"] and not any(duplicates["inside"].values())


@pytest.mark.realdata
@real
@pytest.mark.parametrize(
    ("name", "pieces", "frames", "notes_a_frame"),
    [
        ("JSB_Chorales", [229, 76, 77], [13_807, 4_602, 4_725], 3.90),
        ("Nottingham", [694, 173, 170], [176_561, 45_513, 44_463], 3.96),
        ("MuseData", [524, 135, 124], [245_202, 82_755, 64_339], None),
        ("Piano_midi", [87, 12, 25], [75_911, 8_540, 19_036], None),
    ],
)
def test_the_real_benchmark_sets_have_their_published_sizes(name, pieces, frames, notes_a_frame):
    splits = BoulangerLewandowski(str(REAL / "boulanger_lewandowski"), set=name).read()
    assert [len(split) for split in splits] == [*pieces, 0]
    assert [sum(piece.length for piece in split) for split in splits[:3]] == frames
    if notes_a_frame:
        rate = sum(len(piece.notes) for piece in pieces_of(splits)) / sum(frames)
        assert rate == pytest.approx(notes_a_frame, abs=0.01)


@pytest.mark.realdata
@real
def test_real_pop_songs_are_on_their_beats():
    splits = POP909(str(REAL / "pop909")).read()
    assert [len(split) for split in splits] == [640, 80, 80, 0]
    onsets = np.concatenate([piece.notes[:, ONSET] / piece.ticks for piece in splits.test])
    assert (onsets * 4 % 1 == 0).mean() > 0.85
    assert all(piece.voices == 3 and len(piece.voice(0)) < len(piece.voice(2)) for piece in splits.test)


@pytest.mark.realdata
@real
def test_the_real_nottingham_set_is_read_but_for_tunes_that_change_metre():
    splits = Nottingham(str(REAL / "nottingham_abc")).read()
    assert len(pieces_of(splits)) + len(splits.dropped) == 1034 and len(splits.dropped) < 25
    assert sum(len(piece.chords) > 0 for piece in pieces_of(splits)) > 990
    assert not any(one.damaged for one in splits.dropped)
