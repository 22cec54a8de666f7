"""Views of melodies, chords and drums: what they spell, and what they say they lose."""

from dataclasses import replace
from itertools import chain

import numpy as np
import pytest

from datamodules.generation.adapting import merged
from datamodules.generation.grid import bar_lines
from datamodules.generation.piece import ONSET, PITCH
from datamodules.generation.views import AbcText, BarImage, ChordMelody, Drums, NoteTuples, UnfitPiece
from datamodules.generation.views.abc_text import head_and_body, symbols_of, text_of
from tests.helpers.pieces import chorale, fitted, piece_of, random_piece, various


def test_rows_of_notes_come_back_with_their_chords():
    for piece in various():
        view = fitted(NoteTuples(), piece)
        back = view.decode(view.encode(piece).frames, piece)
        expected = piece.at(back.ticks)
        assert np.array_equal(back.notes, expected.voice(0))
        named = np.isin(expected.chords[:, 0], expected.voice(0)[:, ONSET])
        changes = np.append(True, (np.diff(expected.chords[:, 1:], axis=0) != 0).any(1))[: len(named)]
        assert np.array_equal(back.chords, expected.chords[named & changes])


def test_rows_of_notes_end_once_and_leave_room_in_silence():
    piece = random_piece(1, voices=1, rests=0)
    view = fitted(NoteTuples(), piece)
    frames = view.encode(piece).frames
    assert frames[-1].tolist() == [0, 0, 0] and (frames[:-1, 0] > 0).all()
    longer = view.encode(replace(piece, length=piece.length + 2 * piece.bar)).frames
    assert (
        np.array_equal(longer[: len(frames)], frames) and len(longer) == len(frames) - 1 + 32 and not longer[len(frames) :].any()
    )


def test_bars_are_pictures_without_rests():
    piece = piece_of((2, 4, 60, 0), (8, 4, 62, 0), length=20, pickup=4)
    view = BarImage()
    frames = view.encode(piece).frames.reshape(2, 16, 128)
    assert (frames.sum(-1) == 1).all()
    assert frames.argmax(-1).ravel().tolist() == [60] * 20 + [62] * 12
    back = view.decode(view.encode(piece).frames, piece)
    assert back.notes[:, :3].tolist() == [[0, 8, 60], [8, 12, 62]] and back.length == 20


def test_a_bar_knows_its_chord():
    piece = chorale(3)
    known = BarImage().encode(piece).conditions
    assert known.shape == (len(bar_lines(piece)), 13)
    assert (known[:, :12].sum(1) == 1).all()
    pickup = piece.chords[0]
    assert known[0, pickup[1]] == 1 and known[0, 12] == pickup[2]


def test_chords_and_melody_come_back_as_pitch_classes():
    for seed in range(4):
        piece = chorale(seed)
        view = fitted(ChordMelody(), piece)
        frames = view.encode(piece).frames
        back = view.decode(frames, piece)
        assert np.array_equal(view.encode(back).frames, frames)
        assert np.array_equal(view.encode(replace(back, chords=piece.chords[:0])).frames, frames)  # from the notes
        for onset, root, quality in piece.chords:
            triad = {root, (root + 4 - quality) % 12, (root + 7) % 12}
            assert set(np.flatnonzero(frames[2 * onset // piece.ticks, :12])) == triad


def test_a_melody_is_folded_into_the_octave_where_most_of_it_lies():
    piece = piece_of((0, 4, 72, 0), (4, 4, 60, 0), (8, 4, 67, 0), (12, 4, 76, 0))
    view = fitted(ChordMelody(steps=1), piece)
    assert view.fold == 60
    assert view.encode(piece).frames[:, 12:].argmax(1).tolist() == [12, 0, 7, 4]
    assert ChordMelody(steps=1, melody=False).encode(piece).frames.shape == (4, 12)


def test_drums_come_back_as_the_kit():
    strokes = np.array([[0, 1, 36, 90], [0, 1, 42, 90], [480, 1, 38, 90], [950, 9, 40, 90], [1440, 1, 46, 90], [1440, 1, 75, 90]])
    piece = replace(piece_of((0, 4, 60, 0), ticks=480, length=1920), drums=strokes.astype(np.int32))
    back = Drums().decode(Drums().encode(piece).frames, piece)
    assert back.drums[:, [0, 2]].tolist() == [[0, 36], [0, 42], [480, 38], [960, 38], [1440, 46]]
    assert np.array_equal(back.notes, piece.notes)
    with pytest.raises(UnfitPiece, match="no drums"):
        Drums().encode(replace(piece, drums=strokes[:0]))


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


@pytest.mark.parametrize("by", ["token", "character"])
def test_tunes_come_back_from_their_text(by):
    for piece in various():
        view = fitted(AbcText(by), piece)
        back = view.decode(view.encode(piece).frames, piece)
        expected = piece.at(back.ticks)
        assert np.array_equal(back.notes, expected.voice(0))
        assert (back.pickup, back.ticks % piece.ticks) == (expected.pickup, 0)
        changes = np.append(True, (np.diff(expected.chords[:, 1:], axis=0) != 0).any(1))[: len(expected.chords)]
        assert np.array_equal(
            view.encode(back.with_notes(back.notes, length=expected.length)).frames, view.encode(expected).frames
        )
        assert set(map(tuple, expected.chords[changes])) <= set(map(tuple, back.chords))


def test_tokens_are_those_of_folk_rnn():
    head, body = head_and_body(
        'X:7\nT:Title: a tune\nM: 6/8\nL:1/8\nK:Ador\n"Am"|:A2 ^c\'/2 |1 (3ABc [CE] z>B,:|2 [M:4/4]_e-|e2 |]\n'
    )
    fields, tokens = symbols_of(head, body, "token")
    assert fields == ["M:6/8", "L:1/8", "K:Ador"]
    first = ['"Am"', "|:", "A", "2", "^c'", "/2", "|1", "(3", "A", "B", "c", "[", "C", "E", "]", "z", ">", "B,", ":|2"]
    assert tokens == [*first, "[M:4/4]", "_e", "-", "|", "e", "2", "|]"]
    assert "".join(tokens) == body.replace(" ", "")
    assert text_of([*fields, *tokens], "token").splitlines()[:4] == ["X:1", *fields]
    assert "".join(chain(*symbols_of(head, body, "character"))) == f"{head}\n{body}"


@pytest.mark.parametrize("by", ["token", "character"])
def test_a_tune_goes_on_behind_its_last_bar(by):
    piece = random_piece(2, voices=1, pickup=2, rests=0)
    view = fitted(AbcText(by), piece)
    template = replace(piece, length=piece.length + 2 * piece.bar)
    frames, fixed = view.encode(template).frames.copy(), view.fixed(template, "continue", (piece.length, template.length))
    begun = int(fixed.sum())
    rest = frames[begun:, 0]
    closing = rest[: np.argmin(rest)]
    assert (
        fixed[:begun].all()
        and "".join(view.symbols[row - 1] for row in closing).strip() == "|]"
        and not rest[len(closing) :].any()
    )
    note = next(symbol for symbol in view.symbols if symbol[0] in "ABCDEFGabcdefg")
    more = [1 + view.symbols.index(symbol) for symbol in ("|", note, "|")]
    frames[begun : begun + len(more), 0] = more
    answer = merged(template, view.decode(frames, template), "continue", (piece.length, template.length))
    before = answer.notes[:, ONSET] < piece.length * answer.ticks // piece.ticks
    assert np.array_equal(answer.notes[before], piece.at(answer.ticks).notes)
    assert (~before).sum() == 1 and answer.length == template.at(answer.ticks).length
    middle = view.fixed(piece, "continue", (piece.pickup + piece.bar, piece.length))
    assert 0 < view.fixed(piece, "free").sum() < middle.sum() < begun


def test_text_that_breaks_off_is_read_up_to_there():
    piece = random_piece(2, voices=1)
    view = fitted(AbcText(), piece)
    rows = view.encode(piece).frames
    short = view.decode(rows[: len(rows) * 2 // 3], piece)
    assert np.array_equal(short.notes[:5], piece.at(short.ticks).notes[:5]) and short.length <= piece.at(short.ticks).length
    assert len(view.decode(np.zeros((3, 1), np.int64), piece).notes) == 0
    with pytest.raises(UnfitPiece, match="which no training tune has"):
        view.encode(piece.transposed(1))
    assert not view.holds(piece.transposed(1)) and view.holds(piece)
    assert view.shift_for(piece.transposed(3)) == -3
    marked = replace(piece, chords=np.array([[0, 0, 0]], np.int32))
    for one in (view, fitted(AbcText("character"), replace(piece, fermatas=piece.fermatas[:0]))):
        assert len(one.encode(marked).frames) == len(one.encode(piece).frames)
    chorused = fitted(AbcText(), marked)
    assert len(chorused.encode(replace(marked, chords=marked.chords + np.array([0, 1, 1], np.int32))).frames) == len(
        view.encode(piece).frames
    )
    with pytest.raises(UnfitPiece, match="begin and end together"):
        view.encode(piece_of((0, 4, 60, 0), (2, 4, 64, 0)))
    chord = piece_of((0, 4, 60, 0), (0, 4, 64, 0))
    fitted(view, chord)
    back = view.decode(view.encode(chord).frames, chord)
    assert np.array_equal(back.notes, chord.at(back.ticks).notes)
