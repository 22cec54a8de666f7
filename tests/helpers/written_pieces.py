"""Pieces written down as chords, for tests of what is measured of music, and the JSB chorales of the real data."""

import json
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from datamodules.generation.piece import Piece

JSB = Path(os.environ.get("QUINTET_DATA", ""), "generation", "jsb", "Jsb16thSeparated.json")
no_jsb = pytest.mark.skipif(not JSB.is_file(), reason="QUINTET_DATA names no folder with generation/jsb")


def written(rows: list[list[int]], ticks: int = 4, **options) -> Piece:
    """A piece of one quarter a chord, -1 a rest."""
    cells = np.array(rows)
    notes = [[t * ticks, ticks, cells[t, v], 80, v] for t in range(len(cells)) for v in range(cells.shape[1]) if cells[t, v] >= 0]
    empty = Piece(np.zeros((0, 5), np.int32), ticks=ticks, length=ticks * len(cells), **({"tonic": 0, "mode": "major"} | options))
    return empty.with_notes(np.array(notes))


def jsb(split: str) -> list[Piece]:
    """Chorales of the real data."""
    return [sixteenths(rows, name=f"{split} {one}") for one, rows in enumerate(json.loads(JSB.read_text())[split])]


def sixteenths(rows: list[list[int | float]], name: str = "") -> Piece:
    """A chorale of the JSB sets, whose rests are -1 and whose repeated notes are one."""
    cells = np.nan_to_num(np.array(rows, np.float64), nan=-1).astype(int)
    notes = []
    for voice, line in enumerate(cells.T):
        edges = [0, *(np.flatnonzero(np.diff(line)) + 1), len(line)]
        notes += [[a, b - a, line[a], 80, voice] for a, b in pairwise(edges) if line[a] >= 0]
    piece = Piece(np.zeros((0, 5), np.int32), ticks=4, length=len(cells), name=name, tonic=0, mode="major")
    return piece.with_notes(np.array(notes))
