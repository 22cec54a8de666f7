"""Options of a data module that nothing reads in its present setting: refused or warned of by name, not ignored."""

import inspect
import logging
from collections.abc import Mapping
from typing import Any

from pytorch_lightning.utilities.rank_zero import rank_zero_only

from datamodules.common.errors import DataError

log = logging.getLogger(__name__)


def refuse_unread(kind: type, options: Mapping[str, Any], why: str) -> None:
    """Refuse options that would be ignored.

    Args:
        kind: class that takes them
        options: values by name; those that equal the default are taken to be left alone
        why: where they are not read and what reads them, as the end of a sentence

    Raises:
        DataError: one of them differs from its default.
    """
    if sentence := _sentence(kind, options, why):
        raise DataError(sentence)


def say_unread(kind: type, options: Mapping[str, Any], why: str) -> None:
    """Warn of options that are ignored, where configs name them that serve other settings too; see `refuse_unread`."""
    sentence = _sentence(kind, options, why)
    if sentence and getattr(rank_zero_only, "rank", 0) == 0:
        log.warning("%s", sentence)


def _sentence(kind: type, options: Mapping[str, Any], why: str) -> str:
    known = defaults(kind)
    unread = [f"--data.{name}" for name, value in options.items() if _plain(value) != _plain(known.get(name))]
    them = "it" if len(unread) == 1 else "them"
    return f"{kind.__name__} does not read {' and '.join(unread)} {why}: leave {them} out." if unread else ""


def defaults(kind: type) -> dict[str, Any]:
    """Defaults of everything that the constructors of a class and of its bases take."""
    values: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        parameters = inspect.signature(base.__init__).parameters.values() if "__init__" in vars(base) else ()
        values |= {one.name: one.default for one in parameters if one.default is not one.empty}
    return values


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
