"""Progress of long work: a bar in a terminal, else a line when it is done and one a minute before."""

import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, TextIO

EVERY_S = 60.0
"""Seconds between two lines."""


def progress(items: Iterable | None = None, desc: str = "", total: int | None = None, unit: str = "it", **options: Any) -> Any:
    """Bar to iterate over or to `update`, on standard error.

    Args:
        items: what is iterated over
        desc: what is done
        total: number of items, where they do not say it
        unit: name of an item
        options: `initial`, `disable`, and what else tqdm takes in a terminal
    """
    if sys.stderr.isatty():
        from tqdm import tqdm

        return tqdm(items, desc, total, unit=unit, dynamic_ncols=True, **options)
    return Lines(items, desc, total, unit, initial=options.get("initial", 0), disable=options.get("disable", False))


class Lines:
    """Progress as whole lines, for logs; has what the suite uses of tqdm.

    Args:
        items: what is iterated over
        desc: what is done
        total: number of items
        unit: name of an item
        initial: items done before
        disable: say nothing
        every_s: seconds between two lines
        file: default standard error
    """

    def __init__(
        self,
        items: Iterable | None = None,
        desc: str = "",
        total: int | None = None,
        unit: str = "it",
        initial: int = 0,
        disable: bool = False,
        every_s: float = EVERY_S,
        file: TextIO | None = None,
    ) -> None:
        self.items, self.desc, self.unit, self.disable = items, desc, unit, disable
        self.total = len(items) if total is None and hasattr(items, "__len__") else total
        self.n, self.initial, self.every_s = initial, initial, every_s
        self.postfix, self._file = "", file
        self._start = self._told = time.monotonic()

    def __iter__(self) -> Iterator[Any]:
        with self:
            for item in () if self.items is None else self.items:
                yield item
                self.update()

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def update(self, n: float = 1) -> None:
        """Count items; says so once a minute."""
        self.n += n
        if time.monotonic() - self._told >= self.every_s and self.n != self.total:
            of = "" if self.total is None else f" of {_number(self.total)}"
            self._write(f"{_number(self.n)}{of} {self._units()}")

    def close(self) -> None:
        """Say what was done, once."""
        if self.n > self.initial or self.postfix:
            self._write(f"{_number(self.n)} {self._units()}")
        self.disable = True

    def set_description_str(self, desc: str) -> None:
        """Name of the current item, which a bar shows: lines are of the whole."""

    def set_postfix_str(self, text: str) -> None:
        """Set the text after the count in the line that `close` writes."""
        self.postfix = text

    def _units(self) -> str:
        if self.n == 1:
            return self.unit
        noun, *rest = self.unit.split(" ", 1)
        return " ".join([f"{noun}{'es' if noun.endswith('ch') else 's'}", *rest])

    def _write(self, count: str) -> None:
        self._told = time.monotonic()
        if not self.disable:
            line = f"{self.desc}: {count} in {self._told - self._start:.0f} s"
            print(f"{line}, {self.postfix}" if self.postfix else line, file=self._file or sys.stderr, flush=True)


def _number(count: float) -> str:
    """A count to a tenth, such as `36` or `8.2`: seconds of audio are no whole numbers."""
    return f"{round(count, 1):.7g}"
