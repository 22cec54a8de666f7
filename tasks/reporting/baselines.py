"""Logistic regression baselines: features per clip (clips, columns) -> probabilities per tag (clips, tags)."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tasks.metrics.ranking import roc_auc

STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3)  # C of the logistic regression, inverse of the penalty


class Split(NamedTuple):
    """Features (clips, 2 * mels), means then deviations, and labels (clips, tags) in {0, 1}."""

    features: np.ndarray
    labels: np.ndarray


def logistic(train: Split, validation: Split, test: Split, columns: int) -> np.ndarray:
    """Fit one regression per tag on the first `columns` standardised features.

    The strength of the penalty is chosen by macro AUROC on `validation`.

    Returns:
        (clips, tags) probabilities of `test`.
    """
    mean, deviation = train.features[:, :columns].mean(0), train.features[:, :columns].std(0) + 1e-6
    fitted, held_out, unseen = ((split.features[:, :columns] - mean) / deviation for split in (train, validation, test))
    best, best_models = -1.0, None
    for strength in STRENGTHS:
        models = [_fit(fitted, labels, strength) for labels in train.labels.T]
        area = roc_auc(np.stack([model(held_out) for model in models], 1), validation.labels)
        if np.isfinite(area).any() and np.nanmean(area) > best:
            best, best_models = np.nanmean(area), models
    return np.stack([model(unseen) for model in best_models or models], 1)


def _fit(inputs: np.ndarray, labels: np.ndarray, strength: float) -> Callable[[np.ndarray], np.ndarray]:
    from sklearn.linear_model import LogisticRegression

    if labels.min() == labels.max():  # a single class cannot be fitted
        return lambda features: np.full(len(features), float(labels[0]))
    model = LogisticRegression(C=strength, max_iter=200).fit(inputs, labels)
    return lambda features: model.predict_proba(features)[:, 1]
