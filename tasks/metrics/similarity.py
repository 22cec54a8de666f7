"""From which distance on a pair of frames counts as different: the threshold of the paper's binary matrix."""

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tasks.metrics.rows import RowMetric


class PairDistances(RowMetric):
    """Distances of frames that match and that do not, gathered from all ranks; `threshold` gives their equal-error threshold."""

    columns: ClassVar = {"distance": torch.float32, "label": torch.float32}

    def update(self, distance: Tensor, label: Tensor) -> None:
        """Add pairs (any shape): distances, and 0 for a match, 1 for none."""
        self.add(distance=distance.detach(), label=label.detach())

    def compute(self) -> Tensor:
        """(2,): equal-error threshold and the error there, of the pairs held here."""
        return torch.tensor(equal_error(self.held("distance"), self.held("label")))

    def threshold(self) -> tuple[float, float]:
        """Threshold and the error rate there, over all ranks: call it on every rank. NaN without pairs of both kinds."""
        return self.gathered(lambda: equal_error(self.held("distance"), self.held("label")))


def equal_error(distance: NDArray, label: NDArray) -> tuple[float, float]:
    """The distance that as many matches lie above as others lie below, in shares, and that share."""
    match, other = np.sort(distance[label == 0]), np.sort(distance[label == 1])
    if not len(match) or not len(other):
        return float("nan"), float("nan")
    tried = np.unique(np.concatenate([match, other]))
    missed = 1 - np.searchsorted(match, tried, side="right") / len(match)
    false = np.searchsorted(other, tried, side="right") / len(other)
    best = int(np.argmin(np.abs(missed - false)))
    return float(tried[best]), float((missed[best] + false[best]) / 2)
