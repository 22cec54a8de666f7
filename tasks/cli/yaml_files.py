"""YAML reader with bounds on length, depth and expansion: text or file -> plain types."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from yaml import YAMLError

from datamodules.common.errors import DataError

MAX_CHARACTERS = 20_000_000
MAX_VALUES = 200_000
"""Values of a text with all aliases expanded."""
MAX_DEPTH = 60
"""Levels of lists and mappings; the suite's own configs have at most 12."""

_SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

__all__ = ["BoundedLoader", "TooLarge", "YAMLError", "check_yaml", "load_yaml", "read_yaml"]


class TooLarge(YAMLError):
    """Text beyond the bounds."""


def load_yaml(text: str) -> Any:
    """Content of a YAML text, plain types only.

    Raises:
        YAMLError: not YAML, or beyond the bounds.
    """
    check_yaml(text)
    try:
        return yaml.load(text, Loader=_SafeLoader)
    except (ValueError, RecursionError, OverflowError) as error:  # a day 45, a number of 5,000 digits
        raise YAMLError(str(error)) from error


def read_yaml(path: Path) -> Any:
    """Content of a YAML file.

    Raises:
        DataError: the file cannot be read, is not YAML, or beyond the bounds.
    """
    try:
        return load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, YAMLError) as error:
        raise DataError(f"{path} cannot be read as YAML ({' '.join(str(error).split())[:200]})") from error


class BoundedLoader:
    """Wrapper of a YAML loader that first refuses texts beyond the bounds."""

    def __init__(self, loader: Callable[..., Any]) -> None:
        self.loader = loader

    def __call__(self, text: str, **options: Any) -> Any:
        check_yaml(text)
        return self.loader(text, **options)


def check_yaml(text: str) -> None:
    """Check a text against the bounds by its parser events, in constant memory.

    Scalars that a parser would read as YAML again are checked too.

    Raises:
        YAMLError: not YAML, or beyond the bounds.
    """
    if len(text) > MAX_CHARACTERS:
        raise TooLarge(f"it has {len(text):,} characters, at most {MAX_CHARACTERS:,} are read")
    for scalar in _measured(text):
        if any(sign in scalar for sign in "[{&*"):
            try:
                for _ in _measured(scalar):
                    pass
            except TooLarge:
                raise
            except YAMLError:
                continue  # plain text


def _measured(text: str) -> Iterator[str]:
    """Texts of all scalars, with checks of size and depth."""
    sizes: dict[str, int] = {}  # anchor -> number of values
    open_anchors: list[tuple[str | None, int]] = []  # anchor of each open collection, and the total at its start
    total = 0
    for event in yaml.parse(text, Loader=_SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in (anchor for anchor, _ in open_anchors):
                raise TooLarge(f"its alias *{event.anchor} contains itself")
            total += sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            sizes |= {event.anchor: 1} if event.anchor else {}
            yield event.value
        elif isinstance(event, yaml.CollectionStartEvent):
            total += 1
            open_anchors.append((event.anchor, total - 1))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_anchors.pop()
            sizes |= {anchor: total - before} if anchor else {}
        if len(open_anchors) > MAX_DEPTH:
            raise TooLarge(f"it nests lists or mappings more than {MAX_DEPTH} levels deep")
        if total > MAX_VALUES:
            raise TooLarge(f"its aliases expand to more than {MAX_VALUES:,} values")
