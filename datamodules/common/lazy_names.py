"""Lazily imported public names of a package (PEP 562), so that `datamodules.MTAT` imports no other data set."""

import importlib
from collections.abc import Mapping
from typing import Any


def import_name(package: str, name: str, homes: Mapping[str, str]) -> Any:
    """Import a public name of a package from its module in `homes` (name -> module). Raises AttributeError if unknown."""
    if name not in homes:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    return getattr(importlib.import_module(homes[name]), name)


def public_path(cls: type) -> str:
    """Shortest import path of a class, as in configs."""
    parts = cls.__module__.split(".")
    for size in range(1, len(parts)):
        package = ".".join(parts[:size])
        if getattr(importlib.import_module(package), cls.__name__, None) is cls:
            return f"{package}.{cls.__name__}"
    return f"{cls.__module__}.{cls.__name__}"
