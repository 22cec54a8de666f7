"""Which pieces are one, and who goes into which split."""

from collections import Counter

import numpy as np

from datamodules.generation.piece import DURATION, VOICE, Piece
from datamodules.generation.splitting import content, distinct, divide


def tune(name: str, pitches=(60, 62, 64, 65), ticks: int = 4, composer: str = "", later: int = 0) -> Piece:
    notes = np.array([[later + ticks * i, ticks, pitch, 80, 0] for i, pitch in enumerate(pitches)], np.int32)
    return Piece(notes, ticks, later + ticks * len(pitches), name=name, composer=composer)


def test_content_knows_a_piece_in_any_key_voice_and_resolution():
    piece = tune("a")
    assert content(piece) == content(piece.transposed(-7)) == content(piece.at(480)) == content(tune("b", later=16))
    revoiced = piece.notes.copy()
    revoiced[2, VOICE] = 1
    assert content(piece) == content(piece.with_notes(revoiced))
    shorter = piece.notes.copy()
    shorter[1, DURATION] = 2
    assert content(piece) != content(piece.with_notes(shorter)) and content(piece) != content(tune("a", (60, 62, 64, 66)))
    kept, dropped = distinct([piece, piece.transposed(3), tune("c", (60, 61, 62, 63))])
    assert [one.name for one in kept] == ["a", "c"] and "a holds the notes of a" in dropped[0].reason


def test_pieces_of_a_group_and_of_a_composer_are_shared_out():
    pieces = [tune(f"piece {i}", composer=f"composer {i % 5}") for i in range(100)]
    splits = divide(pieces)
    assert [len(split) for split in splits] == [80, 10, 10, 0]
    assert set(Counter(piece.composer for piece in splits.test + splits.validation).values()) == {4}
    fewer = divide(pieces[:-1])
    moved = {p.name for p in splits.test} ^ {p.name for p in fewer.test}
    assert len(moved) <= 4  # one piece more leaves the others about where they were
    grouped = divide(pieces, groups=[f"group {i // 10}" for i in range(100)])
    homes = {
        (piece.name.split()[1][:-1], split) for split in ("train", "validation", "test") for piece in getattr(grouped, split)
    }
    assert len(homes) == 10 and len(grouped.test) == len(grouped.validation) == 10
    assert [len(split) for split in divide(pieces[:3])] == [1, 1, 1, 0]
    assert [len(split) for split in divide(pieces[:2])] == [2, 0, 0, 0]
    assert [len(split) for split in divide([])] == [0, 0, 0, 0]
