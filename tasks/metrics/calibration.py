"""Calibration of probabilities by a logistic function of their logit, for each tag (Platt 1999): clips -> slope, intercept."""

import numpy as np
from numpy.typing import NDArray

STEPS = 50
DAMPING = 1e-3  # of the Newton steps, so that a tag without clips of both kinds stays as it is
LEAST = 1e-6  # probabilities nearer to 0 or 1 count as this far

Array = NDArray[np.float64]


def fit_calibration(probabilities: Array, labels: NDArray) -> Array:
    """Slope and intercept of each tag, (2, tags), of least cross entropy with Platt's smoothed targets.

    A tag without positive or without negative clips, and one whose slope would not be positive, keeps (1, 0).

    Args:
        probabilities: (clips, tags) in [0, 1], of validation clips
        labels: (clips, tags) of 0 and 1
    """
    logits, positive = _logits(probabilities), np.asarray(labels, bool)
    count = positive.sum(0)
    # Targets short of 0 and 1, so that separable tags get finite slopes (Platt 1999, equation 4).
    target = np.where(positive, (count + 1) / (count + 2), 1 / (len(positive) - count + 2))
    fitted = np.stack([_fit(logits[:, tag], target[:, tag]) for tag in range(logits.shape[1])], 1)
    usable = (count > 0) & (count < len(positive)) & (fitted[0] > 0) & np.isfinite(fitted).all(0)
    return np.where(usable, fitted, np.array([[1.0], [0.0]]))


def calibrated(probabilities: Array, calibration: Array) -> Array:
    """Probabilities (..., tags) after slope and intercept (2, tags); their order within a tag stays."""
    slope, intercept = calibration
    return 1 / (1 + np.exp(-(slope * _logits(probabilities) + intercept)))


def _logits(probabilities: Array) -> Array:
    clipped = np.clip(np.asarray(probabilities, np.float64), LEAST, 1 - LEAST)
    return np.log(clipped) - np.log1p(-clipped)


def _fit(logits: Array, target: Array) -> Array:
    """Slope and intercept by damped Newton steps with halving, which never raise the cross entropy."""
    inputs, weights = np.stack([logits, np.ones_like(logits)], 1), np.array([1.0, 0.0])
    loss = _cross_entropy(inputs @ weights, target)
    for _ in range(STEPS):
        found = 1 / (1 + np.exp(-(inputs @ weights)))
        gradient = inputs.T @ (found - target)
        curvature = (inputs * (found * (1 - found))[:, None]).T @ inputs + DAMPING * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        scale = next((s for s in 0.5 ** np.arange(20) if _cross_entropy(inputs @ (weights - s * step), target) <= loss), 0.0)
        if scale == 0.0 or np.abs(scale * step).max() < 1e-9:
            break
        weights = weights - scale * step
        loss = _cross_entropy(inputs @ weights, target)
    return weights


def _cross_entropy(logits: Array, target: Array) -> float:
    return float((np.logaddexp(0.0, logits) - target * logits).sum())
