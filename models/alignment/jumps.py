"""Jump-DTW: a path that may repeat or skip parts of the score (Fremerey, Müller and Clausen 2010)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from models.alignment import dtw
from models.alignment.costs import Costs, window
from models.alignment.dtw import STEPS, NoPath, Path, Steps
from models.alignment.dtw_kernels import JUMP


class Jump(NamedTuple):
    """From the score frame `source`, heard in performance frame row - 1, to the score frame `target` in frame `row`."""

    row: int
    source: int
    target: int


class JumpPath(NamedTuple):
    """Cells in the performance's order, cut at the jumps into parts that never go back in the score."""

    rows: np.ndarray  # (steps,) int32, performance frames, never falling
    columns: np.ndarray  # (steps,) int32, score frames
    cost: float  # weights and penalties included
    shape: tuple[int, int]  # performance frames n, score frames m
    jumps: tuple[Jump, ...]
    starts: tuple[int, ...]  # number of the first cell of each part: 0 and the cells that a jump leads to

    @property
    def segments(self) -> list[Path]:
        """The parts, each a path by itself; its cost is NaN, for only the whole one's is known."""
        bounds = zip(self.starts, [*self.starts[1:], len(self.rows)], strict=True)
        return [Path(self.rows[a:b], self.columns[a:b], float("nan"), self.shape) for a, b in bounds]


def jump_dtw(
    costs: Costs,
    steps: Steps = STEPS["unit"],
    sources: Sequence[int] = (),
    targets: Sequence[int] = (),
    penalty: float = 0.0,
    ends: Sequence[int] | None = None,
    open_start: bool = False,
    open_end: bool = False,
) -> JumpPath:
    """`dtw` that may, besides the steps, go from any source in one row to any target in the next, either way in the score.

    Args:
        costs: (n, m)
        steps: up to 254 moves
        sources: score frames in which blocks end
        targets: score frames in which blocks begin
        penalty: added for each jump; the target's local cost has a diagonal step's weight, 1 where the steps have none
        ends: score frames in which the piece may end, by default the last: a da capo ends at the fine
        open_start: the path may begin in any row, of column 0; it then rather leaves out what is before a jump back to that
        open_end: the path may end in any row

    Memory is a byte a cell. Raises ValueError as `dtw` does, and for score frames that there are not.
    """
    n, m = dtw.lengths(costs)
    sources, targets = _columns(sources, m, "sources"), _columns(targets, m, "targets")
    finals = _columns([m - 1] if ends is None else ends, m, "ends")
    if not len(finals):
        raise ValueError("a path needs at least one end")
    if len(steps.moves) > JUMP:
        raise ValueError(f"there can be {JUMP} steps besides the jumps, not {len(steps.moves)}")
    if not penalty >= 0:
        raise ValueError(f"the penalty of a jump is {penalty}, it must be 0 or more")
    weight = steps.weights[steps.moves.index((1, 1))] if (1, 1) in steps.moves else 1.0
    jumps = dtw.Jumps(sources, targets, float(weight), float(penalty))
    values, trace = dtw.any_steps(costs, *dtw.whole(n, m), steps, open_start, finals, jumps)
    last = int(values.argmin()) if open_end else n - 1
    if not np.isfinite(values[last]):
        raise NoPath(f"no path leads through {n} performance and {m} score frames by these steps and jumps")
    rows, columns, jumped = trace(last)
    heads = np.flatnonzero(jumped)
    taken = tuple(Jump(int(rows[k]), int(columns[k - 1]), int(columns[k])) for k in heads)
    return JumpPath(rows, columns, float(values[last]), (n, m), taken, (0, *map(int, heads)))


def _columns(columns: Sequence[int], m: int, name: str) -> np.ndarray:
    found = np.unique(np.asarray(columns, np.int64))
    if len(found) and not (found[0] >= 0 and found[-1] < m):
        raise ValueError(f"{name} of jumps are score frames 0 to {m - 1}, not {found[0]} to {found[-1]}")
    return found


# Something before and after the music at a price: frames of the performance that belong to nothing in the score.

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
