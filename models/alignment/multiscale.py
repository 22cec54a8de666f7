"""Dynamic time warping of hours: a coarse path first, then the same kernel in a corridor round it (Salvador and Chan 2007)."""

import numpy as np

from models.alignment.costs import FeatureCosts, MetricName, checked
from models.alignment.dtw import STEPS, NoPath, Path, Steps, dtw, within

EXACT = 1 << 24
"""Cells up to which the exact path is computed: 4096 x 4096."""


def multiscale(
    x: np.ndarray,
    y: np.ndarray,
    metric: MetricName = "euclidean",
    steps: Steps = STEPS["unit"],
    radius: int = 256,
    open_start: bool = False,
    open_end: bool = False,
    exact: int = EXACT,
) -> Path:
    """A path through the distances of x (n, d), performance, and y (m, d), score, in memory and time linear in n + m.

    Pairs of frames are averaged until n * m is at most `exact`, and that is aligned exactly; then each level searches within
    `radius` of its frames, rows and columns, around the path of the level above. Equals `dtw` where no averaging was needed,
    and where its path stays in the corridor. Rows are cut off before and after the coarse path if ends are open.

    Raises ValueError as `dtw` does.
    """
    y = checked(y, "score")
    x = checked(x, "performance", y.shape[1])
    ends = open_start, open_end
    if len(x) * len(y) <= max(exact, 16):
        return dtw(FeatureCosts(x, y, metric), steps, None, *ends)
    coarse = _coarse(x, y, metric, steps, radius, ends, exact)
    while True:
        first, lows, highs = corridor(coarse, len(x), len(y), radius, ends)
        try:
            path = within(FeatureCosts(x[first : first + len(lows)], y, metric), lows, highs, steps, *ends)
        except NoPath:
            if radius > len(x) + len(y):
                raise
            radius *= 4  # steps that bound the tempo may not fit through the corridor
            continue
        return Path(path.rows + np.int32(first), path.columns, path.cost, (len(x), len(y)))


def corridor(coarse: Path, n: int, m: int, radius: int, ends: tuple[bool, bool]) -> tuple[int, np.ndarray, np.ndarray]:
    """The frames of (n, m) within `radius` rows or columns of a path through frames averaged in pairs.

    Returns the first row and, for rows from there on, the columns lows[i] .. highs[i] - 1 (`within`). All rows of the
    performance are in it unless that end is open.
    """
    rows, columns = 2 * coarse.rows.astype(np.int64), 2 * coarse.columns.astype(np.int64)
    first = max(0, rows[0] - radius) if ends[0] else 0
    last = min(n, rows[-1] + 2 + radius) if ends[1] else n
    frames = np.arange(first, last)
    # The path's columns at the first cell that is not more than radius rows before, and at the last not more than that after.
    begin = np.searchsorted(rows, frames - radius - 1).clip(max=len(rows) - 1)
    end = (np.searchsorted(rows, frames + radius, "right") - 1).clip(min=0)
    lows = (columns[begin] - radius).clip(0, m - 1)
    highs = (columns[end] + 2 + radius).clip(1, m)
    lows[0], highs[-1] = 0, m
    return int(first), lows, np.maximum(highs, lows + 1)


def _coarse(x, y, metric: MetricName, steps: Steps, radius: int, ends: tuple[bool, bool], exact: int) -> Path:
    halves = _halved(x), _halved(y)
    try:
        return multiscale(*halves, metric, steps, radius, *ends, exact)
    except NoPath:  # lengths at the limit of the steps may be beyond it when halved
        return multiscale(*halves, metric, STEPS["unit"], radius, *ends, exact)


def _halved(frames: np.ndarray) -> np.ndarray:
    """Frames (n, d) averaged in pairs, the last by itself if there is an odd one: (ceil(n / 2), d) float32."""
    even = len(frames) // 2 * 2
    pairs = frames[:even].reshape(-1, 2, frames.shape[1]).mean(1, dtype=np.float32)
    return np.concatenate([pairs, frames[even:].astype(np.float32)])
