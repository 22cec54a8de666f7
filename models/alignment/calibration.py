"""Calibration of confidences: raw confidence of a path -> probability that an event is within 50 ms of its true time."""

from typing import NamedTuple

import numpy as np

WITHIN_S = 0.05
"""Largest error of an event that counts as placed, s."""
UNRELATED = 0.05
"""Factor of the probabilities if the score seems to belong to another piece."""
RIDGE = 100.0
"""Weight of the squared distance from the default calibration: a validation split of some hundred events changes it little."""
FLATTEST = 0.1
"""Least exponent: a probability never falls with the raw confidence."""
STEPS = 50


class Calibration(NamedTuple):
    """Probability p of a raw confidence r (`models.alignment.time_map.confidence`): p / (1 - p) = exp(offset) r ** scale.

    The defaults are measured on log-CQT + flux with `python -m benchmarks alignment_confidence`: events of right scores, and
    of wrong ones with 2 % of the weight, for passages that are not played as written.
    """

    scale: float = 1.2
    offset: float = 5.2

    def __call__(self, raw: np.ndarray, related: bool = True) -> np.ndarray:
        """Probabilities of raw confidences of any shape; 0 for 0. `related`: the score is that of the recording."""
        with np.errstate(divide="ignore"):
            odds = self.scale * np.log(np.asarray(raw, np.float64)) + self.offset
        return _sigmoid(odds) * (1.0 if related else UNRELATED)


def fitted(raw: np.ndarray, correct: np.ndarray, ridge: float = RIDGE) -> Calibration:
    """Calibration by logistic regression with a ridge towards the default one, which is the result without events.

    Args:
        raw: (events,) raw confidences; those of 0 are left out
        correct: (events,) the event is within `WITHIN_S` of its true time
        ridge: weight of the squared distance from the default calibration, positive
    """
    default, used = np.array(Calibration()), np.asarray(raw) > 0
    x, label = np.log(np.asarray(raw, np.float64)[used]), np.asarray(correct)[used].astype(np.float64)
    design = np.stack([x, np.ones(len(x))], 1)
    values = _minimized(design, label, default, np.array([True, True]), ridge)
    if values[0] < FLATTEST:
        values = _minimized(design, label, np.array([FLATTEST, default[1]]), np.array([False, True]), ridge)
    return Calibration(*values.tolist())


def _minimized(design: np.ndarray, label: np.ndarray, start: np.ndarray, free: np.ndarray, ridge: float) -> np.ndarray:
    """Coefficients of least penalized cross entropy, by damped Newton steps; those that are not `free` stay at the start."""
    values = start.copy()

    def loss(values: np.ndarray) -> float:
        odds = design @ values
        return float((np.logaddexp(0, odds) - label * odds).sum() + 0.5 * ridge * np.square(values - start).sum())

    for _ in range(STEPS):
        probability = _sigmoid(design @ values)
        gradient = design.T @ (probability - label) + ridge * (values - start)
        curvature = (design * (probability * (1 - probability))[:, None]).T @ design + ridge * np.eye(len(start))
        step = np.zeros(len(start))
        step[free] = np.linalg.solve(curvature[np.ix_(free, free)], gradient[free])
        size, before = 1.0, loss(values)
        while size > 1e-6 and loss(values - size * step) > before:
            size /= 2
        values = values - size * step
        if np.abs(size * step).max() < 1e-9:
            break
    return values


def _sigmoid(odds: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -odds))
