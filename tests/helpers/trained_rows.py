"""Rows that the fast tests train: one of each class of network and data, the others are marked `slow`."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.cli.configs import CONFIGS, parents


def one_of_each_class(rows: list[Path]) -> list[Any]:
    """Parameters of a test: rows in their order, marked `slow` where earlier ones have all their classes."""
    seen: set[str] = set()
    parameters = []
    for row in rows:
        new = classes(row) - seen
        seen |= new
        parameters.append(row if new else pytest.param(row, marks=pytest.mark.slow))
    return parameters


def left_to_slow(parameters: list[Any]) -> list[Path]:
    """Rows among `one_of_each_class` that are trained by slow tests alone."""
    return [row.values[0] for row in parameters if not isinstance(row, Path)]


def classes(row: Path) -> set[str]:
    """Class paths of a row's network and data, in its own file or in those that it extends."""
    settings: dict = {}
    for path in (CONFIGS / row.parent.name / "base.yaml", *parents(row), row):
        settings = _merged(settings, yaml.safe_load(path.read_text()) or {})
    return _class_paths(settings.get("model", {}).get("net")) | _class_paths(settings.get("data"))


def _merged(base: Any, own: Any) -> Any:
    """Settings over those of a parent: another class starts afresh."""
    if not (isinstance(base, dict) and isinstance(own, dict)):
        return own
    if own.get("class_path") not in (None, base.get("class_path")):
        return own
    return base | {name: _merged(base.get(name), value) for name, value in own.items()}


def _class_paths(settings: Any) -> set[str]:
    if isinstance(settings, list):
        return set().union(*map(_class_paths, settings))
    if not isinstance(settings, dict):
        return set()
    own = {settings["class_path"].rsplit(".", 1)[-1]} if "class_path" in settings else set()
    return own.union(*map(_class_paths, settings.values()))
