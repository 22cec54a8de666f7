"""What is known of a frame before its notes are: place in the bar, strength of the beat, fermata, key."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from datamodules.symbolic.grid import bar_of, frames_of, nearest
from datamodules.symbolic.piece import DURATION, ONSET, VOICE, Piece

Condition = Literal["position", "beats", "fermata", "key"]
"""position: place in the bar, one-hot of the frames of a 4/4 bar (shorter bars use the first, longer ones begin again).
beats: downbeat, beat, half (in compound metres a third) of a beat, anything else, one-hot.
fermata: whether a note with a fermata sounds.
key: signature as its place on the circle of fifths, one-hot of 12, then whether it is minor."""


def width(names: Sequence[Condition], steps: int) -> int:
    """Numbers that the named conditions take a frame."""
    return sum({"position": 4 * steps, "beats": 4, "fermata": 1, "key": 13}[name] for name in names)


def conditions_of(piece: Piece, names: Sequence[Condition], steps: int) -> NDArray[np.float32]:
    """The named conditions of every frame, (frames, width), in order."""
    makers = {"position": position, "beats": beats, "fermata": fermata, "key": key}
    columns = [makers[name](piece, steps) for name in names]
    return np.concatenate([np.zeros((frames_of(piece, steps), 0), np.float32), *columns], 1)


def position(piece: Piece, steps: int) -> NDArray[np.float32]:
    """Place in the bar, (frames, 4 steps)."""
    since, _, _ = bar_of(piece, steps)
    return np.eye(4 * steps, dtype=np.float32)[since // piece.ticks % (4 * steps)]


def beats(piece: Piece, steps: int) -> NDArray[np.float32]:
    """Strength of the beat, (frames, 4)."""
    since, count, kind = bar_of(piece, steps)
    compound = (count % 3 == 0) & (count > 3) & (kind >= 8)
    beat = 4 * piece.ticks * steps * np.where(compound, 3, 1)  # times the beat type, as is what it divides
    now = since * kind
    part = beat // np.where(compound, 3, 2)
    strength = np.where(since == 0, 0, np.where(now % beat == 0, 1, np.where(now % part == 0, 2, 3)))
    return np.eye(4, dtype=np.float32)[strength]


def fermata(piece: Piece, steps: int) -> NDArray[np.float32]:
    """Whether a fermata's note sounds, (frames, 1): the first voice's where it begins there, else the longest."""
    flags = np.zeros((frames_of(piece, steps), 1), np.float32)
    for onset in piece.fermatas:
        begun = piece.notes[piece.notes[:, ONSET] == onset]
        sung = begun[begun[:, VOICE] == 0]  # to harmonise, the other voices are not known
        sung = sung if len(sung) else begun
        lasts = int(sung[:, DURATION].max()) if len(sung) else piece.ticks
        begin, end = nearest(np.array([onset, onset + lasts]), piece, steps)
        flags[begin : max(end, begin + 1)] = 1
    return flags


def key(piece: Piece, steps: int) -> NDArray[np.float32]:
    """The key signature of the whole piece, (frames, 13): as named, else as found in its notes."""
    from datamodules.symbolic.keys import find_key

    flags = np.zeros((frames_of(piece, steps), 13), np.float32)
    if piece.tonic is None and not len(piece.notes):
        return flags
    tonic, mode = (piece.tonic, piece.mode) if piece.tonic is not None else find_key(piece)
    major = (tonic + 3) % 12 if mode == "minor" else tonic
    flags[:, major * 7 % 12] = 1
    flags[:, 12] = mode == "minor"
    return flags
