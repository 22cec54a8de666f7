"""Pieces -> sound, by the SoundFont renderer that the suite's embedded sets are made with."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from datamodules.errors import DataError
from datamodules.render import RATE, render
from datamodules.symbolic.piece import Piece
from datamodules.symbolic.reading.lengths import seconds
from datamodules.symbolic.writing.midi import midi_bytes

GAIN = 2.0  # a melody at velocity 80 peaks near 0.1 as it is rendered
LONGEST = 3600  # s
TAIL = 1.0  # s that the last notes have to fade


def preview(piece: Piece, rate: int = 44_100) -> NDArray[np.float32]:
    """What a piece sounds like: (samples, 2) float32 within [-1, 1], in its tempi and programs, with its drums.

    The gain is one for all pieces; only one that would be louder than full scale is scaled down. Raises DataError where there
    is no renderer or SoundFont, or the piece lasts longer than an hour.
    """
    import soxr

    lasts = seconds(piece.tempi, piece.ticks, piece.length)
    if lasts > LONGEST:
        raise DataError(f"{piece.name or 'the piece'} lasts {lasts / 60:.0f} minutes: a preview has at most {LONGEST // 60}.")
    tail = round(TAIL * 1e6 / int(piece.tempi[-1, 1]) * piece.ticks)  # the renderer stops where the file ends
    try:
        sound = render(midi_bytes(replace(piece, length=piece.length + tail)), lasts + TAIL)
    except (RuntimeError, OSError, ValueError) as error:
        raise DataError(f"{piece.name or 'the piece'} cannot be rendered ({error}).") from error
    sound = soxr.resample(sound * np.float32(GAIN), RATE, rate) if len(sound) else sound
    return (sound / max(1.0, float(np.abs(sound).max(initial=0)))).astype(np.float32)
