"""Exact dynamic time warping: cost blocks -> warping path, with at most one byte of memory per cell."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from models.alignment.costs import Binary as Binary
from models.alignment.costs import Costs, window
from models.alignment.costs import FeatureCosts as FeatureCosts
from models.alignment.costs import MatrixCosts as MatrixCosts
from models.alignment.dtw_kernels import PAD, any_rows, four_rows, kernel, trace_any, trace_four

CELLS = 1 << 22  # cells per block: fewer make thin, slow matrix products, more leave the cache
NEIGHBOURS = ((1, 1), (1, 0), (0, 1))


class Steps(NamedTuple):
    """Step set: moves (rows, columns) and the weight of the target cell's cost for each.

    Ties are resolved in favour of diagonal moves (as many rows as columns), then the others in their order, moves within a
    row last: binary costs tie often, and the path should be straight there.
    """

    moves: tuple[tuple[int, int], ...]
    weights: tuple[float, ...]


STEPS: dict[str, Steps] = {
    "unit": Steps(((1, 0), (0, 1), (1, 1)), (1.0, 1.0, 1.0)),  # Agrawal and Dixon 2021, equation 3
    "constrained": Steps(((1, 1), (1, 2), (2, 1)), (1.0, 1.0, 1.0)),  # tempo within a half and twice the score's
    "synctoolbox": Steps(((1, 0), (0, 1), (1, 1)), (1.5, 1.5, 2.0)),  # the package's defaults
}


class Path(NamedTuple):
    """Warping path and its total weighted cost."""

    rows: np.ndarray  # (steps,) int32, performance frames
    columns: np.ndarray  # (steps,) int32, score frames
    cost: float
    shape: tuple[int, int]  # performance frames n, score frames m


class NoPath(ValueError):
    """No path connects the two ends under the given steps and band."""


def dtw(
    costs: Costs,
    steps: Steps = STEPS["unit"],
    band: float | None = None,
    open_start: bool = False,
    open_end: bool = False,
    subsequence: bool = False,
) -> Path:
    """Cheapest path from (0, 0), whose cost counts once, to (n - 1, m - 1) of costs (n, m).

    Args:
        costs: see `models.alignment.costs`; also negative ones
        steps: up to 255 moves
        band: largest deviation from the straight line between the corners, score frames (Sakoe and Chiba 1978)
        open_start: the path may begin in any row of column 0, for audio before the score begins
        open_end: the path may end in any row of the last column, the first of equally cheap ones
        subsequence: both

    Raises:
        NoPath: no path exists (a subclass of ValueError).
        ValueError: the costs are empty, NaN or infinite.
    """
    n, m = lengths(costs)
    limits = whole(n, m) if band is None else sakoe_chiba(n, m, band)
    ends = open_start or subsequence, open_end or subsequence
    try:
        return within(costs, *limits, steps, *ends)
    except NoPath as error:
        raise error if band is None else NoPath(f"{error}, or a band wider than {band:g} frames") from None


def within(
    costs: Costs, lows: np.ndarray, highs: np.ndarray, steps: Steps, open_start: bool = False, open_end: bool = False
) -> Path:
    """`dtw` within a corridor, columns lows[i] .. highs[i] - 1 of row i, in memory proportional to its area.

    lows and highs (n,) are non-decreasing, each row has at least one column, the last row reaches the last column.
    """
    n, m = lengths(costs)
    if set(steps.moves) != set(NEIGHBOURS):
        return priced(costs, lows, highs, steps, corner(n, m, 0, open_start), corner(n, m, -1, open_end))
    ends, trace = three_neighbours(costs, lows, highs, steps, open_start)
    last = int(ends.argmin()) if open_end else n - 1
    if not np.isfinite(ends[last]):
        raise _no_path(n, m, steps)
    return Path(*trace(last), float(ends[last]), (n, m))


def lengths(costs: Costs) -> tuple[int, int]:
    """Number of performance and score frames. Raises ValueError if either is 0."""
    n, m = costs.shape
    if not (n and m):
        raise ValueError(f"nothing to align: {n} performance frames and {m} score frames")
    return n, m


def whole(n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Corridor (see `within`) of all cells."""
    return np.zeros(n, np.int64), np.full(n, m, np.int64)


def sakoe_chiba(n: int, m: int, band: float) -> tuple[np.ndarray, np.ndarray]:
    """Corridor (see `within`) of `band` columns on either side of the straight line between the corners."""
    if not band >= 0:
        raise ValueError(f"the band is {band} frames, it must be 0 or more")
    if n == 1:
        return whole(n, m)
    line = np.arange(n) * ((m - 1) / (n - 1))
    lows, highs = np.ceil(line - band - 1e-6), np.floor(line + band + 1e-6) + 1
    if (lows >= highs).any():
        raise NoPath(f"a band of {band:g} frames leaves some of {n} performance frames without a score frame: widen it")
    return np.clip(lows, 0, None).astype(np.int64), np.clip(highs, None, m).astype(np.int64)


def three_neighbours(costs: Costs, lows: np.ndarray, highs: np.ndarray, steps: Steps, open_start: bool):
    """Accumulated costs (n,) in the last column for the three neighbour steps, and a function tracing the path from a row."""
    n, m = costs.shape
    weights = _weights(steps)
    ordered = tuple(float(weights[steps.moves.index(move)]) for move in NEIGHBOURS)
    groups = highs[np.minimum(np.arange(3, n + 3, 4), n - 1)] - lows[::4] + 3
    offsets = np.concatenate([[0], np.cumsum(groups)])
    codes, ends, row = np.empty(offsets[-1], np.uint8), np.empty(n), np.full(m + 2 * PAD, np.inf)
    for first, left, block in _blocks(costs, lows, highs):
        rest = lows, highs, ordered, open_start, row, codes, offsets, ends
        _check(kernel(four_rows)(block, first, left, *rest), min(4, n))

    def trace(last: int) -> tuple[np.ndarray, np.ndarray]:
        rows, columns = np.empty((2, n + m), np.int32)
        count = kernel(trace_four)(codes, offsets, lows, last, m - 1, rows, columns)
        return rows[:count][::-1].copy(), columns[:count][::-1].copy()

    return ends, trace


class Ends(NamedTuple):
    """Prices of beginning, or of ending, at a border of the cost matrix; infinite where a path may not."""

    rows: np.ndarray  # (n,) in the first column, or in the last
    columns: np.ndarray  # (m,) in the first row, or in the last


def corner(n: int, m: int, end: int, open_rows: bool = False) -> Ends:
    """Ends at the first (0) or last (-1) corner; with `open_rows` at any row, for nothing."""
    rows, columns = np.full(n, 0.0 if open_rows else np.inf), np.full(m, np.inf)
    rows[end] = columns[end] = 0.0
    return Ends(rows, columns)


def priced(costs: Costs, lows: np.ndarray, highs: np.ndarray, steps: Steps, start: Ends, end: Ends) -> Path:
    """`within` with priced ends on both axes; columns of rows before the first cell and of the last row need not be reached.

    Raises as `dtw` does.
    """
    n, m = lengths(costs)
    last_column, last_row, trace = any_steps(costs, lows, highs, steps, start)
    by_row, by_column = last_column + end.rows, last_row + end.columns
    row, column = int(by_row.argmin()), m - 1
    if by_column.min() < by_row[row]:
        row, column = n - 1, int(by_column.argmin())
    total = min(by_row.min(), by_column.min())
    if not np.isfinite(total):
        raise _no_path(n, m, steps)
    return Path(*trace(row, column), float(total), (n, m))


def any_steps(costs: Costs, lows: np.ndarray, highs: np.ndarray, steps: Steps, start: Ends):
    """Accumulated costs by any steps: of rows in the last column (n,), of the last row (m,), and a function tracing a path."""
    n, m = costs.shape
    ordered = _ordered(steps)
    downs, rights = ordered[:2]
    sizes = highs - lows
    offsets = np.cumsum(sizes) - sizes
    codes = np.empty(sizes.sum(), np.uint8)
    rows = np.full((downs.max() + 1, rights.max() + m), np.inf)
    ends = np.full(n, np.inf)
    for first, left, block in _blocks(costs, lows, highs):
        _check(kernel(any_rows)(block, first, left, lows, highs, ordered, tuple(start), rows, codes, offsets, ends), 1)
    last_row = np.full(m, np.inf)
    last_row[lows[-1] : highs[-1]] = rows[(n - 1) % len(rows), rights.max() :][lows[-1] : highs[-1]]

    def trace(row: int, column: int) -> tuple[np.ndarray, np.ndarray]:
        cells = np.empty((2, n + m), np.int32)
        count = kernel(trace_any)(codes, offsets, lows, downs, rights, row, column, *cells)
        return tuple(cells[:, :count][:, ::-1].copy())

    return ends, last_row, trace


def _no_path(n: int, m: int, steps: Steps) -> NoPath:
    moves = ", ".join(map(str, steps.moves))
    return NoPath(f"no path through {n} performance and {m} score frames with steps {moves}: it needs others")


def _weights(steps: Steps) -> np.ndarray:
    weights = np.array(steps.weights, np.float64)
    moves = np.array(steps.moves)
    if not (moves.ndim == 2 and moves.shape[1] == 2 and 0 < len(moves) <= 255 and weights.shape == (len(moves),)):
        raise ValueError(f"steps must be 1 to 255 moves (rows, columns) with a weight each, got {steps}")
    if not ((moves >= 0).all() and moves.any(1).all() and (weights > 0).all() and np.isfinite(weights).all()):
        raise ValueError(f"moves must go forward and weights must be positive, got {steps}")
    return weights


def _ordered(steps: Steps) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Rows, columns and weights of the steps in tie-breaking order, and the number of steps to another row."""
    weights, moves = _weights(steps), np.array(steps.moves, np.int64)
    downs, rights = moves.T
    order = np.lexsort((downs != rights, downs == 0))
    return downs[order], rights[order], weights[order], int((downs > 0).sum())


def _blocks(costs: Costs, lows: np.ndarray, highs: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """First row, first column and costs of blocks of rows; all but the last have a multiple of four rows."""
    n, first = len(lows), 0
    while first < n:
        left, width = lows[first], highs[first] - lows[first]
        # A moving corridor makes blocks with columns that some rows do not need: at most as many as they need.
        rows = min(CELLS // width, np.searchsorted(highs[first : first + CELLS], left + 2 * width, "right"))
        last = min(n, first + max(4, rows // 4 * 4))
        right = highs[last - 1]
        block = np.require(window(costs, first, last, left, right), np.float32, "CW")
        if block.shape != (last - first, right - left):
            raise ValueError(f"costs of rows {first} to {last - 1} have shape {block.shape}, expected {right - left} columns")
        yield first, left, block
        first = last


def _check(bad_row: int, rows: int) -> None:
    if bad_row >= 0:
        where = f"frame {bad_row}" if rows == 1 else f"frames {bad_row} to {bad_row + rows - 1}"
        raise ValueError(
            f"costs of performance {where} contain NaN or infinite values: check the features for silence or overflow"
        )
