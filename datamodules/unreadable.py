"""Items that cannot be read: named once in a run, and in training replaced by others."""

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from datamodules.base import mix
from datamodules.errors import DataError, printable

log = logging.getLogger(__name__)

RETRIES = 20

Item = TypeVar("Item")


class NamedOnce:
    """Flags of `count` items that could not be read, shared by the loader processes of a run, so that each is named once."""

    def __init__(self, count: int) -> None:
        self.named = torch.zeros(count, dtype=torch.uint8).share_memory_()

    def report(self, item: int, error: DataError, strict: bool) -> None:
        """Say that an item is left out and why, once; raise instead if strict."""
        if strict:
            raise error
        if not self.named[item]:
            self.named[item] = 1
            log.warning("Left out: %s", printable(str(error)))

    def rows(self) -> list[int]:
        """Positions of the items that were named."""
        return self.named.nonzero().flatten().tolist()


def until_read(read: Callable[[int], Item | None], what: str) -> Item:
    """The first of `read(0)`, `read(1)`, ... that is not None. Raises DataError where RETRIES of `what` in a row are."""
    for attempt in range(RETRIES):
        if (item := read(attempt)) is not None:
            return item
    raise DataError(f"{RETRIES} training {what} in a row cannot be read: check the data set with the `prepare` verb.")


def or_another(read: Callable[[int], Item | None], first: int, clips: int, seed: int) -> Item:
    """What `read(first)` gives, or where that is None of another of so many clips, drawn by the seed."""
    return until_read(lambda attempt: read(mix(seed, attempt) % clips if attempt else first), "clips")
