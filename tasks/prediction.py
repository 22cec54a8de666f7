"""Result of `predict` for one input."""

from typing import Any, NamedTuple


class PredictionResult(NamedTuple):
    """What every `predict_step` returns: a value, or the error that kept it from one."""

    path: str
    value: Any
    error: str | None = None
