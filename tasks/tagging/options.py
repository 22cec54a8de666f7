"""Inference options of tagging: selection of tags by threshold or rank."""

from dataclasses import dataclass

LEARNED = "learned"


@dataclass
class TaggingOptions:
    """Settings of `predict`, stored with the checkpoint; `--model.inference.top 5` and the like change them.

    Args:
        threshold: minimum probability of a tag: `learned` in validation, one number, or a file of thresholds (JSON
            {tag: number}, or CSV with the columns tag and threshold)
        top: number of most probable tags to list, instead of a threshold
        calibrated: output calibrated scores (Platt scaling on validation clips): of tags at 0.7, seven in ten are correct

    Raises:
        ValueError: a number out of range.
    """

    threshold: float | str = LEARNED
    top: int | None = None
    calibrated: bool = False

    def __post_init__(self) -> None:
        if self.top is not None and self.top < 1:
            raise ValueError(f"--model.inference.top must be at least 1, got {self.top}")
        if self.number is not None and not 0 <= self.number <= 1:
            raise ValueError(f"--model.inference.threshold must be a probability, from 0 to 1, got {self.threshold}")

    @property
    def number(self) -> float | None:
        """Common threshold of all tags; None if each tag has its own."""
        try:
            return float(self.threshold)
        except ValueError:
            return None
