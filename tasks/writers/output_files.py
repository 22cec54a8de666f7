"""Output files and folders of a run: atomic writes, portable file names, checks of untrusted names."""

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
from datamodules.common.whole import whole
from datamodules.common.whole import write_json as write_json
from datamodules.common.whole import write_text as write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@contextmanager
def filled(folder: Path, old: Sequence[str]) -> Iterator[Path]:
    """Temporary folder to fill, whose files are moved to `folder` at the end, or removed after an error.

    Args:
        folder: output folder
        old: names and patterns of an earlier run's files to remove

    Raises:
        DataError: the folder cannot be written.
    """
    temporary = folder.with_name(f".{os.getpid()}.{folder.name}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        folder.mkdir(exist_ok=True)
        for outdated in [path for pattern in old for path in folder.glob(pattern)]:
            outdated.unlink()
        for path in temporary.iterdir():
            path.replace(folder / path.name)
    except OSError as error:
        raise unwritable_output(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def slug(text: str) -> str:
    """File name of a text: letters, digits, `.`, `-` and `_`, at most 80 characters."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._")[:80] or "file"


def unique_stem(path: str) -> str:
    """File name for the outputs of an input path, different for equal names in two folders."""
    return f"{slug(Path(path).stem)}-{hashlib.sha256(path.encode()).hexdigest()[:6]}"


RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{port}{k}" for port in ("COM", "LPT") for k in range(1, 10))}
"""Device names on Windows, with any suffix."""

_FORBIDDEN = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]')
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
LONGEST = 100
"""Bytes of a plain name: with prefix and suffix it is below the 255 bytes of every file system."""


def is_plain_name(name: Any) -> bool:
    """True for a valid file name on every system: no path, device, drive, stream or invisible character."""
    if not isinstance(name, str) or not name or _FORBIDDEN.search(name) or len(name.encode()) > LONGEST:
        return False
    return name.strip(" .") == name and name.split(".")[0].rstrip().upper() not in RESERVED


def is_plain_text(text: str) -> bool:
    """True for a label that can be printed and written into a table: not empty, no control characters."""
    return bool(text.strip()) and len(text) <= 1000 and not _CONTROL.search(text)


def names_file(text: str | Path) -> bool:
    """True for the path of an existing file; False for a text that is too long for a path or has null characters."""
    return os.path.isfile(text)  # noqa: PTH113


def save_png(figure: "Figure", target: Any) -> None:
    """Write a figure as PNG to a path or binary file: the bytes of `savefig`, drawn once instead of twice."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure).print_png(target)


def write_figure(path: Path, figure: "Figure") -> Path:
    """Write a matplotlib figure as PNG; returns its path."""
    with whole(Path(path)) as temporary:
        save_png(figure, temporary)
    return path


def check_writable(folder: Path) -> None:
    """Create a folder and a file in it, to detect errors before a long computation.

    Raises:
        DataError: the folder cannot be written.
    """
    probe = folder / f".{os.getpid()}.probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise unwritable_output(folder, error) from error


def unwritable_output(folder: Path, error: Exception) -> DataError:
    """Error for an output folder that cannot be written."""
    reason = getattr(error, "strerror", None) or str(error) or "the disk is full"
    return DataError(f"{folder} cannot be written ({reason}): free space or choose another folder with --output.folder")
