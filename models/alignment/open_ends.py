"""Something before and after the music at a price: frames of the performance that belong to nothing in the score."""

import numpy as np

from models.alignment.costs import Costs, window
from models.alignment.dtw import Path

SHARE = 0.7
"""Of the distance of frames that do not belong together: what a frame that belongs to nothing costs."""
CLOSED = 10.0
"""The same where the recording begins and ends with the score: more than any path through it saves."""


def typical(costs: Costs) -> float:
    """Distance of frames that do not belong together: the median of some rows."""
    rows = np.unique(np.linspace(0, costs.shape[0] - 1, 64).astype(int))
    return float(np.median([costs.block(row, row + 1)[0] for row in rows.tolist()]))


def surrounded(costs: Costs, open_ends: bool) -> tuple["Surrounded", float]:
    """Costs with what lies beside the score priced, and the distance of frames that do not belong together."""
    level = typical(costs)
    return Surrounded(costs, (SHARE if open_ends else CLOSED) * level), level


class Surrounded:
    """Costs (n, m + 2) with a column before and one after the score's, in which any frame of the performance may lie.

    Frames that a path leaves out for nothing would leave out the whole performance where it may jump in the score: here each
    costs `price`. Needs steps of one row within a column.
    """

    def __init__(self, costs: Costs, price: float) -> None:
        self.costs, self.price = costs, np.float32(price)
        self.shape = costs.shape[0], costs.shape[1] + 2

    def block(self, first: int, last: int) -> np.ndarray:
        """See `Costs`."""
        return self.window(first, last, 0, self.shape[1])

    def window(self, first: int, last: int, left: int, right: int) -> np.ndarray:
        """See `Costs`."""
        inner = window(self.costs, first, last, max(left - 1, 0), min(right - 1, self.costs.shape[1]))
        beside = (int(left == 0), int(right == self.shape[1]))
        return np.pad(inner, ((0, 0), beside), constant_values=self.price)


def inner(path: Path, shape: tuple[int, int]) -> Path | None:
    """What of a path through surrounded costs lies in the score of `shape`, in its own columns; None where nothing does."""
    inside = (path.columns > 0) & (path.columns <= shape[1])
    if not inside.any():
        return None
    return Path(path.rows[inside], path.columns[inside] - 1, float("nan"), shape)
