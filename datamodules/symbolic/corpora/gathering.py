"""Files -> pieces: one after the other or in several processes, a bad file never in the way of the others."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from datamodules.errors import DataError
from datamodules.progress import progress
from datamodules.symbolic.corpora.corpus import Dropped, Unwanted
from datamodules.symbolic.piece import Piece
from datamodules.workers import in_processes

MANY = 64
"""Files from which on several processes read them."""
Read = Callable[[Path, str], list[Piece]]
Check = Callable[[Piece], None]


def gather(
    read: Read, files: Sequence[tuple[Path, str]], what: str, check: Check | None = None
) -> tuple[list[Piece], list[Dropped]]:
    """The pieces of all files in order, and for each file or piece that is left out the reason.

    read: of (path, name of the piece or of the file's pieces); raises DataError for a damaged file and Unwanted for one
        that is left out
    what: the files in words, for the progress bar
    check: raises Unwanted for a piece that is left out
    """

    attempt = partial(_attempt, read, check)
    results = in_processes(attempt, files) if len(files) >= MANY else (attempt(*file) for file in files)
    pieces: list[Piece] = []
    dropped: list[Dropped] = []
    for found in progress(results, f"reading {what}", len(files), "file", disable=len(files) < MANY):
        for one in found:
            (dropped if isinstance(one, Dropped) else pieces).append(one)
    return pieces, dropped


def _attempt(read: Read, check: Check | None, path: Path, name: str) -> list[Piece | Dropped]:
    try:
        pieces = read(path, name)
    except Unwanted as reason:
        return [Dropped(name, f"{name}: {reason}", False)]
    except DataError as error:
        return [Dropped(name, str(error), True)]
    return [_checked(piece, check) for piece in pieces] if check else pieces


def _checked(piece: Piece, check: Check) -> Piece | Dropped:
    try:
        check(piece)
    except Unwanted as reason:
        return Dropped(piece.name, f"{piece.name}: {reason}", False)
    return piece
