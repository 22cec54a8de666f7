"""Progress of long work: a tqdm bar in a terminal, else log lines once a minute and at the end."""

import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, TextIO

EVERY_S = 60.0
"""Seconds between two lines."""


def progress(items: Iterable | None = None, desc: str = "", total: int | None = None, unit: str = "it", **options: Any) -> Any:
    """Progress bar on standard error, to iterate over or to `update`.

    Args:
        items: iterable
        desc: description of the work
        total: number of items; default: `len(items)`
        unit: noun of an item
        options: `initial`, `disable`, and further options of tqdm
    """
    if sys.stderr.isatty():
        from tqdm import tqdm

        return tqdm(items, desc, total, unit=unit, dynamic_ncols=True, **options)
    return Lines(items, desc, total, unit, initial=options.get("initial", 0), disable=options.get("disable", False))


class Lines:
    """Progress as lines of text, with the part of tqdm's interface that the suite uses.

    Args:
        items: iterable
        desc: description of the work
        total: number of items
        unit: noun of an item
        initial: items done before
        disable: print nothing
        every_s: seconds between two lines
        file: default: standard error
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
        self._start = self._printed = time.monotonic()

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
        """Count items; prints a line once a minute."""
        self.n += n
        if time.monotonic() - self._printed >= self.every_s and self.n != self.total:
            total = "" if self.total is None else f" of {_number(self.total)}"
            self._write(f"{_number(self.n)}{total} {self._units()}")

    def close(self) -> None:
        """Print the final line, once."""
        if self.n > self.initial or self.postfix:
            self._write(f"{_number(self.n)} {self._units()}")
        self.disable = True

    def set_description_str(self, desc: str) -> None:
        """Do nothing: only a bar shows the current item."""

    def set_postfix_str(self, text: str) -> None:
        """Set the text after the count in the final line."""
        self.postfix = text

    def _units(self) -> str:
        if self.n == 1:
            return self.unit
        noun, *rest = self.unit.split(" ", 1)
        return " ".join([f"{noun}{'es' if noun.endswith('ch') else 's'}", *rest])

    def _write(self, count: str) -> None:
        self._printed = time.monotonic()
        if not self.disable:
            line = f"{self.desc}: {count} in {self._printed - self._start:.0f} s"
            print(f"{line}, {self.postfix}" if self.postfix else line, file=self._file or sys.stderr, flush=True)


def _number(count: float) -> str:
    """Count rounded to a tenth, such as `36` or `8.2` (seconds of audio)."""
    return f"{round(count, 1):.7g}"
