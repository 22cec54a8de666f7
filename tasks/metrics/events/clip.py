"""Clip-based scores: which classes occur in a clip, without their times."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasks.metrics.events.counts import Counts


def count(probabilities: NDArray[np.floating], labels: NDArray, thresholds: ArrayLike = 0.5) -> Counts:
    """Count decisions over (clip, class).

    Args:
        probabilities: (clips, classes)
        labels: (clips, classes), 0 or 1
        thresholds: one or (classes,); a class is said to occur from there on
    """
    said, true = probabilities >= np.asarray(thresholds), np.asarray(labels, dtype=bool)
    return Counts(true.sum(0), said.sum(0), (said & true).sum(0))
