"""Pieces become frames and pieces again; what is lost on the way is what each view says it loses."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from datamodules.generation.piece import PITCH, VOICE, same
from datamodules.generation.views import (
    VIEWS,
    AbcText,
    BarImage,
    ChordMelody,
    NoteTuples,
    PianoRoll,
    Serial,
    UnfitPiece,
    VoiceGrid,
    read_view,
)
from models.generation.frame_spec import FrameSpec
from tests.helpers.pieces import chorale, fitted, piece_of, random_piece, various

REST, HOLD = 0, 1
REAL = Path(os.environ.get("QUINTET_DATA", ""), "generation")
real = pytest.mark.skipif(not REAL.is_dir(), reason="QUINTET_DATA names no folder with generation/")


def without_voices(notes):
    """Onset, duration, pitch and velocity, in order."""
    return sorted(map(tuple, notes[:, :VOICE]))


@pytest.mark.parametrize("view", [VoiceGrid(), VoiceGrid(steps=8, conditions=["key", "beats"]), Serial(key="any")])
def test_voices_come_back_as_they_were(view):
    for piece in various():
        back = view.decode(view.encode(piece).frames, piece)
        assert same(back, piece.at(back.ticks))
        assert back.ticks == piece.ticks or piece.ticks % view.steps


def test_rolls_with_articulation_lose_voices_alone():
    view = PianoRoll(steps=4, articulation=True)
    for piece in various():
        if piece.name.startswith("random"):  # in the chorales are unisons
            back = view.decode(view.encode(piece).frames, piece)
            assert without_voices(back.notes) == without_voices(piece.notes)
            assert same(back, piece.with_notes(back.notes))


def test_rolls_without_articulation_merge_repeated_notes():
    notes = [(0, 4, 60, 0), (4, 4, 60, 0), (8, 2, 60, 0), (12, 4, 60, 0), (8, 8, 50, 1)]
    view = PianoRoll(steps=4)
    back = view.decode(view.encode(piece_of(*notes)).frames, piece_of(*notes))
    assert without_voices(back.notes) == [(0, 10, 60, 80), (8, 8, 50, 80), (12, 4, 60, 80)]
    assert back.voice(1)[:, PITCH].tolist() == [50]


def test_hold_parts_a_held_note_from_a_repeated_one():
    held, repeated = piece_of((0, 8, 60, 0)), piece_of((0, 4, 60, 0), (4, 4, 60, 0))
    view = VoiceGrid(voices=1)
    assert view.encode(held).frames[:9, 0].tolist() == [29, HOLD, HOLD, HOLD, HOLD, HOLD, HOLD, HOLD, REST]
    assert view.encode(repeated).frames[:9, 0].tolist() == [29, HOLD, HOLD, HOLD, 29, HOLD, HOLD, HOLD, REST]
    merging = VoiceGrid(voices=1, hold=False)
    assert np.array_equal(merging.encode(held).frames, merging.encode(repeated).frames)
    assert same(merging.decode(merging.encode(repeated).frames, held), held)


def test_a_hold_with_nothing_to_hold_is_silence():
    frames = np.array([[HOLD], [HOLD], [29], [HOLD], [REST], [HOLD], [30], [29]])
    back = VoiceGrid(voices=1).decode(frames, piece_of(length=8))
    assert back.notes[:, :3].tolist() == [[2, 2, 60], [6, 1, 61], [7, 1, 60]]


def test_serial_tokens_spell_what_the_paper_shows():
    from datamodules.generation.views.serial import DELIMITER, END, FERMATA, PITCHED, START
    from datamodules.generation.views.serial import REST as SILENCE

    piece = piece_of((0, 2, 62, 0), (0, 1, 60, 1), (1, 1, 60, 1), length=3, fermatas=np.array([0], np.int32))
    view = Serial(voices=2, low=60, high=62, key="any")
    tied = PITCHED + 3
    expected = [START, FERMATA, PITCHED + 2, PITCHED, DELIMITER, FERMATA, tied + 2, PITCHED, DELIMITER]
    assert view.encode(piece).frames[:, 0].tolist() == [*expected, SILENCE, SILENCE, DELIMITER, END]
    assert view.form()["sizes"] == (PITCHED + 6,)


def test_serial_reads_what_a_network_may_get_wrong():
    from datamodules.generation.views.serial import DELIMITER, END, FERMATA, PITCHED, START

    view = Serial(voices=2, low=60, high=62, key="any")
    tied = PITCHED + 3
    tokens = [START, PITCHED, DELIMITER, FERMATA, tied + 1, PITCHED, tied, DELIMITER, DELIMITER, END, PITCHED, DELIMITER]
    back = view.decode(np.array(tokens)[:, None], piece_of(length=9))
    assert back.notes[:, [0, 1, 2, 4]].tolist() == [[0, 1, 60, 0], [1, 1, 61, 0], [1, 1, 60, 1]]
    assert back.length == 3


def test_boulanger_lewandowski_frames():
    """Ten frames by hand: one note a frame, unisons merged, a silent frame, pitch - 21 as the column, the first frame there."""
    chords = [
        (48, 55, 64, 72),
        (48, 48, 64, 72),
        (50, 62),
        (),
        (43,),
        (96,),
        (21, 108),
        (60, 60, 60),
        (47, 55, 62, 67),
        (48, 52, 60, 67),
    ]
    cells = [(0, 27), (0, 34), (0, 43), (0, 51), (1, 27), (1, 43), (1, 51), (2, 29), (2, 41), (4, 22), (5, 75), (6, 0), (6, 87)]
    cells += [(7, 39), (8, 26), (8, 34), (8, 41), (8, 46), (9, 27), (9, 31), (9, 39), (9, 46)]
    notes = [(frame, 1, pitch, voice) for frame, chord in enumerate(chords) for voice, pitch in enumerate(chord[::-1])]
    piece = piece_of(*notes, ticks=1, length=10)
    frames = PianoRoll().encode(piece).frames
    assert frames.shape == (10, 88) and frames.dtype == np.float32
    assert [tuple(cell) for cell in np.argwhere(frames)] == cells
    assert np.array_equal(PianoRoll().encode(PianoRoll().decode(frames, piece)).frames, frames)


@pytest.mark.parametrize("shift", [-3, 1, 4])
def test_a_transposed_piece_is_the_transposed_frames(shift):
    piece = chorale(2)
    higher = piece.transposed(shift)
    for hold in (True, False):
        before, after = (VoiceGrid(hold=hold).encode(one).frames for one in (piece, higher))
        first = 2 if hold else 1
        assert np.array_equal(np.where(before >= first, before + shift, before), after)
    for articulation in (True, False):
        before, after = (PianoRoll(4, articulation=articulation).encode(one).frames for one in (piece, higher))
        assert np.array_equal(np.roll(before, shift, 1), after)
    before, after = (Serial(key="any").encode(one).frames for one in (piece, higher))
    assert np.array_equal(np.where(before >= 5, before + shift, before), after)
    view = fitted(ChordMelody(lowest=0), piece)
    before, after = (view.encode(one).frames[:, :12] for one in (piece, higher))
    assert np.array_equal(np.roll(before, shift, 1), after)


def test_times_off_the_grid_go_to_the_nearest_step():
    """Triplets of 480 on 16ths of 120: 160 and 320 are 1.33 and 2.67 steps; a grace of 10 lasts a step."""
    piece = piece_of(
        (0, 160, 60, 0), (160, 160, 62, 0), (320, 160, 64, 0), (490, 10, 65, 0), (500, 460, 67, 0), ticks=480, length=960
    )
    frames = VoiceGrid(voices=1).encode(piece).frames[:, 0]
    assert frames.tolist() == [29, 31, HOLD, 33, 36, HOLD, HOLD, HOLD]  # the grace shares a step with what follows, which stands
    assert len(VoiceGrid(voices=1).encode(replace(piece, length=961)).frames) == 9
    grace = piece_of((250, 10, 60, 0), (700, 20, 62, 0), ticks=480, length=720)
    assert VoiceGrid(voices=1).encode(grace).frames[:, 0].tolist() == [REST, REST, 29, REST, REST, 31]  # within the piece
    coarse = piece_of((0, 1, 60, 0), (1, 1, 62, 0), ticks=1, length=2)
    back = VoiceGrid(voices=1).decode(VoiceGrid(voices=1).encode(coarse).frames, coarse)
    assert back.ticks == 4 and same(back, coarse.at(4))


def test_legato_is_cut_at_the_next_note():
    """The first note lasts a sixteenth into the second, which is as far as legato goes."""
    legato, apart = piece_of((0, 5, 60, 0), (4, 4, 64, 0)), piece_of((0, 4, 60, 0), (4, 4, 64, 0))
    for view in (VoiceGrid(), Serial(), fitted(NoteTuples(), apart), fitted(AbcText(), apart)):
        assert np.array_equal(view.encode(legato).frames, view.encode(apart).frames)


def test_what_lasts_to_the_end_fills_the_last_frame():
    piece = piece_of((0, 13, 60, 0), ticks=12, length=13)  # a quarter and a bit
    assert PianoRoll(steps=1).encode(piece).frames[:, 60 - 21].tolist() == [1, 1]
    for view in (PianoRoll(steps=1), VoiceGrid(steps=1), Serial(steps=1)):
        assert same(view.decode(view.encode(piece).frames, piece), piece)


def test_a_note_struck_while_it_sounds_ends_with_the_second_stroke():
    assert VoiceGrid(voices=1).encode(piece_of((0, 6, 60, 0), (2, 2, 60, 0), length=6)).frames[:, 0].tolist() == [
        29,
        HOLD,
        29,
        HOLD,
        REST,
        REST,
    ]


def test_what_a_view_cannot_hold_is_said():
    chord = piece_of((0, 8, 60, 0), (2, 2, 64, 0), (4, 4, 65, 0))
    five = random_piece(0, voices=5, registers=((60, 70),) * 5)
    for view, piece, why in (
        (VoiceGrid(), chord, "voice 1 sounds two notes at once"),
        (Serial(), chord, "two notes at once"),
        (VoiceGrid(), five, "5 voices, the model 4"),
        (VoiceGrid(low=61), piece_of((0, 4, 60, 0)), "pitch 60 of its voice 1 is outside the model's 61 to 84"),
        (PianoRoll(low=61), piece_of((0, 4, 60, 0)), "60 to 60"),
        (Serial(low=61), piece_of((0, 4, 60, 0)), "61 to 84"),
        (BarImage(), random_piece(0, metre=(3, 4)), "four quarters"),
        (fitted(NoteTuples(), piece_of((0, 4, 60, 0))), piece_of((0, 3, 60, 0)), "9/12 of a quarter"),
    ):
        with pytest.raises(UnfitPiece, match=why):
            view.encode(piece)


def test_ranges_are_learned_by_voice_and_bound_transpositions():
    piece = chorale(1)
    view = fitted(VoiceGrid(ranges="learned", spread=2), piece)
    for voice in range(4):
        pitches = piece.voice(voice)[:, PITCH]
        assert (view.lows[voice], view.highs[voice]) == (pitches.min() - 2, pitches.max() + 2)
    assert [shift for shift in range(-5, 6) if view.holds(piece.transposed(shift))] == [-2, -1, 0, 1, 2]
    assert view.shift_for(piece.transposed(7)) == -5
    assert view.shift_for(piece.transposed(-3), 0) == 1
    sizes = [2 + high - low + 1 for low, high in zip(view.lows, view.highs, strict=True)]
    assert view.form()["sizes"] == tuple(sizes)
    assert np.array_equal(view.decode(view.encode(piece).frames, piece).notes, piece.notes)


def test_pieces_are_put_into_c():
    for seed in range(4):
        piece = chorale(seed)
        moved = piece.transposed(fitted(Serial(), piece).shift_for(piece))
        assert moved.tonic == (9 if piece.mode == "minor" else 0)
        assert abs(moved.notes[:, PITCH].mean() - piece.notes[:, PITCH].mean()) <= 6


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_is_its_state(name, tmp_path):
    piece = replace(chorale(0), drums=np.array([[0, 1, 36, 90]], np.int32))
    view = fitted(VIEWS[name](), piece)
    torch.save(view.state(), tmp_path / "state.pt")
    for state in (yaml.safe_load(yaml.safe_dump(view.state())), torch.load(tmp_path / "state.pt", weights_only=True)):
        again = read_view(state)
        assert again.state() == view.state()
        assert np.array_equal(again.encode(piece).frames, view.encode(piece).frames)
    with pytest.raises(ValueError, match="unknown view"):
        read_view({**view.state(), "name": "tablature"})


@pytest.mark.parametrize("name", VIEWS)
def test_frames_are_as_the_form_says(name):
    piece = replace(chorale(0), drums=np.array([[0, 1, 36, 90]], np.int32))
    view = fitted(VIEWS[name](), piece)
    form, (frames, conditions) = FrameSpec(**view.form()), view.encode(piece)
    assert frames.shape[1] == form.columns and conditions.shape == (len(frames), form.conditions)
    assert conditions.dtype == np.float32
    assert frames.dtype == (np.float32 if form.kind == "binary" else np.int64)
    assert (frames >= 0).all() and (frames < np.array(form.sizes)).all()
    blank = replace(piece, notes=piece.notes[:0], drums=piece.drums[:0], chords=piece.chords[:0])
    silence = view.encode(blank)
    assert len(view.decode(silence.frames, blank).notes) == 0
    if form.end < 0:
        assert len(silence.frames) == len(frames)


@pytest.mark.realdata
@real
def test_grids_without_hold_are_the_jsb_json():
    view = VoiceGrid(hold=False)
    rows = [
        row
        for path in sorted((REAL / "jsb").glob("*16th*.json"))
        for split in json.loads(path.read_text()).values()
        for row in split
    ]
    assert len(rows) >= 382
    for row in rows[:100]:
        pitches = np.array([[-1 if not p or p < 0 else int(p) for p in frame] for frame in row])
        cells = [(t, 1, p, v) for t, frame in enumerate(pitches) for v, p in enumerate(frame) if p >= 0]
        piece = piece_of(*cells, length=len(pitches))
        frames = view.encode(piece).frames
        assert np.array_equal(np.where(frames > 0, frames - 1 + view.low, -1), pitches)
        assert np.array_equal(view.encode(view.decode(frames, piece)).frames, frames)


@pytest.mark.realdata
@real
def test_rolls_of_a_quarter_are_the_boulanger_lewandowski_sets():
    from scipy.io import loadmat

    for path in sorted((REAL / "boulanger_lewandowski").glob("*.mat")):
        rolls = loadmat(path)["testdata"][0]
        for roll in rolls[:5]:
            cells = [(frame, 1, pitch + 21, 0) for frame, pitch in np.argwhere(roll)]
            frames = PianoRoll().encode(piece_of(*cells, ticks=1, length=len(roll))).frames
            assert np.array_equal(frames, roll)
