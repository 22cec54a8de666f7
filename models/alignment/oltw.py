"""On-line time warping: follows a performance through its score frame by frame (Dixon 2005, the MATCH program)."""

import numpy as np

from models.alignment.costs import Metric, MetricName, checked
from models.alignment.dtw import Path
from models.alignment.dtw_kernels import frontier, kernel


class OnLineWarp:
    """Where in the score a performance is, told for each of its frames as it comes; later frames change nothing.

    Of the matrix of accumulated costs the last row (the newest performance frame) and column (the furthest score frame
    seen) are kept. If the cheapest cell of both, per frame of the way to it, is in the row, the next row follows; if it is
    in the column, a column; if it is their corner, both. No more than `max_run` rows or columns follow one another.
    Two things are not the paper's. At the start columns are added `max_run` a row, not one, until the window is full: a
    performance faster than the score is not late from the first. And no column is added when half of the window
    is ahead of the position already: a pause or applause does not push the window past the place where the music goes on.

    The settings are for the features. Those of onsets alone, as MATCH's, are nearly the same in most frames: a performance
    slower than the score is lost unless their root is taken, or each frame's length made 1 with diagonal 2. Of chroma or log
    CQT every frame tells something: with advance 0 positions are nearly as good as on the way back.

    Args:
        score: feature frames (m, d)
        metric: see `models.alignment.costs.FeatureCosts`
        window: cells of a row or column that are computed, Dixon's c
        max_run: Dixon's MaxRunCount
        diagonal: weight of the diagonal step, 1 or 2
        advance: the position is the cheapest cell of the row, its cost divided by its performance frames + advance times its
            score frames; the rows and columns are always compared with 1

    Raises ValueError for features that are not finite, a window below 2 and a max_run below 1.
    """

    def __init__(
        self,
        score: np.ndarray,
        metric: MetricName = "euclidean",
        window: int = 500,
        max_run: int = 3,
        diagonal: float = 1.0,
        advance: float = 1.0,
    ) -> None:
        if window < 2 or max_run < 1:
            raise ValueError(f"window is {window} and max_run {max_run}: they must be 2 and 1 or more")
        score = checked(score, "score")
        self.window, self.max_run, self.diagonal, self.advance = window, max_run, float(diagonal), advance
        self._dimensions, self._metric = score.shape[1], Metric(metric, score)
        self._score = self._metric.embed(score)
        self._heard = np.empty((0, self._score.shape[1]), np.float32)  # the last frames, embedded
        self._t, self._j, self._rows_run = -1, 0, 0
        self._row, self._column = np.empty(0), np.empty(0)  # accumulated costs up to the corner (t, j)

    def step(self, frame: np.ndarray) -> int:
        """The score frame at which the performance is in this frame, features (d,)."""
        frame = checked(np.asarray(frame)[None], "performance", self._dimensions)
        self._heard = np.concatenate([self._heard[1 - self.window :], self._metric.embed(frame)])
        self._add_row()
        starting = min(self.window, self.max_run * (self._t + 1), len(self._score)) - 1
        if self._t < self.window and self._j < starting:
            while self._j < starting:
                self._add_column()
        else:
            self._add_columns()
        return self._position()

    def _add_columns(self) -> None:
        for _ in range(self.max_run):
            if self._j - self._position() >= self.window // 2 or self._j == len(self._score) - 1:
                return
            across = (self._row / self._lengths(self._row, self._j, self._t)).min()
            down = (self._column / self._lengths(self._column, self._t, self._j)).min()
            if across < down and self._rows_run < self.max_run:
                self._rows_run += 1
                return
            self._rows_run = 0
            self._add_column()
            if across <= down:
                return

    def _lengths(self, line: np.ndarray, last: int, other: int, advance: float = 1.0) -> np.ndarray:
        """Frames of both sides up to each cell of a row or column that ends at `last`; those along the line times advance."""
        return other + 1 + advance * np.arange(last + 1 - len(line), last + 1)

    def _position(self) -> int:
        costs = self._row / self._lengths(self._row, self._j, self._t, self.advance)
        return self._j + 1 - len(costs) + int(costs.argmin())

    def _add_row(self) -> np.ndarray:
        self._t += 1
        first = self._j + 1 - max(len(self._row), 1)
        costs = self._metric.between(self._heard[-1:], self._score[first : self._j + 1])[0]
        if self._t == 0:
            self._row, codes = costs.astype(np.float64), np.zeros(1, np.uint8)
        else:
            self._row, codes = self._next(costs, self._row)
        self._column = np.append(self._column[1 - self.window :], self._row[-1])
        return codes

    def _add_column(self) -> np.ndarray:
        self._j += 1
        costs = self._metric.between(self._heard[-len(self._column) :], self._score[self._j : self._j + 1])[:, 0]
        self._column, codes = self._next(np.ascontiguousarray(costs), self._column)
        self._row = np.append(self._row[1 - self.window :], self._column[-1])
        return codes

    def _next(self, costs: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, codes = np.empty(len(costs)), np.empty(len(costs), np.uint8)
        kernel(frontier)(costs, before, self.diagonal, values, codes)
        return values, codes


def follow(x: np.ndarray, y: np.ndarray, metric: MetricName = "euclidean", **settings) -> np.ndarray:
    """`OnLineWarp` over a whole performance x (n, d) and its score y (m, d): score frames (n,), each known at its frame."""
    warp = OnLineWarp(y, metric, **settings)
    return np.array([warp.step(frame) for frame in checked(x, "performance")], np.int64)


def first_crossings(positions: np.ndarray, m: int) -> np.ndarray:
    """Performance frame (m,) in which positions (n,) first are at each score frame or past it; NaN if they never are."""
    furthest = np.maximum.accumulate(positions)
    rows = np.searchsorted(furthest, np.arange(m))
    return np.where(rows < len(positions), rows, np.nan)


class _Recorded(OnLineWarp):
    """Keeps the directions of all cells, for the way back."""

    def __init__(self, *arguments, **settings) -> None:
        super().__init__(*arguments, **settings)
        self.lines: dict[tuple[str, int], tuple[int, np.ndarray]] = {}  # row or column -> its first cell and directions

    def _add_row(self) -> np.ndarray:
        codes = super()._add_row()
        self.lines["row", self._t] = self._j + 1 - len(codes), codes
        return codes

    def _add_column(self) -> np.ndarray:
        codes = super()._add_column()
        self.lines["column", self._j] = self._t + 1 - len(codes), codes
        return codes

    def way_back(self) -> Path:
        """The cheapest path from (0, 0) to the last cells of both through all that was computed."""
        while self._j < len(self._score) - 1:
            self._add_column()
        row, column = self._t, self._j
        cells = [(row, column)]
        while row or column:
            first, codes = self.lines["row", row]
            across = column - first < len(codes)  # computed with its row, not with its column
            if not across:
                first, codes = self.lines["column", column]
            code = codes[column - first if across else row - first]
            row, column = row - (code == 0 or (code == 1) == across), column - (code == 0 or (code > 1) == across)
            cells.append((row, column))
        rows, columns = np.array(cells[::-1], np.int32).T.copy()
        return Path(rows, columns, float(self._column[-1]), (self._t + 1, self._j + 1))


def oltw(x: np.ndarray, y: np.ndarray, metric: MetricName = "euclidean", **settings) -> Path:
    """The path of MATCH off line: forward through x (n, d) as `follow`, then back from the end; settings of `OnLineWarp`."""
    warp = _Recorded(y, metric, **settings)
    for frame in checked(x, "performance"):
        warp.step(frame)
    return warp.way_back()
