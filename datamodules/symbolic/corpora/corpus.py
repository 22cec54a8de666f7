"""A corpus: where pieces come from, which split each is in, and why others were left out."""

import copy
from pathlib import Path
from typing import ClassVar, Self

from datamodules.errors import DataError
from datamodules.symbolic.splitting import Dropped as Dropped
from datamodules.symbolic.splitting import Splits as Splits

_HERE = Path(__file__).parent
_PATTERNS = ("corpora/*.py", "reading/*.py", "piece.py", "grid.py", "keys.py", "voices.py", "splitting.py", "../repeats.py")
READERS = tuple(path for pattern in _PATTERNS for path in sorted(_HERE.parent.glob(pattern)))
"""Where a change may change what is read: every file that stands between the music and a piece."""


class Unwanted(ValueError):
    """A piece that a corpus leaves out; the sentence says why, without the piece's name."""


class Corpus:
    """Base of all corpora; subclasses take plain arguments, a folder `root` where the music is the user's.

    Raises DataError where the root or its layout is missing.
    """

    name: ClassVar[str]
    root: str | None = None

    def in_folder(self, root: str) -> Self:
        """The same corpus, whose music lies in another folder."""
        corpus = copy.copy(self)
        corpus.root = root
        return corpus

    def folder(self) -> Path:
        """The folder of the music. Raises DataError where the user has to name one and did not, or it is no folder."""
        raise NotImplementedError

    def read(self) -> Splits:
        """Parse everything; `datamodules.symbolic.pack` keeps the result, so that this happens once."""
        raise NotImplementedError

    def ingredients(self) -> list[object]:
        """What the result depends on, but for the music: the arguments, and the readers' own text (Path)."""
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

    layout: ClassVar[str]  # what `root` must name, in words

    def __init__(self, root: str | None = None) -> None:
        self.root = root

    def folder(self) -> Path:
        """The folder of the music. Raises DataError where none was named or it is no folder."""
        if self.root is None:
            raise DataError(f"No music was named: give --data.root, {self.layout}.")
        folder = Path(self.root).expanduser()
        if not folder.is_dir():
            raise DataError(f"{folder} is no folder: --data.root must name {self.layout}.")
        return folder

    def file(self, name: str) -> Path:
        """A file of the folder. Raises DataError where it is missing."""
        path = self.folder() / name
        if not path.is_file():
            raise DataError(f"{path} is missing: --data.root must name {self.layout}.")
        return path
