"""Pieces cut and joined, and the chords of their bars."""

from dataclasses import replace

import numpy as np

from datamodules.generation.grid import excerpt, join, units
from datamodules.generation.harmony import INTERVALS, chord_of, chords_of_bars, pitch_classes
from datamodules.generation.piece import DURATION, ONSET, PITCH, QUALITIES, same
from tests.helpers.pieces import chorale, piece_of, random_piece


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
    assert chords_of_bars(piece_of((0, 16, 69, 0), (0, 16, 60, 0))).tolist() == [[9, 1]]  # A and C: A minor, not F major
    named = replace(piece, chords=np.array([[0, 2, 6], [18, 5, 4], [40, 11, 2]], np.int32))
    assert chords_of_bars(named).tolist() == [[2, 1], [5, 0], [5, 0], [11, 1]]
