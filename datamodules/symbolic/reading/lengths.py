"""How long pieces and bars last, and that no damaged number makes them last for ever."""

from collections.abc import Iterable
from math import lcm
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodules.errors import DataError, printable

LONGEST = 24 * 3600  # s: a file that ends later is damaged
MOST_QUARTERS = 500_000  # likewise
FEWEST_TICKS = 12  # of a quarter note: sixteenths and their triplets
MOST_TICKS = 2**15 - 1  # of a quarter note, which MIDI can write
MANY_TICKS = 10_080  # hold 128ths, and 3, 5, 7 and 9 notes in the time of others, where a file's own fractions are too odd


def ticks_for(parts: Iterable[int]) -> int:
    """Ticks of a quarter note that hold every one of its fractions 1 / part."""
    ticks = lcm(FEWEST_TICKS, *parts)
    return ticks if ticks <= MOST_TICKS else MANY_TICKS


def seconds(tempi: NDArray[np.int32], ticks: int, end: int) -> float:
    """When tick `end` comes. tempi: as of a piece, from tick 0 on; ticks: of a quarter note."""
    inside = tempi[tempi[:, 0] < end].astype(float)
    return float((np.diff([*inside[:, 0], end]) * inside[:, 1]).sum()) / (1e6 * ticks)


def check_length(tempi: NDArray[np.int32], ticks: int, end: int, path: Path) -> None:
    """Raises DataError where the last note ends after more than a day, or after more than half a million quarter notes."""
    last = seconds(tempi, ticks, end)
    if last > LONGEST or end > min(MOST_QUARTERS * ticks, 2**31 - 1):
        when = f"{last / 3600:.0f} hours and {end / ticks:.0f} quarter notes"
        raise DataError(f"{printable(str(path))} is damaged: its last note ends after {when}, more than a day's music.")


def is_metre(beats: int, beat_type: int, ticks: int) -> bool:
    """Whether numbers of a time signature are one, of bars that last a tick at least."""
    return 0 < beats < 256 and beat_type in (1, 2, 4, 8, 16, 32, 64) and 4 * ticks * beats >= beat_type
