"""YAML of bounded size: texts that expand without end, nest too deeply or contain themselves are refused before they are read."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from yaml import YAMLError

from datamodules.common.errors import DataError

LONGEST = 20_000_000
"""Characters of a text."""
LARGEST = 200_000
"""Values that a text stands for, aliases counted as what they repeat."""
DEEPEST = 60
"""Levels of lists and mappings; the suite's own configs have at most 12."""

_SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

__all__ = ["BoundedLoader", "TooLarge", "YAMLError", "check_yaml", "load_yaml", "read_yaml"]


class TooLarge(YAMLError):
    """A text beyond the bounds."""


def load_yaml(text: str) -> Any:
    """Content of a YAML text, plain types only.

    Raises:
        YAMLError: no YAML, or beyond the bounds.
    """
    check_yaml(text)
    try:
        return yaml.load(text, Loader=_SafeLoader)
    except (ValueError, RecursionError, OverflowError) as error:  # a day 45, a number of 5,000 digits
        raise YAMLError(str(error)) from error


def read_yaml(path: Path) -> Any:
    """Content of a YAML file.

    Raises:
        DataError: the file cannot be read, is no YAML, or beyond the bounds.
    """
    try:
        return load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, YAMLError) as error:
        raise DataError(f"{path} cannot be read as YAML ({' '.join(str(error).split())[:200]})") from error


class BoundedLoader:
    """YAML loader that refuses texts beyond the bounds before another one reads them."""

    def __init__(self, loader: Callable[..., Any]) -> None:
        self.loader = loader

    def __call__(self, text: str, **options: Any) -> Any:
        check_yaml(text)
        return self.loader(text, **options)


def check_yaml(text: str) -> None:
    """Measure a text by its events, which need no memory however much it expands to.

    A text inside it that a parser would read as YAML again is measured too.

    Raises:
        YAMLError: no YAML, or beyond the bounds.
    """
    if len(text) > LONGEST:
        raise TooLarge(f"it has {len(text):,} characters, {LONGEST:,} at most are read")
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
    """Texts of all scalars, while sizes and depth are counted."""
    sizes: dict[str, int] = {}  # of what each finished anchor stands for
    open_anchors: list[tuple[str | None, int]] = []  # anchor of each open collection, and the total where it began
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
        if len(open_anchors) > DEEPEST:
            raise TooLarge(f"it nests lists or mappings more than {DEEPEST} deep")
        if total > LARGEST:
            raise TooLarge(f"its aliases expand to more than {LARGEST:,} values")
