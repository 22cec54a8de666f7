"""Exact ranking metrics of multi-label scores: ROC AUC, average precision, bootstrap intervals.

Every distinct score is one threshold, as in scikit-learn, without binning. NumPy in float64.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
BLOCK = 128  # resamples per block: 28,000 clips x 128 float32 counts are 14 MB


def roc_auc(scores: Array, labels: NDArray) -> Array:
    """Area under the ROC curve of every column.

    Args:
        scores: (clips, tags), any monotonic confidence
        labels: (clips, tags), 0 or 1

    Returns:
        (tags,) in [0, 1]; NaN for a tag without positive or without negative clips, or with a score that is not finite
    """
    return _columns(scores, labels)[0]


def average_precision(scores: Array, labels: NDArray) -> Array:
    """Average precision of every column: precision at each distinct score, weighted by the increase in recall.

    Arguments and result as in `roc_auc`, NaN for the same tags.
    """
    return _columns(scores, labels)[1]


def summary(scores: Array, labels: NDArray) -> dict[str, float]:
    """Macro and micro scores of (clips, tags) arrays.

    Macro averages over the tags with finite metrics (`n_tags_scored`); micro ranks all (clip, tag) pairs together.
    All four are NaN if any score is not finite, so that a diverged network cannot win by losing tags.
    """
    area, precision = _columns(scores, labels)
    scored = np.isfinite(area)
    usable = bool(scored.any()) and bool(np.isfinite(scores).all())
    pooled = _columns(np.reshape(scores, (-1, 1)), np.reshape(labels, (-1, 1))) if usable else np.full((2, 1), np.nan)
    return {
        "auroc_macro": float(area[scored].mean()) if usable else float("nan"),
        "ap_macro": float(precision[scored].mean()) if usable else float("nan"),
        "auroc_micro": float(pooled[0][0]),
        "ap_micro": float(pooled[1][0]),
        "n_clips": len(scores),
        "n_tags_scored": int(scored.sum()),
    }


@dataclass(frozen=True)
class Resamples:
    """Metrics of bootstrap resamples; NaN if a resample has no positive or no negative clip of a tag."""

    roc_auc: Array  # (resamples, tags)
    average_precision: Array  # (resamples, tags)

    def interval(self, level: float = 0.95) -> tuple[Array, Array]:
        """Percentile intervals of ROC AUC and average precision, each (2, tags): low, high."""
        return _interval(self.roc_auc, level), _interval(self.average_precision, level)


def bootstrap(scores: Array, labels: NDArray, resamples: int = 500, seed: int = 0) -> Resamples:
    """ROC AUC and average precision of bootstrap resamples of the clips; the same resamples for every tag.

    Clips are assumed independent: with several clips of one recording the intervals are too narrow.

    Args:
        scores: (clips, tags)
        labels: (clips, tags), 0 or 1
        resamples: number of resamples
        seed: random seed
    """
    clips, tags = scores.shape
    random = np.random.default_rng(seed)
    area, precision = np.full((2, resamples, tags), np.nan)
    for first in range(0, resamples if clips else 0, BLOCK):
        size = min(BLOCK, resamples - first)
        drawn = random.integers(clips, size=(size, clips)) + np.arange(size)[:, None] * clips
        # A resample is a vector of counts, so scores are sorted once per tag, not once per resample.
        counts = np.bincount(drawn.ravel(), minlength=size * clips).reshape(size, clips).T.astype(np.float32)
        block = slice(first, first + size)
        for tag in range(tags):
            area[block, tag], precision[block, tag] = _sweep(scores[:, tag], labels[:, tag], counts)
    return Resamples(area, precision)


def _columns(scores: Array, labels: NDArray) -> Array:
    """ROC AUC and average precision, (2, tags)."""
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    counts = np.ones((len(scores), 1))
    result = [np.concatenate(_sweep(s, y, counts)) for s, y in zip(scores.T, labels.T, strict=True)]
    return np.array(result).reshape(-1, 2).T


def _sweep(scores: Array, labels: NDArray, counts: NDArray) -> tuple[Array, Array]:
    """ROC AUC and average precision of one tag, each (resamples,); clip i counts `counts[i]` times, (clips, resamples).

    Only thresholds at which recall rises contribute, so most running sums are over groups of tied positives.
    """
    positive = np.asarray(labels, dtype=bool)
    if not positive.any() or not np.isfinite(scores).all():
        return np.full(counts.shape[1], np.nan), np.full(counts.shape[1], np.nan)
    order = np.argsort(-scores, kind="stable")
    ranked, hit = scores[order], positive[order]
    starts = np.flatnonzero(np.append(True, np.diff(ranked) != 0))
    ends = np.append(starts[1:], len(ranked))
    group, first = np.unique(np.searchsorted(starts, np.flatnonzero(hit), side="right") - 1, return_index=True)

    accepted = np.cumsum(counts[order], axis=0)  # float32 counts stay exact up to 16 million clips
    added = np.add.reduceat(counts[order[hit]], first, axis=0, dtype=np.float64)
    true = np.cumsum(added, axis=0)
    total = accepted[ends[group] - 1].astype(np.float64)
    before = np.where(starts[group, None] > 0, accepted[starts[group] - 1], 0.0)
    positives, clips = true[-1], accepted[-1].astype(np.float64)

    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(added > 0, added * true / total, 0.0).sum(axis=0) / positives
        # A positive outranks all negatives below it, and half of those tied with it.
        false = ((total - true) + (before - (true - added))) / 2
        area = 1.0 - (added * false).sum(axis=0) / (positives * (clips - positives))
    defined = (positives > 0) & (clips > positives)
    return np.where(defined, area, np.nan), np.where(defined, precision, np.nan)


def _interval(values: Array, level: float) -> Array:
    """Percentiles of each column without NaN, (2, columns); NaN for an empty column."""
    ends = [(1 - level) / 2, (1 + level) / 2]
    finite = [column[np.isfinite(column)] for column in values.T]
    return np.array([np.quantile(c, ends) if len(c) else (np.nan, np.nan) for c in finite]).reshape(-1, 2).T
