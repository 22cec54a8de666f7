"""Bootstrap confidence intervals over pieces: values (pieces,) -> mean or ratio with its 95 % interval."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 1000


class Interval(NamedTuple):
    """Value and its 95 % interval; NaN without data."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Text for tables: `0.52 [0.48, 0.57]`."""
        return "–" if np.isnan(self.value) else f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def draws(pieces: int, resamples: int = RESAMPLES, seed: int = 0) -> NDArray[np.int64]:
    """Indices of pieces drawn with replacement, (resamples, pieces)."""
    return np.random.default_rng(seed).integers(max(pieces, 1), size=(resamples, pieces))


def ratio(parts: ArrayLike, wholes: ArrayLike, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Sum of `parts` over sum of `wholes`, both (pieces,), with its interval over resampled pieces."""
    parts, wholes = np.asarray(parts, np.float64), np.asarray(wholes, np.float64)
    if not wholes.sum():
        return Interval(*[float("nan")] * 3)
    drawn = draws(len(parts), resamples, seed)
    below = wholes[drawn].sum(1)
    values = parts[drawn].sum(1)[below > 0] / below[below > 0]
    return Interval(float(parts.sum() / wholes.sum()), *(float(edge) for edge in np.quantile(values, (0.025, 0.975))))


def mean(values: ArrayLike, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Mean over pieces (pieces,) without NaN, with its interval."""
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    return ratio(values, np.ones(len(values)), resamples, seed)
