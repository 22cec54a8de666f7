"""Inference options of sound event detection: thresholds and windows."""

from dataclasses import dataclass
from typing import Literal


@dataclass
class DetectionOptions:
    """Settings of `predict`, stored with the checkpoint; `--model.inference.thresholds fixed` and the like change them.

    Args:
        thresholds: `tuned`: thresholds and filters learned in validation; `fixed`: 0.5 and 7 frames as in the paper
        window: length of a window, s
        step: time between windows, s

    Raises:
        ValueError: a value out of range.
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
