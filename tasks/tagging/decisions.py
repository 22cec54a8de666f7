"""Tag decisions: probabilities (tags,) of a recording -> tags by threshold or rank; calibrated scores (Platt 1999)."""

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

STEPS = 50
DAMPING = 1e-3  # of the Newton steps; keeps a tag without positive or without negative clips at its start
EPSILON = 1e-6  # probabilities are clipped to [EPSILON, 1 - EPSILON]
UNLEARNED = 0.5  # threshold of every tag before any validation

Array = NDArray[np.float64]


def fit_calibration(probabilities: Array, labels: NDArray) -> Array:
    """Fit slope and intercept of each tag by cross entropy with Platt's smoothed targets.

    Args:
        probabilities: (clips, tags) in [0, 1], of validation clips
        labels: (clips, tags), 0 or 1

    Returns:
        (2, tags); (1, 0) for a tag without positive or without negative clips, or with a slope that is not positive
    """
    logits, positive = _logits(probabilities), np.asarray(labels, bool)
    count = positive.sum(0)
    # Smoothed targets keep the slopes of separable tags finite (Platt 1999, equation 4).
    target = np.where(positive, (count + 1) / (count + 2), 1 / (len(positive) - count + 2))
    fitted = np.stack([_fit(logits[:, tag], target[:, tag]) for tag in range(logits.shape[1])], 1)
    usable = (count > 0) & (count < len(positive)) & (fitted[0] > 0) & np.isfinite(fitted).all(0)
    return np.where(usable, fitted, np.array([[1.0], [0.0]]))


def calibrated(probabilities: Array, calibration: Array) -> Array:
    """Apply slope and intercept (2, tags) to probabilities (..., tags); the ranking within a tag is unchanged."""
    slope, intercept = calibration
    return 1 / (1 + np.exp(-(slope * _logits(probabilities) + intercept)))


def _logits(probabilities: Array) -> Array:
    clipped = np.clip(np.asarray(probabilities, np.float64), EPSILON, 1 - EPSILON)
    return np.log(clipped) - np.log1p(-clipped)


def _fit(logits: Array, target: Array) -> Array:
    """Slope and intercept (2,) by damped Newton steps with backtracking."""
    inputs, weights = np.stack([logits, np.ones_like(logits)], 1), np.array([1.0, 0.0])
    loss = _cross_entropy(inputs @ weights, target)
    for _ in range(STEPS):
        predicted = 1 / (1 + np.exp(-(inputs @ weights)))
        gradient = inputs.T @ (predicted - target)
        curvature = (inputs * (predicted * (1 - predicted))[:, None]).T @ inputs + DAMPING * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        scale = next((s for s in 0.5 ** np.arange(20) if _cross_entropy(inputs @ (weights - s * step), target) <= loss), 0.0)
        if scale == 0.0 or np.abs(scale * step).max() < 1e-9:
            break
        weights = weights - scale * step
        loss = _cross_entropy(inputs @ weights, target)
    return weights


def _cross_entropy(logits: Array, target: Array) -> float:
    return float((np.logaddexp(0.0, logits) - target * logits).sum())


class Decision:
    """Decision rule: probabilities (tags,) of a recording -> tags.

    Args:
        tags: names of the probabilities
        thresholds: (tags,) minimum output score of a tag
        top: number of most probable tags to select, instead of thresholds
        calibration: slope and intercept (2, tags) of the output scores; None: uncalibrated
    """

    def __init__(
        self, tags: list[str], thresholds: ArrayLike, top: int | None = None, calibration: ArrayLike | None = None
    ) -> None:
        self.tags, self.top = list(tags), top
        self.thresholds = np.asarray(thresholds, np.float64)
        self.calibration = None if calibration is None else np.asarray(calibration, np.float64)

    def output_scores(self, scores: ArrayLike) -> np.ndarray:
        """Probabilities (tags,), calibrated if the rule has a calibration."""
        scores = np.asarray(scores, np.float64)
        return scores if self.calibration is None else calibrated(scores, self.calibration)

    def __call__(self, scores: ArrayLike, usable: bool = True) -> list[tuple[str, float]]:
        """Selected tags and their output scores, most probable first.

        Args:
            scores: (tags,) probabilities of the network
            usable: False for a recording without tags, such as silence
        """
        scores = self.output_scores(scores)
        order = np.argsort(-scores, kind="stable") if usable else []
        selected = order[: self.top] if self.top else [i for i in order if scores[i] >= self.thresholds[i]]
        return [(self.tags[i], float(scores[i])) for i in selected]


def make_decision(tagger: nn.Module, inference: TaggingOptions | None = None) -> Decision:
    """Decision rule of a tagger.

    Args:
        tagger: LightningModule with thresholds and calibration learned in validation
        inference: options (default: those of the tagger)

    Raises:
        DataError: a file of thresholds that does not match the tags, or a checkpoint without calibration.
    """
    options = inference or tagger.inference
    calibration = tagger.calibration.double().cpu().numpy() if options.calibrated else None
    if calibration is not None and (calibration == [[1.0], [0.0]]).all():
        raise DataError(
            "--model.inference.calibrated: this checkpoint has no calibration; train with a validation split to learn one"
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
    """True if validation has set the thresholds; imported weights keep 0.5 for all tags."""
    return bool((tagger.thresholds != UNLEARNED).any())


def read_thresholds(path: Path, tags: list[str]) -> np.ndarray:
    """Read thresholds (tags,) from JSON {tag: threshold}, or CSV with the columns tag and threshold.

    Raises:
        DataError: file not found or of another format, a tag without a threshold, or a threshold outside [0, 1].
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        values: Mapping[str, Any] = (
            json.loads(text)
            if text.lstrip().startswith("{")
            else {row["tag"]: row["threshold"] for row in csv.DictReader(text.splitlines())}
        )
        missing = [tag for tag in tags if tag not in values]
        if missing:
            raise DataError(f"{path}: no threshold for {len(missing)} of the network's {len(tags)} tags, such as {missing[0]!r}")
        thresholds = np.array([float(values[tag]) for tag in tags])
    except OSError as error:
        raise DataError(
            f"--model.inference.threshold {path} cannot be read ({error.strerror}): expected `learned`, a number, or a file"
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        expected = 'JSON such as {"piano": 0.5}, or a CSV with the columns tag and threshold'
        raise DataError(f"{path} is not a file of thresholds: expected {expected}") from error
    if not ((thresholds >= 0) & (thresholds <= 1)).all():
        raise DataError(f"{path}: expected thresholds from 0 to 1")
    return thresholds


def notes_on(audio: Tensor, window: Window, remark: str | None = None) -> tuple[str, ...]:
    """Remarks on a recording (samples,) at the window's sample rate: channel mix, silence, too short."""
    notes = [remark] if remark else []
    if is_silent(audio.cpu().numpy()):
        notes.append("silent")
    length = window.samples - 2 * window.lead
    if len(audio) < length:
        duration, needed = len(audio) / window.sample_rate, length / window.sample_rate
        lasts = f"{duration:.2g} s" if duration >= 0.001 else "under 1 ms"
        notes.append(f"lasts {lasts}, less than one chunk of the network ({needed:.2g} s)")
    return tuple(notes)


def is_usable(audio: Tensor, window: Window) -> bool:
    """True if a recording (samples,) is not silent and has at least one hop of the network."""
    return len(audio) >= window.hop and not is_silent(audio.cpu().numpy())
