"""Every use is a mask: what is fixed stays, and an answer keeps what the user gave to the tick."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from datamodules.symbolic.cutting import excerpt, join, units
from datamodules.symbolic.harmony import INTERVALS, chord_of, chords_of_bars, pitch_classes
from datamodules.symbolic.merging import merged
from datamodules.symbolic.piece import DURATION, ONSET, PITCH, QUALITIES, VELOCITY, VOICE, Piece, same
from datamodules.symbolic.views import BarImage, ChordMelody, Drums, NoteTuples, PianoRoll, Serial, VoiceGrid
from datamodules.symbolic.views.serial import STRUCTURE
from tests.pieces import REGISTERS, chorale, random_piece
from tests.test_generation_views import fitted, piece_of

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


@pytest.mark.parametrize("view", [*VIEWS.values(), BarImage(), ChordMelody(), Drums(), NoteTuples()])
def test_nothing_is_given_of_free_music_and_all_to_go_on_from(view):
    piece = replace(random_piece(3, voices=1), drums=np.array([[0, 1, 36, 90]], np.int32))
    fitted(view, piece)
    if not isinstance(view, Serial):
        assert not view.fixed(piece, "free").any()
    begun = view.fixed(piece, "continue", (2 * piece.bar, piece.length))
    rows = begun.all(1)
    assert 0 < rows.sum() < len(rows)
    if not isinstance(view, Serial):
        assert rows[: rows.sum()].all() and not begun[rows.sum() :].any()
    everything = view.fixed(piece, "continue").all(1)
    assert everything.all() or (isinstance(view, NoteTuples) and everything[:-1].all())
    if "inpaint" in view.uses:
        with pytest.raises(ValueError, match="span"):
            view.fixed(piece, "inpaint")


def test_rows_go_on_where_the_span_begins():
    piece = random_piece(1, voices=1, rests=0)
    view = fitted(NoteTuples(), piece)
    begin = int(piece.notes[5, ONSET])
    template = replace(piece, length=piece.length + piece.bar)
    assert view.fixed(template, "continue", (begin, template.length)).all(1).tolist() == [True] * 5 + [False] * (
        len(piece.notes) - 5 + 16
    )
    frames = view.encode(template).frames.copy()
    frames[-16:-14] = frames[:2]
    answer = merged(template, view.decode(frames, template), "continue", (piece.length, template.length))
    assert np.array_equal(answer.notes[: len(piece.notes)], piece.notes)
    assert (answer.notes[len(piece.notes) :, PITCH] == piece.notes[:2, PITCH]).all() and answer.length == template.length


def test_drums_and_chords_are_swapped_within_a_span():
    piece = chorale(0)
    strokes = np.stack([np.arange(16) * 4, np.ones(16), np.full(16, 36), np.full(16, 90)], 1).astype(np.int32)
    piece = replace(piece, drums=strokes)
    other = replace(piece, drums=strokes + np.array([0, 0, 6, 0], np.int32), chords=np.array([[0, 0, 0]], np.int32))
    answer = merged(piece, other, "inpaint", (6, 22))
    inside = (strokes[:, 0] >= 6) & (strokes[:, 0] < 22)
    assert np.array_equal(answer.drums[:, 2], np.where(inside, 42, 36))
    assert np.array_equal(answer.chords, np.concatenate([piece.chords[:2], [[22, *piece.chords[5, 1:]]], piece.chords[6:]]))


def test_units_join_to_the_whole():
    for seed in range(3):
        piece = chorale(seed)
        for bars in (1, 2, 4):
            parts = units(piece, bars)
            assert [part.length for part in parts[:-1]] == [4] + [16 * bars] * (len(parts) - 2)
            assert same(join(parts), piece)
        assert same(join([units(piece, 1)[0], *units(piece, 1, pickup=False)]), piece)
    changing = piece_of((0, 28, 60, 0), length=28, pickup=2, metres=np.array([[0, 3, 4], [14, 2, 4]], np.int32))
    assert [part.length for part in units(changing)] == [2, 12, 8, 6]
    assert [tuple(part.metres[0]) for part in units(changing)] == [(0, 3, 4), (0, 3, 4), (0, 2, 4), (0, 2, 4)]
    assert same(join(units(changing)).with_notes(changing.notes), changing)


def test_an_excerpt_cuts_what_reaches_over_its_edges():
    piece = replace(random_piece(4, pickup=2), chords=np.array([[0, 0, 0], [960, 7, 0], [4000, 5, 0]], np.int32))
    part = excerpt(piece, 1000, 3000)
    sounding = [set() for _ in range(2000)]
    for onset, lasts, pitch in part.notes[:, :3]:
        for tick in range(onset, onset + lasts):
            sounding[tick].add(pitch)
    for tick in range(0, 2000, 37):
        now = piece.notes[
            (piece.notes[:, ONSET] <= 1000 + tick) & (piece.notes[:, ONSET] + piece.notes[:, DURATION] > 1000 + tick)
        ]
        assert sounding[tick] == set(now[:, PITCH])
    assert part.chords.tolist() == [[0, 7, 0]] and part.pickup == 240 + 1920 - 1000 and part.length == 2000


def test_chords_are_found_by_their_pitch_classes():
    assert len(INTERVALS) == len(QUALITIES)
    for root in range(12):
        for quality in range(len(QUALITIES)):
            classes = np.isin(np.arange(12), pitch_classes(root, quality))
            assert chord_of(classes, lowest=root) == (root, quality)
    assert chord_of(np.isin(np.arange(12), [0, 4]), lowest=0)[0] == 0


def test_a_bar_has_the_chord_that_sounds_longest():
    triads = [(0, 0), (9, 1), (7, 0)]
    notes = [(16 * bar, 16, 60 + p, 0) for bar, (root, minor) in enumerate(triads) for p in pitch_classes(root, minor)]
    piece = piece_of(*notes, length=64)
    assert chords_of_bars(piece).tolist() == [[0, 0], [9, 1], [7, 0], [7, 0]]
    named = replace(piece, chords=np.array([[0, 2, 6], [18, 5, 4], [40, 11, 2]], np.int32))
    assert chords_of_bars(named).tolist() == [[2, 1], [5, 0], [5, 0], [11, 1]]


def test_registers_do_not_meet():
    """What the round trips of rolls rest on."""
    assert all(above[0] > below[1] for above, below in pairwise(REGISTERS))
    assert isinstance(random_piece(0), Piece) and np.array_equal(random_piece(7).notes, random_piece(7).notes)
