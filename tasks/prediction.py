"""Result of `predict` for one input."""

from typing import Any, NamedTuple


class PredictionResult(NamedTuple):
    """Value of one input, or the error in its place; returned by every `predict_step`."""

    path: str
    value: Any
    error: str | None = None
