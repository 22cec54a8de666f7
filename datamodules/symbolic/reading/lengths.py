"""How long a piece lasts, and that no damaged time makes it last for ever."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodules.errors import DataError, printable

LONGEST = 24 * 3600  # s: a file that ends later is damaged
MOST_QUARTERS = 500_000  # likewise


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
