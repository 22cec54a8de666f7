"""Audio-to-score alignment (Agrawal and Dixon 2021)."""

from typing import Any

from datamodules.common.lazy_names import import_name

_HOMES = {
    "PairObjective": "tasks.alignment.module",
    "SalienceObjective": "tasks.alignment.module",
}


def __getattr__(name: str) -> Any:
    """Import a class on first use."""
    return import_name(__name__, name, _HOMES)
