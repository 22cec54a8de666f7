"""Local cost matrices (performance frames, score frames), computed block by block in bounded memory."""

from typing import Literal, Protocol

import numpy as np

from models.alignment.dtw_kernels import finish_distances, kernel

MetricName = Literal["euclidean", "sqeuclidean", "cosine"]
BLOCK = 1 << 14  # frames embedded at once
METRICS: tuple[MetricName, ...] = ("euclidean", "sqeuclidean", "cosine")


class Costs(Protocol):
    """Cost matrix as DTW reads it.

    An optional `window(first, last, left, right)` returns columns left .. right - 1 of a block only, as a band needs.
    """

    @property
    def shape(self) -> tuple[int, int]:
        """Performance frames n, score frames m."""

    def block(self, first: int, last: int) -> np.ndarray:
        """Costs of rows first .. last - 1: (last - first, m) float32."""


def window(costs: Costs, first: int, last: int, left: int, right: int) -> np.ndarray:
    """Costs of rows first .. last - 1 and columns left .. right - 1, float32."""
    whole = (left, right) == (0, costs.shape[1])
    if whole or not hasattr(costs, "window"):
        return costs.block(first, last)[:, left:right]
    return costs.window(first, last, left, right)


class MatrixCosts:
    """Precomputed costs (n, m) of any number type. Raises ValueError if the array is not a matrix."""

    def __init__(self, matrix: np.ndarray) -> None:
        self.matrix = np.asarray(matrix)
        if self.matrix.ndim != 2:
            raise ValueError(f"costs must be a matrix (performance frames, score frames), got shape {matrix.shape}")
        self.shape = self.matrix.shape

    def block(self, first: int, last: int) -> np.ndarray:
        """See `Costs`."""
        return self.window(first, last, 0, self.shape[1])

    def window(self, first: int, last: int, left: int, right: int) -> np.ndarray:
        """See `Costs`."""
        return np.asarray(self.matrix[first:last, left:right], dtype=np.float32)


class FeatureCosts:
    """Distances of feature frames x (n, d) of the performance and y (m, d) of the score; see `Metric`."""

    def __init__(self, x: np.ndarray, y: np.ndarray, metric: MetricName = "euclidean") -> None:
        y = checked(y, "score")
        self.metric = Metric(metric, y)
        self.x, self.y = self.metric.embed(checked(x, "performance", y.shape[1])), self.metric.embed(y)
        self.shape = len(self.x), len(self.y)

    def block(self, first: int, last: int) -> np.ndarray:
        """See `Costs`."""
        return self.window(first, last, 0, self.shape[1])

    def window(self, first: int, last: int, left: int, right: int) -> np.ndarray:
        """See `Costs`."""
        return self.metric.between(self.x[first:last], self.y[left:right])


class Binary:
    """1 where the costs exceed the threshold, else 0: the binary similarity matrix of Agrawal and Dixon 2021."""

    def __init__(self, costs: Costs, threshold: float) -> None:
        self.costs, self.threshold = costs, np.float32(threshold)
        self.shape = costs.shape

    def block(self, first: int, last: int) -> np.ndarray:
        """See `Costs`. NaN stays NaN, so that DTW can refuse it."""
        return self.window(first, last, 0, self.shape[1])

    def window(self, first: int, last: int, left: int, right: int) -> np.ndarray:
        """See `Costs`."""
        return np.heaviside(window(self.costs, first, last, left, right) - self.threshold, np.float32(0))


class Metric:
    """Distance of feature frames as a distance of embedded vectors, computed by matrix products.

    euclidean and sqeuclidean: features minus the mean of the score, which cancels. cosine (1 - cos): unit vectors, half
    their squared distance; a silent frame (all 0) has distance 0 to another silent frame and 1 to all others.

    Raises ValueError for an unknown name.
    """

    def __init__(self, name: MetricName, score: np.ndarray) -> None:
        if name not in METRICS:
            raise ValueError(f"metric is {name!r}, expected one of {', '.join(METRICS)}")
        self.name = name
        self.scale = np.float32(0.5 if name == "cosine" else 1.0)
        self.mean = score.mean(0, dtype=np.float64)

    def embed(self, frames: np.ndarray) -> np.ndarray:
        """Features (frames, d) -> (frames, d, or d + 1 for cosine) float32."""
        if self.name != "cosine":
            return np.ascontiguousarray(frames - self.mean, dtype=np.float32)
        result = np.empty((len(frames), frames.shape[1] + 1), np.float32)
        for first in range(0, len(frames), BLOCK):
            part, target = frames[first : first + BLOCK], result[first : first + BLOCK]
            length = np.sqrt(np.einsum("fd,fd->f", part, part, dtype=np.float64))[:, None]
            silent = length == 0  # a dimension of its own
            target[:, :-1], target[:, -1:] = part / np.where(silent, 1, length), silent
        return result

    def between(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Distances (n, m) float32 of embedded frames (n, d) and (m, d)."""
        block = x @ y.T
        xx, yy = (np.einsum("fd,fd->f", side, side) for side in (x, y))
        kernel(finish_distances)(block, xx, yy, x, y, self.scale, self.name == "euclidean")
        return block


def checked(features: np.ndarray, side: str, dimensions: int | None = None) -> np.ndarray:
    """Features (frames, d) as an array. Raises ValueError if they are empty, not finite or have another number of dimensions."""
    features = np.asarray(features)
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(f"{side} features must have shape (frames, dimensions), at least one of each, got {features.shape}")
    if dimensions not in (None, features.shape[1]):
        raise ValueError(f"performance features have {features.shape[1]} dimensions, score features {dimensions}")
    bad = ~np.isfinite(features).all(1)
    if bad.any():
        raise ValueError(
            f"{side} features contain NaN or infinite values in {bad.sum()} frames, the first is frame {bad.argmax()}"
        )
    return features
