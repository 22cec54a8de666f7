"""A corpus: where pieces come from, which split each is in, and why others were left out."""

from pathlib import Path
from typing import ClassVar, NamedTuple

from datamodules.symbolic.piece import Piece


class Dropped(NamedTuple):
    """A file or piece that is in no split, and the reason in one sentence that names it."""

    name: str
    reason: str
    damaged: bool  # the file cannot be read, as against a piece that is not wanted


class Splits(NamedTuple):
    """Pieces of each split, and what was left out."""

    train: list[Piece]
    validation: list[Piece]
    test: list[Piece]
    dropped: list[Dropped]


class Corpus:
    """Base of all corpora; subclasses take plain arguments, a folder `root` where the music is the user's.

    Raises DataError where the root or its layout is missing.
    """

    name: ClassVar[str]
    root: str | None = None

    def folder(self) -> Path:
        """The folder of the music. Raises DataError where the user has to name one and did not, or it is no folder."""
        raise NotImplementedError

    def read(self) -> Splits:
        """Parse everything; `datamodules.symbolic.pack` keeps the result, so that this happens once."""
        raise NotImplementedError

    def ingredients(self) -> list[object]:
        """What the result depends on: arguments, source files of the readers (Path), files of the music (Path)."""
        raise NotImplementedError

    def sources(self) -> list[Path]:
        """Files of the music, in order."""
        return []
