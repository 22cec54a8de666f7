"""Audio tagging and sound event detection (Boes and Van hamme 2021)."""

from typing import Any

from datamodules.common.lazy_names import import_name

_HOMES = {
    "RampDecay": "tasks.sed.module",
}


def __getattr__(name: str) -> Any:
    """Import a class on first use."""
    return import_name(__name__, name, _HOMES)
