"""Public names of a package, imported on first use: a config says `datamodules.MTAT`, and no other data set is imported."""

import importlib
from collections.abc import Mapping
from typing import Any


def import_name(package: str, name: str, homes: Mapping[str, str]) -> Any:
    """Attribute of a package, from the module that defines it (PEP 562).

    Args:
        package: name of the package that is asked
        name: attribute
        homes: attribute -> module

    Raises:
        AttributeError: the package has no such name.
    """
    if name not in homes:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    return getattr(importlib.import_module(homes[name]), name)


def public_path(cls: type) -> str:
    """Shortest import path of a class, as configs spell it."""
    parts = cls.__module__.split(".")
    for size in range(1, len(parts)):
        package = ".".join(parts[:size])
        if getattr(importlib.import_module(package), cls.__name__, None) is cls:
            return f"{package}.{cls.__name__}"
    return f"{cls.__module__}.{cls.__name__}"
