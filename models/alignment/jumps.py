"""Jump-DTW (Fremerey, Müller and Clausen 2010): cost blocks -> path that may repeat or skip parts of the score."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from models.alignment import dtw
from models.alignment.costs import Costs, window
from models.alignment.dtw import STEPS, NoPath, Path, Steps
from models.alignment.dtw_kernels import JUMP


class Jump(NamedTuple):
    """Jump from the score frame `source` in performance frame row - 1 to the score frame `target` in frame `row`."""

    row: int
    source: int
    target: int


class JumpPath(NamedTuple):
    """Warping path in performance order, split at jumps into segments that never go back in the score."""

    rows: np.ndarray  # (steps,) int32, performance frames, non-decreasing
    columns: np.ndarray  # (steps,) int32, score frames
    cost: float  # weights and penalties included
    shape: tuple[int, int]  # performance frames n, score frames m
    jumps: tuple[Jump, ...]
    starts: tuple[int, ...]  # index of the first cell of each segment: 0 and the cells reached by a jump

    @property
    def segments(self) -> list[Path]:
        """Segments as paths; their cost is NaN, since only the total is known."""
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
    """`dtw` with additional jumps from any source in one row to any target in the next, forwards or backwards.

    Args:
        costs: (n, m)
        steps: up to 254 moves
        sources: score frames in which blocks end
        targets: score frames in which blocks begin
        penalty: cost added per jump; the target's local cost is weighted as for a diagonal step, by 1 if the steps have none
        ends: score frames in which the piece may end (fine of a da capo), by default the last
        open_start: the path may begin in any row of column 0; it then tends to skip what precedes a jump back to column 0
        open_end: the path may end in any row

    Uses one byte of memory per cell. Raises ValueError as `dtw` does, and for score frames out of range.
    """
    n, m = dtw.lengths(costs)
    sources, targets = _columns(sources, m, "sources"), _columns(targets, m, "targets")
    finals = _columns([m - 1] if ends is None else ends, m, "ends")
    if not len(finals):
        raise ValueError("a path needs at least one end")
    if len(steps.moves) > JUMP:
        raise ValueError(f"at most {JUMP} steps are supported with jumps, got {len(steps.moves)}")
    if not penalty >= 0:
        raise ValueError(f"the penalty of a jump must be 0 or more, got {penalty}")
    weight = steps.weights[steps.moves.index((1, 1))] if (1, 1) in steps.moves else 1.0
    jumps = dtw.Jumps(sources, targets, float(weight), float(penalty))
    values, trace = dtw.any_steps(costs, *dtw.whole(n, m), steps, open_start, finals, jumps)
    last = int(values.argmin()) if open_end else n - 1
    if not np.isfinite(values[last]):
        raise NoPath(f"no path through {n} performance and {m} score frames with these steps and jumps")
    rows, columns, jumped = trace(last)
    heads = np.flatnonzero(jumped)
    taken = tuple(Jump(int(rows[k]), int(columns[k - 1]), int(columns[k])) for k in heads)
    return JumpPath(rows, columns, float(values[last]), (n, m), taken, (0, *map(int, heads)))


def _columns(columns: Sequence[int], m: int, name: str) -> np.ndarray:
    indices = np.unique(np.asarray(columns, np.int64))
    if len(indices) and not (indices[0] >= 0 and indices[-1] < m):
        raise ValueError(f"{name} of jumps must be score frames 0 to {m - 1}, got {indices[0]} to {indices[-1]}")
    return indices


# Frames outside the score

SHARE = 0.7
"""Cost of a performance frame outside the score, relative to the typical distance of unrelated frames."""
CLOSED = 10.0
"""The same for recordings that begin and end with the score: more than any path through it saves."""


def typical(costs: Costs) -> float:
    """Typical distance of unrelated frames: the median of 64 rows."""
    rows = np.unique(np.linspace(0, costs.shape[0] - 1, 64).astype(int))
    return float(np.median([costs.block(row, row + 1)[0] for row in rows.tolist()]))


def surrounded(costs: Costs, open_ends: bool) -> tuple["Surrounded", float]:
    """Costs with columns for frames outside the score, and the typical distance of unrelated frames."""
    level = typical(costs)
    return Surrounded(costs, (SHARE if open_ends else CLOSED) * level), level


class Surrounded:
    """Costs (n, m + 2): a column before and one after the score, for performance frames outside it.

    Each such frame costs `price`: with jumps in the score, frames skipped for free would skip the whole performance.
    Needs steps of one row within a column.
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
        margins = (int(left == 0), int(right == self.shape[1]))
        return np.pad(inner, ((0, 0), margins), constant_values=self.price)


def inner(path: Path, shape: tuple[int, int]) -> Path | None:
    """Part of a path through surrounded costs inside the score of `shape`, in its own columns; None if empty."""
    inside = (path.columns > 0) & (path.columns <= shape[1])
    if not inside.any():
        return None
    return Path(path.rows[inside], path.columns[inside] - 1, float("nan"), shape)
