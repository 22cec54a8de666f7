"""Every use is a mask: what is fixed stays, and an answer keeps what the user gave to the tick."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from datamodules.generation.adapting import merged
from datamodules.generation.piece import DURATION, ONSET, PITCH, VELOCITY, VOICE, Piece, same
from datamodules.generation.views import AbcText, BarImage, ChordMelody, Drums, NoteTuples, PianoRoll, Serial, VoiceGrid
from datamodules.generation.views.serial import STRUCTURE
from tests.helpers.pieces import REGISTERS, chorale, fitted, piece_of, random_piece

VIEWS = {
    "grid": VoiceGrid(),
    "grid without hold": VoiceGrid(hold=False),
    "serial": Serial(key="any"),
    "roll": PianoRoll(4),
    "articulated roll": PianoRoll(4, articulation=True),
}


def scribbled(view, template, use, span, seed=0, density=0.04):
    """Frames with what a use fixes, and noise everywhere else that each place allows."""
    random, frames = np.random.default_rng(seed), view.encode(template).frames
    fixed, allowed = view.fixed(template, use, span), view.allowed(template)
    assert fixed.shape == frames.shape and fixed.dtype == bool
    if frames.dtype == np.float32:
        noise = (random.random(frames.shape) < density).astype(np.float32)
    elif allowed is None:
        noise = random.integers(0, view.form()["sizes"], frames.shape)
    else:
        noise = np.array([[random.choice(np.flatnonzero(row))] for row in allowed])
    return np.where(fixed, frames, noise), fixed


def melody_of(seed, ticks, grid):
    """A melody alone, with a pickup: on the 16th grid, in triplets, or at any tick."""
    random = np.random.default_rng(seed)
    if grid == "sixteenths":
        return random_piece(seed, voices=1, ticks=ticks, pickup=3).transposed(-5)
    step = ticks // 3 if grid == "triplets" else ticks // 7
    notes = [(k * step + (0 if grid == "triplets" else int(random.integers(step // 2)))) for k in range(4 * ticks // step)]
    rows = [
        (onset, int(random.integers(1, step // 2)), int(random.integers(60, 78)), 0) for onset in notes if random.random() < 0.8
    ]
    metres = np.array([[0, 3, 4]], np.int32)
    piece = piece_of(*rows, ticks=ticks, length=5 * ticks, pickup=ticks, metres=metres)
    notes = piece.notes.copy()
    notes[:, VELOCITY] = random.integers(1, 128, len(notes))
    return piece.with_notes(notes)


@pytest.mark.parametrize("ticks", [480, 960])
@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("grid", ["sixteenths", "triplets", "free"])
def test_a_harmonised_melody_comes_back_to_the_tick(name, grid, ticks):
    view, melody = VIEWS[name], melody_of(3, ticks, grid)
    frames, _ = scribbled(view, melody, "harmonise", None)
    answer = merged(melody, view.decode(frames, melody), "harmonise")
    assert np.array_equal(answer.voice(0), melody.notes)
    assert len(answer.notes) > len(melody.notes)
    assert (answer.notes[:, VOICE] == 0).sum() == len(melody.notes)
    assert same(answer.with_notes(melody.notes), melody)  # length, pickup, metres, ticks, key
    loudness = answer.notes[answer.notes[:, VOICE] > 0, VELOCITY]
    assert set(loudness) == {int(np.median(melody.notes[:, VELOCITY]))}


def test_what_sounds_beside_a_melody_is_what_was_written():
    piece = random_piece(5, pickup=2)
    for view in (VoiceGrid(), Serial(key="any")):
        answer = merged(piece.with_notes(piece.voice(0)), view.decode(view.encode(piece).frames, piece), "harmonise")
        assert same(answer, piece)
    rolled = merged(
        piece.with_notes(piece.voice(0)),
        VIEWS["articulated roll"].decode(VIEWS["articulated roll"].encode(piece).frames, piece),
        "harmonise",
    )
    assert sorted(map(tuple, rolled.notes[:, :VOICE])) == sorted(map(tuple, piece.notes[:, :VOICE]))


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("use", ["continue", "inpaint"])
def test_notes_outside_a_span_come_back_to_the_tick(name, use):
    view = VIEWS[name]
    for seed in range(4):
        piece = random_piece(seed, pickup=seed)
        begin, end = piece.pickup + piece.bar, piece.pickup + 2 * piece.bar
        frames, fixed = scribbled(view, piece, use, (begin, end), seed)
        answer = merged(piece, view.decode(frames, piece), use, (begin, end))
        assert same(answer.with_notes(piece.notes), piece)
        outside = (piece.notes[:, ONSET] + piece.notes[:, DURATION] <= begin) | (
            (piece.notes[:, ONSET] >= end) & (use == "inpaint")
        )
        given = {tuple(note) for note in piece.notes[outside]}
        assert given <= {tuple(note) for note in answer.notes}
        if name == "serial":
            continue  # a fermata's note may be another: other frames bear its token
        changed = (view.encode(answer).frames != frames) & fixed
        if "articulated" not in name and name != "grid":
            assert not changed.any()
        # A note that lasts out of the span is struck where the span ends, unless the new one is held into it.
        edge = -(-end * 4 // piece.ticks)
        assert not np.delete(changed, edge, 0).any()


def test_a_note_on_an_edge_is_cut_or_held():
    given = piece_of((0, 6, 60, 0), (6, 6, 62, 0), (12, 4, 64, 0))
    held = piece_of((0, 7, 60, 0), (7, 5, 65, 0), (12, 4, 64, 0))
    cut = piece_of((0, 4, 60, 0), (5, 3, 65, 0), (12, 4, 64, 0))
    through = piece_of((0, 12, 60, 0), (12, 4, 64, 0))

    def answer(written):
        return merged(given, written, "inpaint", (4, 8)).notes[:, [ONSET, DURATION, PITCH]].tolist()

    assert answer(held) == [[0, 7, 60], [7, 5, 65], [12, 4, 64]]
    assert answer(cut) == [[0, 4, 60], [5, 3, 65], [8, 4, 62], [12, 4, 64]]
    assert answer(through)[:2] == [[0, 8, 60], [8, 4, 62]]


def test_what_went_before_is_not_prolonged():
    given = piece_of((0, 4, 60, 0), length=12)
    written = piece_of((0, 8, 60, 0), (8, 4, 62, 0), length=12)
    answer = merged(given, written, "continue", (4, 12))
    assert answer.notes[:, [ONSET, DURATION, PITCH]].tolist() == [[0, 4, 60], [4, 4, 60], [8, 4, 62]]


def test_ticks_are_multiplied_where_the_grid_is_finer():
    melody = piece_of((0, 1, 70, 0), (1, 2, 72, 0), ticks=1, length=4, pickup=1)
    written = VoiceGrid().decode(scribbled(VoiceGrid(), melody, "harmonise", None)[0], melody)
    answer = merged(melody, written, "harmonise")
    assert answer.ticks == 4 and np.array_equal(answer.voice(0), melody.at(4).notes)
    assert merged(melody, written, "inpaint", (1, 2)).length == 16
    assert same(merged(melody, written, "free"), written)


def test_grids_fix_the_melody_or_whole_frames():
    piece = random_piece(0, pickup=2)
    frames, step = np.arange(66), piece.ticks // 4
    assert np.array_equal(VoiceGrid().fixed(piece, "harmonise"), np.tile([True, False, False, False], (66, 1)))
    span = (20 * step, 33 * step)
    for view in (VoiceGrid(), PianoRoll(4), ChordMelody(steps=4)):
        for use, kept in (("continue", frames < 20), ("inpaint", (frames < 20) | (frames >= 33))):
            assert np.array_equal(view.fixed(piece, use, span), np.tile(kept[:, None], len(view.form()["sizes"])))
    bars = BarImage().fixed(piece, "inpaint", span)
    assert bars.all(1).tolist() == [True, True, False, True, True] and bars.any(1).tolist() == bars.all(1).tolist()
    melody = ChordMelody().fixed(piece, "harmonise")
    assert melody[:, 12:].all() and not melody[:, :12].any()


def test_a_melody_is_known_wherever_the_grid_moves_it():
    melody = piece_of((70, 10, 60, 0), ticks=480, length=480)  # nearest to the second sixteenth, which begins at 120
    written = VoiceGrid().decode(VoiceGrid().encode(melody).frames, melody)
    assert written.notes[0, ONSET] == 120 and same(merged(melody, written, "harmonise"), melody)


def test_rolls_fix_the_melody_and_all_above_it():
    melody = piece_of((0, 2, 70, 0), (3, 1, 65, 0), length=4)
    for planes in (1, 2):
        fixed = PianoRoll(4, articulation=planes == 2).fixed(melody, "harmonise")
        lowest = [70 - 21, 70 - 21, 88, 65 - 21]
        assert np.array_equal(fixed, np.tile(np.arange(88) >= np.array(lowest)[:, None], planes))


def test_serial_structure_is_always_fixed_and_allowed():
    view, piece = Serial(key="any"), random_piece(2, pickup=1)
    frame, voice, tokens = view.layout(piece)
    frames, allowed = view.encode(piece).frames[:, 0], view.allowed(piece)
    assert np.array_equal(frames[voice == STRUCTURE], tokens[voice == STRUCTURE])
    assert allowed[np.arange(len(frames)), frames].all()
    assert (allowed[voice == STRUCTURE].sum(1) == 1).all() and (allowed[voice != STRUCTURE].sum(1) == 1 + 2 * 52).all()
    step = piece.ticks // 4
    for use, kept in (
        ("free", voice == STRUCTURE),
        ("harmonise", voice <= 0),
        ("continue", (voice == STRUCTURE) | (frame < 8)),
        ("inpaint", (voice == STRUCTURE) | (frame < 8) | (frame >= 12)),
    ):
        assert np.array_equal(view.fixed(piece, use, (8 * step, 12 * step))[:, 0], kept)


@pytest.mark.parametrize("view", [*VIEWS.values(), BarImage(), ChordMelody(), Drums(), NoteTuples(), AbcText()])
def test_nothing_is_given_of_free_music_and_all_to_go_on_from(view):
    piece = replace(random_piece(3, voices=1), drums=np.array([[0, 1, 36, 90]], np.int32))
    fitted(view, piece)
    free, begun = view.fixed(piece, "free").all(1), view.fixed(piece, "continue", (2 * piece.bar, piece.length))
    everything = view.fixed(piece, "continue").all(1)
    assert free.any() == isinstance(view, Serial | AbcText)
    assert np.array_equal(begun.all(1), begun.any(1)) and free.sum() < begun.all(1).sum() < everything.sum()
    if not isinstance(view, Serial):
        assert begun[: begun.all(1).sum()].all()
    assert everything.all() or (view.form().get("end", -1) >= 0 and everything[:-2].all() and not everything[-1])
    if "inpaint" in view.uses:
        with pytest.raises(ValueError, match="span"):
            view.fixed(piece, "inpaint")


def test_drums_and_chords_are_swapped_within_a_span():
    piece = chorale(0)
    strokes = np.stack([np.arange(16) * 4, np.ones(16), np.full(16, 36), np.full(16, 90)], 1).astype(np.int32)
    piece = replace(piece, drums=strokes)
    other = replace(piece, drums=strokes + np.array([0, 0, 6, 0], np.int32), chords=np.array([[0, 0, 0]], np.int32))
    answer = merged(piece, other, "inpaint", (6, 22))
    inside = (strokes[:, 0] >= 6) & (strokes[:, 0] < 22)
    assert np.array_equal(answer.drums[:, 2], np.where(inside, 42, 36))
    assert np.array_equal(answer.chords, np.concatenate([piece.chords[:2], [[22, *piece.chords[5, 1:]]], piece.chords[6:]]))


def test_registers_do_not_meet():
    """What the round trips of rolls rest on."""
    assert all(above[0] > below[1] for above, below in pairwise(REGISTERS))
    assert isinstance(random_piece(0), Piece) and np.array_equal(random_piece(7).notes, random_piece(7).notes)
