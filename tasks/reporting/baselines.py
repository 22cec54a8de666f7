"""Logistic regressions on a few numbers a clip: what a network has to beat, whatever the task."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tasks.metrics.ranking import roc_auc

STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3)  # C of the logistic regression, inverse of the penalty


class Split(NamedTuple):
    """Features (clips, 2 * mels), means before deviations, and labels (clips, tags) in {0, 1}."""

    features: np.ndarray
    labels: np.ndarray


def logistic(train: Split, validation: Split, test: Split, columns: int) -> np.ndarray:
    """Probabilities (clips, tags) on `test` of one regression a tag on the first `columns` features, standardised."""
    mean, deviation = train.features[:, :columns].mean(0), train.features[:, :columns].std(0) + 1e-6
    known, held_out, asked = ((split.features[:, :columns] - mean) / deviation for split in (train, validation, test))
    best, chosen = -1.0, None
    for strength in STRENGTHS:
        models = [_fitted(known, labels, strength) for labels in train.labels.T]
        area = roc_auc(np.stack([model(held_out) for model in models], 1), validation.labels)
        if np.isfinite(area).any() and np.nanmean(area) > best:
            best, chosen = np.nanmean(area), models
    return np.stack([model(asked) for model in chosen or models], 1)


def _fitted(inputs: np.ndarray, labels: np.ndarray, strength: float) -> Callable[[np.ndarray], np.ndarray]:
    from sklearn.linear_model import LogisticRegression

    if labels.min() == labels.max():  # nothing to tell apart
        return lambda asked: np.full(len(asked), float(labels[0]))
    model = LogisticRegression(C=strength, max_iter=200).fit(inputs, labels)
    return lambda asked: model.predict_proba(asked)[:, 1]
