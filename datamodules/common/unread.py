"""Checks for options of a data module that have no effect in its present setting: an error or a warning by name."""

import inspect
import logging
from collections.abc import Mapping
from typing import Any

from pytorch_lightning.utilities.rank_zero import rank_zero_only

from datamodules.common.errors import DataError

log = logging.getLogger(__name__)


def refuse_unread(kind: type, options: Mapping[str, Any], why: str) -> None:
    """Raise DataError if an option without effect differs from its default.

    Args:
        kind: class that takes the options
        options: values by name
        why: setting in which they have no effect, as the end of a sentence
    """
    if sentence := _sentence(kind, options, why):
        raise DataError(sentence)


def warn_unread(kind: type, options: Mapping[str, Any], why: str) -> None:
    """Like `refuse_unread`, as a warning, for options that a shared config sets."""
    sentence = _sentence(kind, options, why)
    if sentence and getattr(rank_zero_only, "rank", 0) == 0:
        log.warning("%s", sentence)


def _sentence(kind: type, options: Mapping[str, Any], why: str) -> str:
    known = defaults(kind)
    unread = [f"--data.{name}" for name, value in options.items() if _plain(value) != _plain(known.get(name))]
    them = "it" if len(unread) == 1 else "them"
    return f"{kind.__name__} does not read {' and '.join(unread)} {why}: leave {them} out." if unread else ""


def defaults(kind: type) -> dict[str, Any]:
    """Default values of the constructor arguments of a class and its bases."""
    values: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        parameters = inspect.signature(base.__init__).parameters.values() if "__init__" in vars(base) else ()
        values |= {parameter.name: parameter.default for parameter in parameters if parameter.default is not parameter.empty}
    return values


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
