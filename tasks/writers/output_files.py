"""A folder of outputs that is filled as a whole or not at all."""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datamodules.common.errors import DataError
from datamodules.common.errors import counted as counted
from datamodules.common.whole import whole, write_json, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@contextmanager
def filled(place: Path, old: Sequence[str]) -> Iterator[Path]:
    """A folder to fill, whose files take their places at the end, or vanish; those of an earlier run go with them.

    old: names and patterns of what an earlier run may have left there. Raises DataError where nothing can be written.
    """
    temporary = place.with_name(f".{os.getpid()}.{place.name}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        place.mkdir(exist_ok=True)
        for left in [path for pattern in old for path in place.glob(pattern)]:
            left.unlink()
        for made in temporary.iterdir():
            made.replace(place / made.name)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"{place} cannot be written ({reason}): free space or choose another place by --output.folder") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


# File names of outputs, readable and safe on every system, and counts in words.


def slug(text: str) -> str:
    """File name of any text: letters, digits, `.`, `-` and `_`, at most 80 of them."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._")[:80] or "file"


def unique_stem(path: str) -> str:
    """File name for the outputs of an input path, different for equal names in two folders."""
    return f"{slug(Path(path).stem)}-{hashlib.sha256(path.encode()).hexdigest()[:6]}"


# Which strings may become the name of a file on any operating system, and which name one that is there.

RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{port}{k}" for port in ("COM", "LPT") for k in range(1, 10))}
"""Names of devices on Windows, with any ending."""

_FORBIDDEN = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]')
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
LONGEST = 100
"""Bytes: with a suffix and a prefix a name stays below the 255 of every file system."""


def is_plain_name(name: Any) -> bool:
    """Whether a name is one plain file name everywhere: no path, device, drive or stream, nothing invisible."""
    if not isinstance(name, str) or not name or _FORBIDDEN.search(name) or len(name.encode()) > LONGEST:
        return False
    return name.strip(" .") == name and name.split(".")[0].rstrip().upper() not in RESERVED


def is_plain_text(text: str) -> bool:
    """Whether a label can be printed and written into a table: not empty, no control characters."""
    return bool(text.strip()) and len(text) <= 1000 and not _CONTROL.search(text)


def names_file(text: str | Path) -> bool:
    """Whether a text is the path of a file; one that is too long for a path, or holds zeros, is none."""
    return os.path.isfile(text)  # noqa: PTH113


# Output files written whole or not at all: text, JSON and figures.

__all__ = ["whole", "write_figure", "write_json", "write_text"]


def write_figure(path: Path, figure: "Figure") -> Path:
    """Write a matplotlib figure as PNG; return its path."""
    with whole(Path(path)) as temporary:
        figure.savefig(temporary, format="png")
    return path


def check_writable(folder: Path) -> None:
    """Create a folder and a file in it. Raises DataError where that fails: before hours of separating, not after."""
    probe = folder / f".{os.getpid()}.probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise unwritable_output(folder, error) from error


def unwritable_output(folder: Path, error: Exception) -> DataError:
    reason = getattr(error, "strerror", None) or str(error) or "the disk is full"
    return DataError(f"{folder} cannot be written ({reason}): free space or choose another place by --output.folder")
