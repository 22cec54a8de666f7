"""Exact dynamic time warping in bounded memory: costs come by blocks of rows, a direction takes at most a byte a cell."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from models.alignment.costs import Binary as Binary
from models.alignment.costs import Costs, window
from models.alignment.costs import FeatureCosts as FeatureCosts
from models.alignment.costs import MatrixCosts as MatrixCosts
from models.alignment.dtw_kernels import PAD, any_rows, four_rows, kernel, trace_any, trace_four

CELLS = 1 << 22  # of costs computed at a time: less makes thin, slow matrix products, more leaves the cache
NEIGHBOURS = ((1, 1), (1, 0), (0, 1))


class Steps(NamedTuple):
    """Moves (rows, columns) that a path is made of, and by how much each multiplies the cost of the cell it leads to.

    Where several lead to a cell equally cheaply, a diagonal one (as many rows as columns) is taken, then the others in
    their order, those within a row last: binary costs tie often, and a path ought to be straight there.
    """

    moves: tuple[tuple[int, int], ...]
    weights: tuple[float, ...]


STEPS: dict[str, Steps] = {
    "unit": Steps(((1, 0), (0, 1), (1, 1)), (1.0, 1.0, 1.0)),  # Agrawal and Dixon 2021, equation 3
    "constrained": Steps(((1, 1), (1, 2), (2, 1)), (1.0, 1.0, 1.0)),  # tempo within a half and twice the score's
    "synctoolbox": Steps(((1, 0), (0, 1), (1, 1)), (1.5, 1.5, 2.0)),  # the package's defaults
}


class Path(NamedTuple):
    """Cells from the first to the last, and what they cost together, weights included."""

    rows: np.ndarray  # (steps,) int32, performance frames
    columns: np.ndarray  # (steps,) int32, score frames
    cost: float
    shape: tuple[int, int]  # performance frames n, score frames m


class NoPath(ValueError):
    """The steps, or the band, leave no way from one end to the other."""


def dtw(
    costs: Costs,
    steps: Steps = STEPS["unit"],
    band: float | None = None,
    open_start: bool = False,
    open_end: bool = False,
    subsequence: bool = False,
) -> Path:
    """The cheapest path from (0, 0), whose cost counts once, to (n - 1, m - 1) of costs (n, m).

    Args:
        costs: see `models.alignment.costs`; also negative ones
        steps: up to 255 moves
        band: score frames by which a path may be off the straight line between the corners (Sakoe and Chiba 1978)
        open_start: a path may begin in any row of column 0: the performance has something before the score
        open_end: a path may end in any row of the last column, the first of equally cheap ones
        subsequence: both

    Raises ValueError for costs that are empty, NaN or infinite, and `NoPath`, a ValueError too, where there is no path.
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
    """`dtw` in a corridor, columns lows[i] .. highs[i] - 1 of each row i: memory is what the corridor needs.

    lows and highs (n,) never fall, each row has a column at least, the last row reaches the last column.
    """
    n, m = lengths(costs)
    accumulate = three_neighbours if set(steps.moves) == set(NEIGHBOURS) else any_steps
    ends, trace = accumulate(costs, lows, highs, steps, open_start)
    last = int(ends.argmin()) if open_end else n - 1
    if not np.isfinite(ends[last]):
        moves = ", ".join(map(str, steps.moves))
        raise NoPath(f"no path leads through {n} performance and {m} score frames by steps {moves}: it takes others")
    rows, columns = trace(last)[:2]
    return Path(rows, columns, float(ends[last]), (n, m))


def lengths(costs: Costs) -> tuple[int, int]:
    """Frames of both; ValueError if one has none."""
    n, m = costs.shape
    if not (n and m):
        raise ValueError(f"nothing to align: {n} performance frames and {m} score frames")
    return n, m


def whole(n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """The corridor (see `within`) that is no limit."""
    return np.zeros(n, np.int64), np.full(n, m, np.int64)


def sakoe_chiba(n: int, m: int, band: float) -> tuple[np.ndarray, np.ndarray]:
    """The corridor (see `within`) of a band: the straight line between the corners, `band` columns either way."""
    if not band >= 0:
        raise ValueError(f"the band is {band} frames, it must be 0 or more")
    if n == 1:
        return whole(n, m)
    line = np.arange(n) * ((m - 1) / (n - 1))
    lows, highs = np.ceil(line - band - 1e-6), np.floor(line + band + 1e-6) + 1
    if (lows >= highs).any():
        raise NoPath(f"a band of {band:g} frames holds no score frame for some of {n} performance frames: widen it")
    return np.clip(lows, 0, None).astype(np.int64), np.clip(highs, None, m).astype(np.int64)


def three_neighbours(costs: Costs, lows: np.ndarray, highs: np.ndarray, steps: Steps, open_start: bool):
    """Values (n,) in the last column by steps to three neighbours, and a function that gives the path from a row of it."""
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


class Jumps(NamedTuple):
    """Columns that a path may leave after any row, columns where it may go on in the next, and at what cost."""

    sources: np.ndarray  # (p,) int64
    targets: np.ndarray  # (q,) int64
    weight: float  # on the local cost of the target
    penalty: float


NO_JUMPS = Jumps(np.empty(0, np.int64), np.empty(0, np.int64), 1.0, 0.0)


def any_steps(
    costs: Costs,
    lows: np.ndarray,
    highs: np.ndarray,
    steps: Steps,
    open_start: bool,
    finals: np.ndarray | None = None,
    jumps: Jumps = NO_JUMPS,
):
    """As `three_neighbours` for any steps and jumps; values in the cheapest of columns `finals`, by default the last.

    The path comes with a third array, 1 for cells that a jump leads to.
    """
    n, m = costs.shape
    downs, rights, weights, level = _ordered(steps)
    sizes = highs - lows
    offsets = np.cumsum(sizes) - sizes
    codes = np.empty(sizes.sum(), np.uint8)
    rows = np.full((downs.max() + 1, rights.max() + m), np.inf)
    finals = np.array([m - 1]) if finals is None else finals
    ends, ends_at = np.empty(n), np.zeros(n, np.int64)
    left_at, left_from = np.empty(n), np.zeros(n, np.int64)
    for first, left, block in _blocks(costs, lows, highs):
        found = (finals, ends, ends_at), (*jumps, left_at, left_from)
        steps_in_order = (downs, rights, weights, level)
        bad = kernel(any_rows)(block, first, left, lows, highs, steps_in_order, open_start, rows, codes, offsets, *found)
        _check(bad, 1)

    def trace(last: int) -> tuple[np.ndarray, np.ndarray]:
        parts, row, column = [], last, int(ends_at[last])
        while row >= 0:
            cells = np.empty((3, n + m), np.int32)
            count, row, column = kernel(trace_any)(codes, offsets, lows, downs, rights, left_from, row, column, *cells)
            parts.append(cells[:, :count])
        return tuple(np.concatenate(parts, 1)[:, ::-1].copy())

    return ends, trace


def _weights(steps: Steps) -> np.ndarray:
    weights = np.array(steps.weights, np.float64)
    moves = np.array(steps.moves)
    if not (moves.ndim == 2 and moves.shape[1] == 2 and 0 < len(moves) <= 255 and weights.shape == (len(moves),)):
        raise ValueError(f"steps must be 1 to 255 moves (rows, columns) with a weight each, not {steps}")
    if not ((moves >= 0).all() and moves.any(1).all() and (weights > 0).all() and np.isfinite(weights).all()):
        raise ValueError(f"moves must go forward and weights be positive, not as in {steps}")
    return weights


def _ordered(steps: Steps) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Rows, columns and weights of the steps in the order in which ties are decided, and how many lead to another row."""
    weights, moves = _weights(steps), np.array(steps.moves, np.int64)
    downs, rights = moves.T
    order = np.lexsort((downs != rights, downs == 0))
    return downs[order], rights[order], weights[order], int((downs > 0).sum())


def _blocks(costs: Costs, lows: np.ndarray, highs: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """First row, first column and costs of blocks of rows, a multiple of four of them but for the last."""
    n, first = len(lows), 0
    while first < n:
        left, width = lows[first], highs[first] - lows[first]
        # Where the corridor moves on, a block holds columns that some of its rows do not need: no more than they do.
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
        raise ValueError(f"costs of performance {where} hold NaN or infinite values: check the features for silence or overflow")
