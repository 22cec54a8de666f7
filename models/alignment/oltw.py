"""Online time warping (Dixon 2005, MATCH): performance frames one by one -> position in the score."""

import numpy as np

from models.alignment.costs import Metric, MetricName, checked
from models.alignment.dtw import Path
from models.alignment.dtw_kernels import frontier, kernel


class OnLineWarp:
    """Causal score follower: one performance frame -> current score frame.

    Only the last row (newest performance frame) and column (furthest score frame) of the accumulated costs are kept. If the
    cell with the lowest cost per path frame is in the row, a row is added next; if it is in the column, a column; if it is
    the corner, both. At most `max_run` rows or columns follow each other.
    Two differences from the paper: until the window is full `max_run` columns are added per row, not one, so that a
    performance faster than the score does not start late; and no column is added if half of the window is ahead of the
    position, so that a pause or applause does not push the window past the point where the music continues.

    The best settings depend on the features. Onset features (MATCH) are similar in most frames: a performance slower than
    the score is lost unless their root is taken, or frames have norm 1 with diagonal 2. With chroma or log CQT every frame
    is informative: with advance 0 positions are nearly as good as those of the backward path.

    Args:
        score: feature frames (m, d)
        metric: see `models.alignment.costs.FeatureCosts`
        window: number of cells computed per row or column, Dixon's c
        max_run: Dixon's MaxRunCount
        diagonal: weight of the diagonal step, 1 or 2
        advance: the position is the cell of the row with the lowest cost / (performance frames + advance * score frames);
            rows and columns are always compared with 1

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
            raise ValueError(f"window must be 2 or more and max_run 1 or more, got {window} and {max_run}")
        score = checked(score, "score")
        self.window, self.max_run, self.diagonal, self.advance = window, max_run, float(diagonal), advance
        self._dimensions, self._metric = score.shape[1], Metric(metric, score)
        self._score = self._metric.embed(score)
        self._recent = np.empty((0, self._score.shape[1]), np.float32)  # the last frames, embedded
        self._t, self._j, self._rows_run = -1, 0, 0
        self._row, self._column = np.empty(0), np.empty(0)  # accumulated costs up to the corner (t, j)

    def step(self, frame: np.ndarray) -> int:
        """Score frame of the next performance frame, features (d,)."""
        frame = checked(np.asarray(frame)[None], "performance", self._dimensions)
        self._recent = np.concatenate([self._recent[1 - self.window :], self._metric.embed(frame)])
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
        """Path lengths up to each cell of a row or column that ends at `last`, frames along the line weighted by advance."""
        return other + 1 + advance * np.arange(last + 1 - len(line), last + 1)

    def _position(self) -> int:
        costs = self._row / self._lengths(self._row, self._j, self._t, self.advance)
        return self._j + 1 - len(costs) + int(costs.argmin())

    def _add_row(self) -> np.ndarray:
        self._t += 1
        first = self._j + 1 - max(len(self._row), 1)
        costs = self._metric.between(self._recent[-1:], self._score[first : self._j + 1])[0]
        if self._t == 0:
            self._row, codes = costs.astype(np.float64), np.zeros(1, np.uint8)
        else:
            self._row, codes = self._next(costs, self._row)
        self._column = np.append(self._column[1 - self.window :], self._row[-1])
        return codes

    def _add_column(self) -> np.ndarray:
        self._j += 1
        costs = self._metric.between(self._recent[-len(self._column) :], self._score[self._j : self._j + 1])[:, 0]
        self._column, codes = self._next(np.ascontiguousarray(costs), self._column)
        self._row = np.append(self._row[1 - self.window :], self._column[-1])
        return codes

    def _next(self, costs: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, codes = np.empty(len(costs)), np.empty(len(costs), np.uint8)
        kernel(frontier)(costs, before, self.diagonal, values, codes)
        return values, codes


def follow(x: np.ndarray, y: np.ndarray, metric: MetricName = "euclidean", **settings) -> np.ndarray:
    """Causal score positions (n,) of a performance x (n, d) in its score y (m, d); settings of `OnLineWarp`."""
    warp = OnLineWarp(y, metric, **settings)
    return np.array([warp.step(frame) for frame in checked(x, "performance")], np.int64)


def first_crossings(positions: np.ndarray, m: int) -> np.ndarray:
    """First performance frame at or past each score frame (m,), from positions (n,); NaN if never reached."""
    furthest = np.maximum.accumulate(positions)
    rows = np.searchsorted(furthest, np.arange(m))
    return np.where(rows < len(positions), rows, np.nan)


class _Recorded(OnLineWarp):
    """Score follower that keeps the directions of all cells for the backward path."""

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

    def backward_path(self) -> Path:
        """Cheapest path from (0, 0) to the last cell through the computed cells."""
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
    """Offline path of MATCH: forward through x (n, d) as in `follow`, then backwards from the end; settings of `OnLineWarp`."""
    warp = _Recorded(y, metric, **settings)
    for frame in checked(x, "performance"):
        warp.step(frame)
    return warp.backward_path()
