"""Repeats, endings and jumps of tunes and scores: played for a user's answer, once through for training; marks that are lost."""

from pathlib import Path

import pytest

from datamodules.common.errors import DataError
from datamodules.common.left_out import LeftOut
from datamodules.generation.encoded import unread
from datamodules.generation.piece import PITCH
from datamodules.generation.reading import read_piece
from datamodules.generation.reading.scores import unread_marks
from datamodules.generation.user_pieces import UserPieces
from datamodules.generation.views import NoteTuples, VoiceGrid
from tests.helpers.pieces import piece_of

MUSIC = Path(__file__).parents[2] / "music"
SCORES = Path(__file__).parents[2] / "cases" / "alignment"
HEAD = "X:1\nM:4/4\nL:1/1\nK:C\n"
LETTERS = {60: "C", 62: "D", 64: "E", 65: "F", 67: "G", 69: "A", 71: "B", 72: "c"}


def tune(tmp_path, music: str, repeats: str) -> str:
    """A tune of one whole note a bar, as the letters of its notes."""
    (tmp_path / "tune.abc").write_text(HEAD + music)
    return "".join(LETTERS[pitch] for pitch in read_piece(tmp_path / "tune.abc", repeats).notes[:, PITCH].tolist())


@pytest.mark.parametrize(
    ("music", "once", "played"),
    [
        ("C | D |]", "CD", "CD"),
        ("|: C | D :|", "CD", "CDCD"),
        ("C | D :| E |]", "CDE", "CDCDE"),
        ("|: C |1 D :|2 E |] F |]", "CEF", "CDCEF"),
        ("|: C | [1 D :| [2 E || F |]", "CEF", "CDCEF"),
        ("|: C |1,3 D :|2 E :| F |]", "CDF", "CDCECDF"),
        ("|: C :: D :|", "CD", "CCDD"),
        ("|: C :|: D :|", "CD", "CCDD"),
        ("C || D | E :| F |]", "CDEF", "CDEDEF"),
        ("|: C || D :| E |]", "CDE", "CDCDE"),
        ("C | D !fine! | E !D.C.! |]", "CDE", "CDECD"),
        ('C | D "^Fine" | E |] "D.C. al Fine"', "CDE", "CDECD"),
        ("C | !segno! D | E !D.S.! |]", "CDE", "CDEDE"),
        ("|: C | D | E ::: F | G :|", "CDEFG", "CDECDEFGFG"),
    ],
)
def test_a_tune_is_read_once_or_as_it_is_played(tmp_path, music, once, played):
    assert tune(tmp_path, music, "once") == once
    assert tune(tmp_path, music, "played") == played
    assert tune(tmp_path, music, "written") == "".join(sorted(set(once + played)))


def test_a_reel_has_sixteen_bars_with_their_chords():
    written, played = read_piece(MUSIC / "reel.abc", "written"), read_piece(MUSIC / "reel.abc", "played")
    assert (written.bars, played.bars) == (9, 16)
    half, bar = played.length // 2, played.bar
    assert played.metres.tolist() == [[0, 4, 4]]
    bars = [played.notes[played.notes[:, 0] // bar == k, 1:3].tolist() for k in range(16)]  # durations and pitches
    for first, second in ((0, 4), (1, 5), (2, 6), *((8 + k, 12 + k) for k in range(4))):
        assert bars[first] == bars[second]
    assert bars[3] != bars[7], "the endings"
    assert played.chords[played.chords[:, 0] == half].tolist() == [[half, 9, 1]], "Am, with which the second part begins"


@pytest.mark.parametrize(
    ("name", "once", "played"),
    [("volta", [0, 2], [0, 1, 0, 1, 0, 2]), ("dc", [0, 1, 2], [0, 1, 2, 0, 1]), ("transposing", [0, 1], [0, 1])],
)
def test_a_score_is_read_once_or_as_it_is_played(name, once, played):
    path = SCORES / f"{name}.musicxml"
    written = read_piece(path, "written")
    bars = [
        written.notes[(written.notes[:, 0] >= k * written.bar) & (written.notes[:, 0] < (k + 1) * written.bar), PITCH].tolist()
        for k in range(written.bars)
    ]
    for repeats, order in (("once", once), ("played", played)):
        piece = read_piece(path, repeats)
        assert piece.notes[:, PITCH].tolist() == [pitch for bar in order for pitch in bars[bar]]
        assert (piece.bars, piece.metres.tolist()) == (len(order), written.metres.tolist())


def test_an_upbeat_comes_once_before_a_repeat_and_a_tie_ends_at_a_jump(tmp_path):
    piece = read_piece(MUSIC / "grace.musicxml", "played")
    assert (piece.pickup, piece.bars, len(piece.notes)) == (piece.ticks, 7, 16)
    (tmp_path / "tie.abc").write_text(HEAD + "|: C | D- :| D | E |]")
    piece = read_piece(tmp_path / "tie.abc", "played")
    bars = piece.notes[:, :2] // (4 * piece.ticks)
    assert bars.tolist() == [[0, 1], [1, 1], [2, 1], [3, 2], [5, 1]]


def test_repeats_and_notes_that_are_left_out_are_said():
    said = UserPieces().ask((str(MUSIC / "reel.abc"),)).remarks
    assert said == ("its repeats are played: 9 bars written, 16 read", "2 grace notes are left out")
    said = UserPieces().ask((str(MUSIC / "grace.musicxml"),)).remarks
    assert said == (
        "1 grace note is left out",
        "its repeats are played: 5 measures written, 8 read",
        "notes, chords, keys, metres and tempi are carried over, not 1 lyric",
    )


def test_signs_that_repeat_without_end_are_damage(tmp_path):
    bar = "c8" * 1000
    (tmp_path / "long.abc").write_text(HEAD + "|: " + f"{bar} | " * 150 + ":::::::::| C |]")
    with pytest.raises(DataError, match=r"long.abc is damaged: tune 1 cannot be understood \(its repeats last 1351 bars\)"):
        read_piece(tmp_path / "long.abc", "played")


def test_marks_of_a_score_are_counted(tmp_path):
    assert unread_marks(SCORES / "lied.musicxml")[0].startswith("notes, chords, keys, metres and tempi are carried over, not ")
    assert unread_marks(MUSIC / "legato.mid") == []
    (tmp_path / "song.abc").write_text(HEAD + "(C D) !trill!E |]\nw: la la\n")
    assert unread_marks(tmp_path / "song.abc") == [
        "notes, chords, keys, metres and tempi are carried over, not 1 lyric line, 1 slur, 1 decoration"
    ]


def test_training_reports_what_neither_reader_nor_view_holds():
    notes = ((0, 4, 60, 0), (0, 1, 50, 1), (1, 1, 51, 1), (4, 4, 62, 0))
    piece = piece_of(*notes, remarks=("2 grace notes are left out",), name="a")
    assert unread(VoiceGrid(steps=1), piece) == [
        LeftOut("passage", "a", "the reader has no place for it", "2 grace notes are left out"),
        LeftOut("note", "a", "the grid of the view is too coarse", "1 note"),
    ]
    assert [entry.detail for entry in unread(NoteTuples(), piece)] == ["2 grace notes are left out", "1 voice"]
    assert unread(VoiceGrid(), piece_of((0, 4, 60, 0))) == []
