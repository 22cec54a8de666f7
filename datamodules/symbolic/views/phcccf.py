"""Pitch as CONCERT hears it: height, chroma circle and circle of fifths (Mozer 1994, section 5, after Shepard 1982)."""

import numpy as np
from numpy.typing import NDArray


def phcccf(pitch: NDArray | int) -> NDArray[np.float32]:
    """Five numbers (..., 5) of MIDI pitches: octaves above middle C, then a point on each circle of twelve.

    Pitches an octave apart differ in height alone; semitones are neighbours on the first circle, fifths on the second.
    """
    pitch = np.asarray(pitch)
    chroma, fifths = 2 * np.pi * pitch / 12, 2 * np.pi * (7 * pitch % 12) / 12
    columns = ((pitch - 60) / 12, np.cos(chroma), np.sin(chroma), np.cos(fifths), np.sin(fifths))
    return np.stack(columns, -1).astype(np.float32)
