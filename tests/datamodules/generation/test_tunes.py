"""ABC tunes and chord symbols, and what music21 finds in them."""

from fractions import Fraction

import pytest

from datamodules.generation.piece import DURATION, ONSET, PITCH, QUALITIES
from datamodules.generation.reading import read_piece, read_pieces
from datamodules.generation.reading.notation import read_symbol, write_symbol
from tests.helpers.music_files import written

TUNES = """%abc-2.1
X:1
T:The First
R:jig
M:6/8
L:1/8
Q:3/8=120
K:Ador
E|"Am7"A2B c>d^g|"G/B"{g}(3efg !fermata!f3 "^slow"z2:|
K:D
[1 f-|f2 [fa]2- [fa]2 |[M:2/4][L:1/4] c _B|]

X:2
T:Two Voices
M:C|
K:Bb
V:1
B4 d4|e8-|e8|
V:2
E,,4 F,4|=E,8|Z|
"""


def test_abc_is_read_with_chords_ties_and_changes(tmp_path):
    first, second = read_pieces(written(tmp_path, "tunes.abc", TUNES))
    rows = (first.notes[:, [ONSET, DURATION, PITCH]] / [first.ticks, first.ticks, 1]).round(3).tolist()
    assert rows == [
        [0, 0.5, 64],
        [0.5, 1, 69],
        [1.5, 0.5, 71],
        [2, 0.75, 72],
        [2.75, 0.25, 74],
        [3, 0.5, 80],
        [3.5, 0.333, 76],
        [3.833, 0.333, 78],
        [4.167, 0.333, 79],  # natural again after the bar line
        [4.5, 1.5, 78],
        [7, 1.5, 78],  # tied
        [8.5, 2, 78],
        [8.5, 2, 81],
        [10.5, 1, 73],
        [11.5, 1, 70],
    ]
    assert (first.name, first.title, first.kind, first.tonic, first.mode) == ("tunes-1", "The First", "jig", 9, "minor")
    assert first.pickup == first.ticks // 2
    assert first.metres.tolist() == [[0, 6, 8], [int(10.5 * first.ticks), 2, 4]]
    assert first.tempi.tolist() == [[0, 333_333]]
    assert first.fermatas.tolist() == [int(4.5 * first.ticks)]
    seventh, major = QUALITIES.index("minor seventh"), QUALITIES.index("major")
    assert first.chords.tolist() == [[first.ticks // 2, 9, seventh], [int(3.5 * first.ticks), 7, major]]
    assert second.voice(0)[:, [DURATION, PITCH]].tolist() == [[24, 70], [24, 74], [96, 75]]
    assert second.voice(1)[:, [DURATION, PITCH]].tolist() == [[24, 39], [24, 53], [48, 52]]
    assert (second.metres.tolist(), second.tonic, second.mode) == ([[0, 2, 2]], 10, "major")
    assert read_piece(tmp_path / "tunes.abc").name == "tunes-1"


@pytest.mark.parametrize("name", ["AdmiralsHornpipe", "BillyTheBarberShavedHisFatherJig", "BirminghamHornpipe"])
def test_tunes_are_as_music21_reads_them(name):  # which forgets accidentals inside a bar: these have none twice
    from music21 import converter

    from datamodules.demo.music import corpus

    path = corpus() / "ryansMammoth" / f"{name}.abc"
    piece = read_piece(path)
    notes = converter.parse(path, forceSource=True, storePickle=False).parts[0].stripTies().flatten().notes
    expected = [(Fraction(note.quarterLength), note.pitch.midi) for note in notes]
    assert [(Fraction(lasts, piece.ticks), pitch) for lasts, pitch in piece.notes[:, [DURATION, PITCH]].tolist()] == expected


@pytest.mark.parametrize(
    ("text", "root", "quality"),
    [
        ("C", 0, "major"),
        ("Am7", 9, "minor seventh"),
        ("Bb", 10, "major"),
        ("F#dim", 6, "diminished"),
        ("G7/B", 7, "dominant"),
        ("D/f+", 2, "major"),
        ("Gm/d", 7, "minor"),
        ("E♭maj7", 3, "major seventh"),
        ("CM7", 0, "major seventh"),
        ("Bm7b5", 11, "diminished"),
        ("Caug", 0, "augmented"),
        ("D7b9", 2, "dominant"),
        ("Asus4", 9, "other"),
        ("Dm6", 2, "minor"),
        ("Fadd9", 5, "major"),
    ],
)
def test_chord_symbols_are_read(text, root, quality):
    assert read_symbol(text) == (root, QUALITIES.index(quality))


def test_words_are_no_chord_symbols_and_written_ones_are_read():
    for word in ("Fine", "D.C.", "slow", "Adagio", "N.C.", "", "4", "Capo 2"):
        assert read_symbol(word) is None
    for root in range(12):
        for quality in range(len(QUALITIES)):
            assert read_symbol(write_symbol(root, quality)) == (root, quality)
