"""Base classes of corpora: files -> pieces in splits, with reasons for those left out."""

import copy
import importlib.util
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import ClassVar, Self

from datamodules.common.errors import DataError
from datamodules.common.progress import progress
from datamodules.common.workers import in_processes
from datamodules.generation.piece import Piece
from datamodules.generation.splitting import Dropped as Dropped
from datamodules.generation.splitting import Splits as Splits

_HERE = Path(__file__).parent
_PATTERNS = ("corpora/*.py", "reading/*.py", "piece.py", "grid.py", "harmony.py", "voices.py", "splitting.py")
READERS = tuple(path for pattern in _PATTERNS for path in sorted(_HERE.parent.glob(pattern)))
"""Source files whose changes invalidate packs: all code between the music and a piece."""


class Unwanted(ValueError):
    """A piece that a corpus leaves out; the message gives the reason without the piece's name."""


class Corpus:
    """Base of all corpora; subclasses take plain arguments, and a folder `root` for the user's music.

    Raises DataError if the root or its layout is missing.
    """

    name: ClassVar[str]
    root: str | None = None

    def in_folder(self, root: str) -> Self:
        """Copy of the corpus that reads another folder."""
        corpus = copy.copy(self)
        corpus.root = root
        return corpus

    def folder(self) -> Path:
        """Folder of the music. Raises DataError if it is missing."""
        raise NotImplementedError

    def read(self) -> Splits:
        """Parse all pieces; `datamodules.generation.pack` caches the result."""
        raise NotImplementedError

    def ingredients(self) -> list[object]:
        """Dependencies of the result besides the music: arguments and source files of the readers (Path)."""
        arguments = {name: value for name, value in vars(self).items() if name != "root"}
        return [type(self).__qualname__, sorted(arguments.items()), *READERS]

    def sources(self) -> list[Path]:
        """Files of the music, in order."""
        return []


class OwnMusic(Corpus):
    """Base of the corpora whose music the user has on disk.

    Args:
        root: folder of the music
    """

    layout: ClassVar[str]  # description of `root`

    def __init__(self, root: str | None = None) -> None:
        self.root = root

    def folder(self) -> Path:
        """Folder of the music. Raises DataError if none was named or it is not a folder."""
        if self.root is None:
            raise DataError(f"No music was named: give --data.root, {self.layout}.")
        folder = Path(self.root).expanduser()
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder: --data.root must name {self.layout}.")
        return folder

    def file(self, name: str) -> Path:
        """A file of the folder. Raises DataError if it is missing."""
        path = self.folder() / name
        if not path.is_file():
            raise DataError(f"{path} is missing: --data.root must name {self.layout}.")
        return path


MANY = 64
"""Number of files from which several processes are used."""
Read = Callable[[Path, str], list[Piece]]
Check = Callable[[Piece], None]


def gather(
    read: Read, files: Sequence[tuple[Path, str]], what: str, check: Check | None = None
) -> tuple[list[Piece], list[Dropped]]:
    """Read the pieces of all files in order; returns them and the files and pieces left out with reasons.

    read: (path, name of the piece or of the file's pieces) -> pieces; raises DataError for a damaged file and Unwanted for a
        file that is left out
    what: the files in words, for the progress bar
    check: raises Unwanted for a piece that is left out
    """
    attempt = partial(_attempt, read, check)
    results = in_processes(attempt, files) if len(files) >= MANY else (attempt(*file) for file in files)
    pieces: list[Piece] = []
    dropped: list[Dropped] = []
    for items in progress(results, f"reading {what}", len(files), "file", disable=len(files) < MANY):
        for item in items:
            (dropped if isinstance(item, Dropped) else pieces).append(item)
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


class Packaged(Corpus):
    """Base of the corpora bundled in the music21 wheel, which is not imported (it takes seconds)."""

    bundle: ClassVar[str] = ""  # the folder

    def folder(self) -> Path:
        """The folder in the wheel. Raises DataError if it is absent."""
        spec = importlib.util.find_spec("music21")
        path = Path(spec.origin).with_name("corpus") / self.bundle if spec and spec.origin else None
        if path is None or not path.is_dir():
            raise DataError(f"the scores bundled with music21 ({self.name}) are missing: pip install --force-reinstall music21")
        return path

    def ingredients(self) -> list[object]:
        """Arguments, readers and the package's version."""
        try:
            return [*super().ingredients(), version("music21")]
        except PackageNotFoundError:
            return super().ingredients()


def spread(items: list, number: int | None) -> list:
    """Evenly spaced selection of `number` items; None: all."""
    if number is None or number >= len(items):
        return items
    return [items[index * len(items) // number] for index in range(number)]
