"""Calibration of confidences on a validation split: paths of recordings and of degraded copies -> logistic regression.

A validation split is often so easy that nearly all events are right, which says nothing of doubtful ones. A copy of each
recording, with another part of it mixed into its features, makes some of its events wrong as noise and other sounds would.
"""

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from datamodules.alignment.data import AlignmentDataModule, WholeBatch
from models.alignment.calibration import WITHIN_S, Calibration, fitted
from models.alignment.costs import Costs
from models.alignment.dtw import STEPS, NoPath, Steps
from models.alignment.similarity import Similarity
from models.alignment.time_map import confidence
from tasks.alignment.evaluate import DTWAlignment, align_frames, costs_of, input_spec
from tasks.metrics.rows import RowMetric

MIXED = 0.5
"""Share of another part in the features of a degraded copy."""
SHIFT = 0.38
"""Distance of that part, relative to the duration of the copy."""
COPY_S = 60.0
"""Longest duration of a degraded copy, s of recording and score."""


class PlacedEvents(RowMetric):
    """Raw confidences and errors of events; a recording seen by several ranks counts once."""

    columns: ClassVar = {
        "recording": torch.int64,
        "degraded": torch.int64,
        "score_s": torch.float64,
        "confidence": torch.float64,
        "error": torch.float64,
    }

    def update(self, batch: WholeBatch, costs: Costs, alignment: DTWAlignment, frame_s: float, degraded: bool = False) -> None:
        """Add the events of a recording or of its degraded copy, along the path through its costs."""
        truth = batch.truth.cpu().numpy()
        raw = confidence(costs, alignment.path)
        count = len(truth)
        self.add(recording=np.full(count, batch.index), degraded=np.full(count, int(degraded)), score_s=truth[:, 0])
        self.add(confidence=np.interp(truth[:, 0] / frame_s, np.arange(len(raw)), raw))
        self.add(error=alignment.time_map(truth[:, 0]) - truth[:, 1])

    def compute(self) -> Tensor:
        """Scale and offset (2,) of the calibration on the events of this process."""
        return torch.tensor(self._fitted())

    def calibration(self) -> Calibration:
        """Calibration on the events of all ranks, the same on each; call it on every rank."""
        return self.gathered(self._fitted)

    def _fitted(self) -> Calibration:
        # Sorted, so that the sums do not depend on the number of ranks.
        rows = np.stack([self.held(name).astype(np.float64) for name in ("recording", "degraded", "score_s")])
        _, once = np.unique(rows, axis=1, return_index=True)
        error = self.held("error").astype(np.float64)[once]
        return fitted(self.held("confidence").astype(np.float64)[once], np.abs(error) < WITHIN_S)


def degraded(batch: WholeBatch, frame_s: float) -> WholeBatch:
    """Beginning of a recording, at most `COPY_S`, to its last event there, with another part mixed into its features."""
    within = (batch.truth <= COPY_S).all(1)
    truth = batch.truth[within] if within.any() else batch.truth[:1]
    columns, rows = (max(int(time / frame_s) + 1, 2) for time in truth[-1].tolist())
    features = batch.performance[..., :rows]
    other = torch.roll(features, round(SHIFT * features.shape[-1]), -1)
    return batch._replace(performance=(1 - MIXED) * features + MIXED * other, score=batch.score[..., :columns], truth=truth)


def add_degraded(
    events: PlacedEvents, net: Similarity, batch: WholeBatch, steps: Steps, reduce: str = "mean", threshold: float | None = None
) -> None:
    """Align the degraded copy of a recording, and add its events, unless the steps allow no path through it."""
    copy = degraded(batch, net.frame_s)
    costs = costs_of(net, copy)
    try:
        alignment = align_frames(costs, net.frame_s, steps, reduce, threshold)
    except NoPath:
        return
    events.update(copy, costs, alignment, net.frame_s, degraded=True)


def calibrated(net: Similarity, data: AlignmentDataModule) -> Calibration:
    """Calibration of features on the validation split of a data module, for a network that was trained without one."""
    events, whole = PlacedEvents(), data.with_spec(input_spec(net)).validation_set()
    for index in range(len(whole)):
        batch = whole[index]
        costs = costs_of(net, batch)
        events.update(batch, costs, align_frames(costs, net.frame_s, STEPS["unit"]), net.frame_s)
        add_degraded(events, net, batch, STEPS["unit"])
    return events.calibration()
