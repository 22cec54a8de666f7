"""Inference options of sound event detection: thresholds and the windows of a longer recording."""

from dataclasses import dataclass
from typing import Literal


@dataclass
class DetectionOptions:
    """Settings of `predict`, stored with the checkpoint; `--model.inference.thresholds fixed` and the like change them.

    Args:
        thresholds: events by the thresholds and filters that were best in validation, or `fixed` at 0.5 and 7 frames as in the
            paper
        window: length of the windows that a longer recording is processed in, s
        step: from one window to the next, s

    Raises:
        ValueError: an impossible number.
    """

    thresholds: Literal["tuned", "fixed"] = "tuned"
    window: float = 10.0
    step: float = 5.0

    def __post_init__(self) -> None:
        if self.thresholds not in ("tuned", "fixed"):
            raise ValueError(f"--model.inference.thresholds must be tuned or fixed, got {self.thresholds}")
        if not 0 < self.step <= self.window:
            raise ValueError(
                f"--model.inference.step must be above 0 s and at most --model.inference.window: {self.step}, {self.window}"
            )
