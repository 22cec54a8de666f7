"""Sound events restated threshold by threshold: filter decisions, collect rows clip by clip, score each table for itself."""

import numpy as np
from scipy.ndimage import median_filter

from datamodules.events import Corpus, Events, table
from tasks.metrics.events import collar, psds, segment
from tasks.metrics.events.decode import FrameScores


def decode(scores: FrameScores, threshold: float, length: int = 7) -> Events:
    """Events of one threshold: decide, filter the decisions, find the runs of each clip and class."""
    rows = []
    ends = np.cumsum(scores.lengths)
    for clip, values in enumerate(np.split(scores.values, ends[:-1])):
        decided = median_filter((values >= threshold).astype(np.float32), (length, 1))
        for kind, column in enumerate(decided.T):
            edges = np.flatnonzero(np.diff(np.concatenate([[0], column, [0]])))
            for first, last in edges.reshape(-1, 2).tolist():
                end = min(last * scores.frame_s, float(scores.durations[clip]))
                rows.append((clip, kind, first * scores.frame_s, end))
    return table(*zip(*rows, strict=True)) if rows else table()


def score(scores: FrameScores, corpus: Corpus, thresholds: np.ndarray) -> list[float]:
    """Event and segment F1 at each threshold, and both PSDS of those operating points."""
    points = [decode(scores, threshold) for threshold in thresholds]
    classes = len(corpus.classes)
    f1 = [metric.score(corpus.events, events, classes).counts.macro_f1 for events in points for metric in (collar, segment)]
    return [*f1, *(psds.from_operating_points(points, corpus, one).value for one in (psds.PSDS1, psds.PSDS2))]
