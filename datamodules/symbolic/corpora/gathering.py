"""Files -> pieces: one after the other or in several processes, a bad file never in the way of the others."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from datamodules.errors import DataError
from datamodules.symbolic.corpora.corpus import Dropped, Unwanted
from datamodules.symbolic.piece import Piece
from datamodules.workers import in_processes

MANY = 64
"""Files from which on several processes read them."""


def gather(
    read: Callable[[Path, str], list[Piece]], files: Sequence[tuple[Path, str]], what: str
) -> tuple[list[Piece], list[Dropped]]:
    """The pieces of all files in order, and for each file without any the reason.

    read: of (path, name of the piece or of the file's pieces); raises DataError for a damaged file and Unwanted for one
        that is left out
    what: the files in words, for the progress bar
    """
    from tqdm import tqdm

    attempt = partial(_attempt, read)
    results = in_processes(attempt, files) if len(files) >= MANY else (attempt(*file) for file in files)
    pieces: list[Piece] = []
    dropped: list[Dropped] = []
    for result in tqdm(results, f"reading {what}", len(files), unit="file", dynamic_ncols=True, disable=len(files) < MANY):
        if isinstance(result, Dropped):
            dropped.append(result)
        else:
            pieces += result
    return pieces, dropped


def _attempt(read: Callable[[Path, str], list[Piece]], path: Path, name: str) -> list[Piece] | Dropped:
    try:
        return read(path, name)
    except Unwanted as reason:
        return Dropped(name, f"{name}: {reason}", False)
    except DataError as error:
        return Dropped(name, str(error), True)
