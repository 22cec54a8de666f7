"""Time maps: warping path -> performance time of each score time (s), and raw confidence per score frame."""

from collections.abc import Callable
from typing import Literal

import numpy as np

from models.alignment.costs import Costs, window
from models.alignment.dtw import Path

Reduction = Literal["mean", "median", "first"]
CELLS = 1 << 18  # cost cells per block
FRAMES = 1 << 13  # score frames per block
FLOOR = 0.01  # of a contrast
TREND_S = 5.0  # score time over which the tempo beyond an end is estimated


class TimeMap:
    """Score time (s) -> performance time (s): piecewise linear and non-decreasing, extrapolated beyond the knots (k,), k >= 1.

    Beyond an end the tempo is that of the last `TREND_S` before it, limited to between 1/4 and 4 times the score's.

    Raises ValueError for knots that are not finite, differ in length, or decrease; score times must increase.
    """

    def __init__(self, score_s: np.ndarray, performance_s: np.ndarray) -> None:
        score, performance = (np.asarray(times, np.float64) for times in (score_s, performance_s))
        if score.ndim != 1 or score.shape != performance.shape or not len(score):
            raise ValueError(
                f"a time map needs equally many times of each side, at least one, got {score.shape} and {performance.shape}"
            )
        if not (np.isfinite(score).all() and np.isfinite(performance).all()):
            raise ValueError("a time map's times must be finite")
        if (np.diff(score) <= 0).any() or (np.diff(performance) < 0).any():
            raise ValueError("score times of a time map must increase and its performance times must not decrease")
        self.score_s, self.performance_s = score, performance
        self._slopes = _slope(score, performance, 0), _slope(score, performance, -1)

    @classmethod
    def from_path(cls, path: Path, hop_s: float, reduce: Reduction = "mean") -> "TimeMap":
        """Time map of a path whose frames i are centred at i * hop_s.

        reduce: performance frame of a score frame: mean, median or first of its cells. Skipped score frames are interpolated.
        """
        return cls(*(hop_s * frames for frames in matched(path, reduce)))

    @classmethod
    def from_crossings(cls, rows: np.ndarray, hop_s: float) -> "TimeMap":
        """Time map of performance frames (m,) by score frame, NaN for none (`models.alignment.oltw.first_crossings`)."""
        known = np.flatnonzero(~np.isnan(rows))
        return cls(hop_s * known, hop_s * rows[known])

    def __call__(self, score_s: np.ndarray | float) -> np.ndarray | float:
        """Performance times of score times (s), of any shape."""
        return extended(score_s, self.score_s, self.performance_s, self._slopes)

    def inverse(self, performance_s: np.ndarray | float) -> np.ndarray | float:
        """Score times of performance times (s); for a level part of the map, the mean of its score times."""
        performance, back = np.unique(self.performance_s, return_inverse=True)
        score = np.bincount(back, self.score_s) / np.bincount(back)
        return extended(performance_s, performance, score, tuple(1 / slope for slope in self._slopes))


def matched(path: Path, reduce: Reduction = "mean") -> tuple[np.ndarray, np.ndarray]:
    """Unique score frames of a path, and their performance frames: mean, median or first.

    Raises ValueError for another name, or if the path goes back in the score.
    """
    if (np.diff(path.columns) < 0).any():
        raise ValueError("the path goes back in the score: make a time map of each of its segments")
    columns, first, count = np.unique(path.columns, return_index=True, return_counts=True)
    rows, last = path.rows.astype(np.float64), first + count - 1
    ways: dict[str, Callable[[], np.ndarray]] = {
        "mean": lambda: np.add.reduceat(rows, first) / count,
        # Rows are sorted along a path: the middle one of a column is the median.
        "median": lambda: (rows[first + (count - 1) // 2] + rows[last - (count - 1) // 2]) / 2,
        "first": lambda: rows[first],
    }
    if reduce not in ways:
        raise ValueError(f"reduce is {reduce!r}, expected one of {', '.join(ways)}")
    return columns, ways[reduce]()


def confidence(costs: Costs, path: Path, apart: int = 3, reach: int = 21, spans: tuple[int, ...] = (3, 43)) -> np.ndarray:
    """Raw confidence of the path at each score frame: (m,) float32, 0 outside the path, else in [`FLOOR`, 1].

    For a span, P is the mean local cost of the path's cells within span // 2 score frames, A that of the path shifted by s
    performance frames, apart <= |s| <= reach, both where the shifted path is inside the performance, at least half of the
    span. The span's contrast is the least 1 - P / A of all shifts, at least 0: 1 if only the path costs nothing, near 0 if the
    music is constant (a held chord, silence) or matches nowhere (wrong notes, an omitted part), or if there is no shift. The
    confidence is the geometric mean of the spans' contrasts, each at least `FLOOR`: the shorter span tells how exactly a note
    is placed, the longer one whether the passage is played at all. `models.alignment.calibration` makes a probability of it.
    """
    columns, rows = matched(path)
    reached = np.arange(columns[0], columns[-1] + 1)
    at = np.rint(np.interp(reached, columns, rows)).astype(np.int64)
    shifts, half, result = np.arange(-reach, reach + 1), max(spans) // 2, np.zeros(path.shape[1], np.float32)
    away = np.abs(shifts) >= apart
    for begin in range(0, len(reached), FRAMES):
        first, last = max(0, begin - half), begin + FRAMES + half
        local = _around(costs, reached[first], at[first:last], shifts)
        contrasts = [_contrast(local[:, away], local[:, reach], span)[begin - first :][:FRAMES] for span in spans]
        levels = [np.log(FLOOR + (1 - FLOOR) * contrast) for contrast in contrasts]
        result[reached[begin : begin + FRAMES]] = np.exp(np.mean(levels, 0))
    return result


def _contrast(others: np.ndarray, own: np.ndarray, span: int) -> np.ndarray:
    """Least 1 - P / A in [0, 1] of costs of shifted paths (m, shifts), NaN out of range, and of the path (m,)."""
    inside, size = ~np.isnan(others), _total(np.ones((len(own), 1)), span)
    shifted, path = (_total(np.where(inside, values, 0), span) for values in (others, own[:, None]))
    contrast = np.where(shifted > path, 1 - path / np.where(shifted > path, shifted, 1), 0)
    least = np.where(2 * _total(inside, span) >= size, contrast, np.inf).min(1, initial=np.inf)
    return np.where(np.isfinite(least), least, 0).clip(0, 1)


def _around(costs: Costs, first: int, at: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Costs (k, shifts) of score frames first, first + 1 ... with performance frames at[i] + shifts, NaN out of range."""
    n, _ = costs.shape
    result = np.full((len(at), len(shifts)), np.nan, np.float32)
    i = 0
    while i < len(at):
        top = max(0, at[i] + shifts[0])
        heights = (at[i:] + shifts[-1] + 1).clip(max=n) - top
        width = max(1, int(np.searchsorted(heights * np.arange(1, len(heights) + 1), CELLS, "right")))
        block = window(costs, top, top + heights[width - 1], first + i, first + i + width)
        rows = at[i : i + width, None] + shifts
        inside = (rows >= 0) & (rows < n)
        result[i : i + width][inside] = block[(rows - top)[inside], np.nonzero(inside)[0]]
        i += width
    return result


def _total(values: np.ndarray, span: int) -> np.ndarray:
    """Moving sums of (m, shifts) over the score frames within span // 2."""
    frames, half = np.arange(len(values)), span // 2
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, 0, dtype=np.float64)])
    return sums[(frames + half + 1).clip(max=len(values))] - sums[(frames - half).clip(0)]


def _slope(score: np.ndarray, performance: np.ndarray, end: int) -> float:
    """Tempo at the first (end 0) or last (-1) knot, in performance seconds per score second."""
    if len(score) == 1:
        return 1.0
    away = np.abs(score - score[end])
    far = np.where(away <= TREND_S, away, 0).argmax()
    far = far if away[far] else (1, -2)[end]
    return float(np.clip((performance[far] - performance[end]) / (score[far] - score[end]), 0.25, 4.0))


def extended(x, knots: np.ndarray, values: np.ndarray, slopes: tuple[float, float]) -> np.ndarray | float:
    """Linear interpolation at x (any shape), and extrapolation by the slopes before the first and after the last knot."""
    x = np.asarray(x, np.float64)
    y = np.interp(x, knots, values)
    y = y + slopes[0] * np.minimum(x - knots[0], 0) + slopes[1] * np.maximum(x - knots[-1], 0)
    return y if y.ndim else float(y)
