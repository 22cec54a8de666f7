"""What a user asks of real music: bars through changes of metre, books of tunes, notes and chords that a system does not hold."""

from types import SimpleNamespace

import numpy as np
import pytest

from datamodules.common.errors import DataError
from datamodules.generation.adapting import beyond_least, folded, folds, skyline
from datamodules.generation.grid import bar_edges
from datamodules.generation.piece import ONSET, PITCH, VOICE, same
from datamodules.generation.user_pieces import Question, UserPieces
from datamodules.generation.views import VoiceGrid
from datamodules.generation.views.view import OutOfReach, UnfitPiece
from datamodules.generation.writing.midi import midi_bytes
from tasks.generation.adapt_input import adapted, restored
from tasks.generation.inference import Writer, template_of
from tasks.generation.options import GenerationOptions
from tasks.writers.resume import label
from tests.helpers.pieces import fitted, piece_of, random_piece

WALTZ_THEN_MARCH = np.array([[0, 3, 4], [24, 4, 4]], np.int32)  # two bars of three, then two of four, of 4 ticks a quarter
TUNE = "X:{0}\nT:No. {0}\nM:4/4\nL:1/4\nK:C\nCDEF|GABc|\n"


def changing():
    return piece_of(*((onset, 4, 60 + onset % 5, 0) for onset in range(0, 56, 4)), length=56, metres=WALTZ_THEN_MARCH)


def question(piece, use, bars=2, span=None):
    return Question("it", [piece], use, bars, span, None)


def test_bars_are_counted_through_changes_of_metre():
    piece = changing()
    assert bar_edges(piece).tolist() == [0, 12, 24, 40, 56]
    template, _, span = template_of(question(piece, "continue"))
    assert span == (56, 88) and template.length == 88, "two more bars of four"
    _, given, span = template_of(question(piece, "inpaint", span=(3, 3)))
    assert span == (24, 40) and not ((given.notes[:, ONSET] >= 24) & (given.notes[:, ONSET] < 40)).any()


def test_a_bar_that_is_not_full_is_filled_before_more_are_written():
    piece = piece_of((0, 4, 60, 0), (4, 16, 62, 0), length=20, pickup=4)
    assert template_of(question(piece, "continue"))[2] == (20, 52)
    assert template_of(question(piece_of((0, 6, 60, 0), length=6), "continue"))[2] == (6, 48)


@pytest.mark.parametrize(("length", "begin"), [(1920, 1920), (1900, 1920), (1850, 1920), (1945, 1945), (1960, 2040)])
def test_played_music_is_continued_from_the_next_frame(length, begin):
    piece = piece_of((0, length, 60, 0), length=length, ticks=480)
    assert template_of(question(piece, "continue"), steps=4)[2][0] == begin
    assert template_of(question(piece, "continue"))[2][0] == length


def test_a_span_beyond_the_last_bar_is_refused_with_their_number(tmp_path):
    (tmp_path / "a.mid").write_bytes(midi_bytes(changing()))
    ask = UserPieces(use="inpaint", span="4-5").ask((str(tmp_path / "a.mid"),))
    assert ask.error == f"{tmp_path / 'a.mid'} has 4 bars: --data.span reaches to 5."


def test_of_a_book_of_tunes_the_first_is_taken_and_said(tmp_path):
    book, leaf = tmp_path / "book.abc", tmp_path / "leaf.abc"
    book.write_text("\n".join(TUNE.format(number) for number in (1, 2, 3)))
    leaf.write_text(TUNE.format(1))
    assert UserPieces().ask((str(book),)).remarks == ("book.abc holds 3 tunes: the first was taken",)
    assert UserPieces().ask((str(leaf),)).remarks == ()


def test_a_number_of_bars_or_a_voice_that_cannot_be_is_one_sentence():
    with pytest.raises(ValueError, match=r"^--data.bars 0 is out of range: give 1 or more$"):
        UserPieces(bars=0)
    with pytest.raises(ValueError, match=r"^--data.voice -1 is not a voice"):
        UserPieces(voice=-1)


def test_few_notes_beyond_the_range_are_seen_octaves_nearer():
    view = VoiceGrid(voices=2, low=48, high=72)
    piece = piece_of((0, 4, 60, 0), (4, 4, 75, 0), (8, 4, 100, 0), (12, 4, 70, 0), (0, 16, 35, 1))
    assert folds(view, piece).tolist() == [0, 24, -12, -36, 0]
    assert folded(piece, folds(view, piece)).notes[:, PITCH].tolist() == [60, 59, 63, 64, 70]
    few = piece_of(*((onset, 1, 60, 0) for onset in range(15)), (15, 1, 90, 0))
    assert beyond_least(view, few) == 0
    with pytest.raises(OutOfReach, match="8 of its 16 notes, 20 to 100"):
        beyond_least(view, piece_of(*((onset, 1, (20, 100)[onset % 2], 0) for onset in range(16))))


def test_the_skyline_is_the_highest_note_of_each_voice():
    chords = ((0, 4, 60, 0), (0, 4, 64, 0), (4, 8, 65, 0), (6, 2, 62, 0), (8, 4, 67, 0), (0, 4, 40, 1), (2, 1, 36, 1))
    found = skyline(piece_of(*chords)).notes[:, [0, 1, 2, 4]]
    assert found.tolist() == [[0, 4, 64, 0], [0, 4, 40, 1], [4, 4, 65, 0], [8, 4, 67, 0]]
    single = random_piece(3)
    assert same(skyline(single), single)


def chordal():
    """Three octaves, with a chord and a note that is struck beneath a held one."""
    notes = [(onset, 2, 60 + onset % 7, 0) for onset in range(0, 32, 2)]
    return piece_of(*notes, (4, 2, 55, 0), (6, 6, 50, 0), (20, 2, 101, 0), length=32)


@pytest.mark.parametrize("use", ["harmonise", "continue", "inpaint"])
def test_what_the_system_does_not_hold_comes_back_as_it_was(use):
    piece = chordal()
    view = fitted(VoiceGrid(low=40, high=80), random_piece(1))
    asked = question(piece, use, span=(2, 2) if use == "inpaint" else None)
    template, given, span = template_of(asked)
    with pytest.raises(UnfitPiece):
        view.encode(template)
    seen, shift, said = adapted(view, template, given, use)
    assert shift == 0 and [text.split()[0] for text in said] == (["of"] if use == "inpaint" else ["1", "of"])
    echo = view.decode(view.encode(seen).frames, seen)
    low = echo.with_notes(np.concatenate([echo.notes, [[0, 4, 45, 80, 1]]])) if use == "harmonise" else echo
    made = restored(view, template, seen, low, use, span)
    scale = made.ticks // piece.ticks
    kept = [[onset * scale, lasts * scale, *rest] for onset, lasts, *rest in given.notes.tolist()]
    outside = [row for row in made.notes.tolist() if not span or not span[0] * scale <= row[0] < span[1] * scale]
    if use == "harmonise":
        assert [row for row in outside if row[VOICE]] == [[0, 4 * scale, 45, 80, 1]]
        outside = [row for row in outside if not row[VOICE]]
    assert outside == kept


def test_voices_too_low_for_midi_are_moved_by_octaves():
    template = piece_of((0, 4, 3, 0))
    made = restored(VoiceGrid(), template, template, piece_of((0, 4, 3, 0), (0, 4, -9, 1), (4, 4, 130, 1)), "harmonise", None)
    assert made.notes[:, PITCH].tolist() == [3, 3, 118]
    assert midi_bytes(made)


def test_a_file_that_cannot_be_read_is_answered_by_its_error(tmp_path):
    composer = SimpleNamespace(view=None, net=None, inference=GenerationOptions(), device="cpu")
    with pytest.raises(DataError, match=r"none.mid does not exist: expected a file of symbolic music.$"):
        Writer(composer)(UserPieces().ask((str(tmp_path / "none.mid"),)), seed=0)


@pytest.mark.parametrize(
    ("use", "paths", "stem"),
    [("interpolate", ("bwv66.6.mid", "a b.mid"), "bwv66.6_to_a_b"), ("continue", ("From A to B.mid",), "From_A_to_B")],
)
def test_answers_are_called_after_their_files(tmp_path, use, paths, stem):
    for path in paths:
        (tmp_path / path).write_bytes(midi_bytes(changing()))
    (item,) = UserPieces([str(tmp_path / path) for path in paths], use=use).items()
    assert label([item], [])[item.key].stem == stem
    assert item.files == tuple(str(tmp_path / path) for path in paths)
