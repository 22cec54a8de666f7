"""Decisions of a tagger: probabilities of a recording -> tags, by thresholds or by rank, and calibrated scores."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from datamodules.audio.level import is_silent
from datamodules.audio.windows import Window
from datamodules.common.errors import DataError
from tasks.tagging.options import LEARNED, TaggingOptions

# Calibration of probabilities by a logistic function of their logit, for each tag (Platt 1999): clips -> slope, intercept.

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


UNLEARNED = 0.5


class Decision:
    """Chooses the tags of a recording from its probabilities (tags,).

    Args:
        tags: names of the probabilities
        thresholds: (tags,) least probability of a tag
        top: choose so many of the most probable tags instead
        calibration: slope and intercept (2, tags) of the scores that are shown; None: scores as the network gives them
    """

    def __init__(
        self, tags: list[str], thresholds: ArrayLike, top: int | None = None, calibration: ArrayLike | None = None
    ) -> None:
        self.tags, self.top = list(tags), top
        self.thresholds = np.asarray(thresholds, np.float64)
        self.calibration = None if calibration is None else np.asarray(calibration, np.float64)

    def shown(self, scores: ArrayLike) -> np.ndarray:
        """Scores (tags,) that are shown: calibrated, if asked for."""
        scores = np.asarray(scores, np.float64)
        return scores if self.calibration is None else calibrated(scores, self.calibration)

    def __call__(self, scores: ArrayLike, usable: bool = True) -> list[tuple[str, float]]:
        """Tags and shown scores, the most probable first.

        Args:
            scores: (tags,) probabilities as the network gives them
            usable: whether there is anything to tag; a recording of silence has no tags
        """
        scores = self.shown(scores)
        order = np.argsort(-scores, kind="stable") if usable else []
        chosen = order[: self.top] if self.top else [i for i in order if scores[i] >= self.thresholds[i]]
        return [(self.tags[i], float(scores[i])) for i in chosen]


def make_decision(tagger: nn.Module, inference: TaggingOptions | None = None) -> Decision:
    """Decision of a tagger.

    Args:
        tagger: LightningModule with the thresholds and the calibration that were learned in validation
        inference: options (default: those of the tagger)

    Raises:
        DataError: a file of thresholds that does not fit the tags, calibration that was never learned.
    """
    options = inference or tagger.inference
    calibration = tagger.calibration.double().cpu().numpy() if options.calibrated else None
    if calibration is not None and (calibration == [[1.0], [0.0]]).all():
        raise DataError(
            "--model.inference.calibrated: this checkpoint holds no calibration, train with a validation split to learn one"
        )
    if options.threshold == LEARNED:
        thresholds = tagger.thresholds.double().cpu().numpy()
        thresholds = thresholds if calibration is None else calibrated(thresholds, calibration)
    elif options.number is not None:
        thresholds = np.full(len(tagger.tags), options.number)
    else:
        thresholds = read_thresholds(Path(str(options.threshold)), tagger.tags)
    return Decision(tagger.tags, thresholds, options.top, calibration)


def are_learned(tagger: nn.Module) -> bool:
    """Whether a validation has set the tagger's thresholds; imported weights keep 0.5 for all tags."""
    return bool((tagger.thresholds != UNLEARNED).any())


def read_thresholds(path: Path, tags: list[str]) -> np.ndarray:
    """Thresholds (tags,) of a file: JSON {tag: threshold}, or a CSV with the columns tag and threshold.

    Raises:
        DataError: no such file, another content, a tag without a threshold, or a threshold outside [0, 1].
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        values: Mapping[str, Any] = (
            json.loads(text)
            if text.lstrip().startswith("{")
            else {row["tag"]: row["threshold"] for row in csv.DictReader(text.splitlines())}
        )
        lacking = [tag for tag in tags if tag not in values]
        if lacking:
            raise DataError(f"{path} has no threshold of {len(lacking)} tags of this network, such as {lacking[0]!r}")
        thresholds = np.array([float(values[tag]) for tag in tags])
    except OSError as error:
        raise DataError(
            f"--model.inference.threshold {path} cannot be read ({error.strerror}): expected `learned`, a number, or a file"
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        expected = 'JSON such as {"piano": 0.5}, or a CSV with the columns tag and threshold'
        raise DataError(f"{path} holds no thresholds: expected {expected}") from error
    if not ((thresholds >= 0) & (thresholds <= 1)).all():
        raise DataError(f"{path}: thresholds are probabilities, expected numbers from 0 to 1")
    return thresholds


def notes_on(audio: Tensor, window: Window, remark: str | None = None) -> tuple[str, ...]:
    """Remarks on a recording (samples,) at the window's rate: silent, too short, how its channels were mixed."""
    notes = [remark] if remark else []
    if is_silent(audio.cpu().numpy()):
        notes.append("silent")
    length = window.samples - 2 * window.lead
    if len(audio) < length:
        duration, needed = len(audio) / window.sample_rate, length / window.sample_rate
        lasts = f"{duration:.2g} s" if duration >= 0.001 else "under 1 ms"
        notes.append(f"lasts {lasts}, less than the {needed:.2g} s that the network hears at once")
    return tuple(notes)


def is_usable(audio: Tensor, window: Window) -> bool:
    """Whether a recording (samples,) can have tags: it is not silent and no shorter than a step of the network's grid."""
    return len(audio) >= window.hop and not is_silent(audio.cpu().numpy())
