"""Music that a system writes unasked, to be measured and heard: in the metre, key and length of test pieces."""

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from datamodules.symbolic.piece import VOICE, Piece
from models.generation.family import Family
from tasks.generation.ladder import Writer, shortened

if TYPE_CHECKING:
    from tasks.generation.module import Composer


class Samples(NamedTuple):
    """What was written, and what was given for it."""

    pieces: list[Piece]
    given: list[Piece]
    use: str


def write_samples(
    composer: "Composer", references: list[Piece], count: int, bars: int, seed: int, net: Family | None = None
) -> Samples:
    """So many pieces, each in the frame of a test piece: free where the system can, else around its melody.

    references: test pieces in the view's key; bars: at most so many of each; net: a baseline that writes in the system's stead
    """
    use = next(use for use in ("free", "harmonise", "continue") if use in (net or composer.net).supports)
    chosen = [references[int(k)] for k in np.linspace(0, len(references) - 1, count).round()]
    given = [_given(shortened(piece, piece.pickup + bars * piece.bar), use) for piece in chosen]
    pieces = Writer(composer, net).write_all(given, use, seed)
    named = [replace(piece, name=f"{number:02d}") for number, piece in enumerate(pieces, 1)]
    return Samples(named, given, use)


def _given(piece: Piece, use: str) -> Piece:
    """Of a test piece what the system is told: the frame, its chords, and the melody where that is to be harmonised."""
    if use == "harmonise":
        return piece.with_notes(piece.notes[piece.notes[:, VOICE] == 0])
    return piece.with_notes(np.zeros((0, 5), np.int32))
