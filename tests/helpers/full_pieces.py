"""Pieces with all that a file of music can hold, for the tests of who writes and reads them."""

from pathlib import Path

import numpy as np

from datamodules.generation.piece import DURATION, ONSET, Piece, in_order
from datamodules.generation.reading import read_piece

TICKS = (480, 960, 24, 12)


def busy_piece(seed: int, ticks: int = 480, voices: int = 3, together: bool = False, triplets: bool = False) -> Piece:
    """Random notes, with all that a piece may hold but drums; together: voices that sound several notes at once."""
    random = np.random.default_rng(seed)
    step, rows = ticks // (12 if triplets else 4), []
    for voice in range(voices):
        now = int(random.integers(3)) * step
        while now < 10 * ticks:
            lasts = int(random.integers(1, 9)) * step
            for pitch in random.choice(np.arange(40, 90), random.integers(0, 4 if together else 2), replace=False):
                shorter = int(random.integers(2)) * step if together and lasts > step else 0
                rows.append((now, lasts - shorter, pitch, random.integers(1, 128), voice))
            now += lasts
        rows.append((now, step, 60, 80, voice))
    notes, pickup = in_order(rows), int(random.choice([0, ticks // 4, ticks, 3 * ticks // 2]))
    changes = [[0, 3, 4], [pickup + 6 * ticks, 4, 4]] if seed % 2 else [[0, 4, 4]]
    tempi = [[0, int(random.integers(200_000, 1_500_000))], [4 * ticks + step, 400_000]]
    return Piece(
        notes,
        ticks,
        int((notes[:, ONSET] + notes[:, DURATION]).max()) + int(random.integers(3)) * step,
        pickup=pickup,
        metres=np.array(changes, np.int32),
        tempi=np.array(tempi[: 1 + seed % 3], np.int32),
        tonic=int(random.integers(12)),
        mode=("major", "minor")[seed % 2],
        fermatas=np.unique(notes[::5, ONSET]),
        chords=np.array([[0, 1, 2], [2 * ticks, 10, 7], [5 * ticks + step, 6, 5]], np.int32),
        programs=tuple(range(10, 10 + voices)),
    )


CASES = [(seed, ticks, 1 + seed % 4, seed % 3 == 0, seed % 2 == 1) for seed, ticks in enumerate(TICKS * 3)]
"""Seed, ticks, voices, together, triplets."""


def back(data: bytes, ending: str, folder: Path) -> Piece:
    path = folder / f"piece{ending}"
    path.write_bytes(data)
    return read_piece(path)
