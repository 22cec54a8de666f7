"""Memory that the C library keeps for itself after tensors are gone."""

import ctypes
import functools
import sys
from collections.abc import Callable


def give_back() -> None:
    """Return it to the system, where that can be asked for (glibc); a tenth of a gigabyte beside a few windows of music."""
    if trim := _trim():
        trim(0)


@functools.cache
def _trim() -> Callable[[int], int] | None:
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
