"""Corpora of music files: any folder of MIDI, MusicXML and ABC, and scores of composers bundled with music21."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar

from datamodules.common.errors import DataError
from datamodules.common.file_search import files_under
from datamodules.common.unread import refuse_unread
from datamodules.generation.corpora.corpus import OwnMusic, Packaged, Splits, Unwanted, gather
from datamodules.generation.piece import Piece
from datamodules.generation.reading import MUSIC, MUSICXML, read_piece, read_pieces
from datamodules.generation.splitting import SHARES, distinct, divide

FOLDERS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
"""Folder in the root -> split."""
FEWEST = 2  # notes of a piece


class MusicFolder(OwnMusic):
    """All music files of a folder at any depth; unreadable files are left out and reported.

    Folders train, validation (valid, val, dev) and test define the splits if the root has them; other files are training files,
    and a missing split is drawn from train. Else splits are drawn by a hash of the names, and duplicates (same notes) are
    removed. The composer is the name of the first folder below.

    Args:
        root: the folder
        metres: keep only pieces in one of these metres, such as 4/4, without changes; null: all
        shares: shares of validation and test if they are drawn
    """

    name = "folder"
    layout = f"a folder of music ({' '.join(MUSIC)}), at any depth"

    def __init__(self, root: str | None = None, metres: list[str] | None = None, shares: tuple[float, float] = SHARES) -> None:
        super().__init__(root)
        if min(shares) < 0 or sum(shares) >= 1:
            raise ValueError(f"shares must not be negative and leave something to train: {shares}")
        self.metres, self.shares = None if metres is None else list(metres), tuple(shares)

    def sources(self) -> list[Path]:
        """Music files sorted by name, without hidden files. Raises DataError if there is none."""
        root = self.folder()
        files = (path for path in files_under(root, MUSIC) if not any(part[0] == "." for part in path.relative_to(root).parts))
        paths = sorted(files)
        if not paths:
            raise DataError(f"{root} holds no music: --data.root must name {self.layout}.")
        return paths

    def read(self) -> Splits:
        """Parse everything."""
        root = self.folder()
        files = [(path, path.relative_to(root).as_posix()) for path in self.sources()]
        pieces, dropped = gather(_pieces, files, "music", partial(_check, metres=self.metres))
        fixed = [FOLDERS.get(piece.name.split("/")[0].lower()) if "/" in piece.name else None for piece in pieces]
        if not any(fixed):
            pieces, repeated = distinct(pieces)
            return divide(pieces, dropped + repeated, shares=self.shares)
        splits = {
            split: [p for p, own in zip(pieces, fixed, strict=True) if (own or "train") == split] for split in FOLDERS.values()
        }
        if splits["validation"] and splits["test"]:
            refuse_unread(type(self), {"shares": self.shares}, f"where {root} has folders for validation and test")
        lacking = [0.0 if splits[split] else share for split, share in zip(("validation", "test"), self.shares, strict=True)]
        drawn = divide(splits["train"], shares=lacking)
        return Splits(drawn.train, splits["validation"] or drawn.validation, splits["test"] or drawn.test, dropped)


def _pieces(path: Path, name: str) -> list[Piece]:
    folders = name.split("/")[:-1]
    if folders and folders[0].lower() in FOLDERS:
        folders = folders[1:]
    result = read_pieces(path)
    names = [name] if len(result) == 1 else [f"{name}:{number}" for number in range(1, len(result) + 1)]
    return [
        replace(piece, name=own, composer=folders[0] if folders else piece.composer)
        for piece, own in zip(result, names, strict=True)
    ]


def _check(piece: Piece, metres: Sequence[str] | None) -> None:
    if len(piece.notes) < FEWEST:
        raise Unwanted("it has a single note")
    written = list(dict.fromkeys(f"{over}/{under}" for _, over, under in piece.metres.tolist()))
    if metres is not None and (len(written) > 1 or written[0] not in metres):
        raise Unwanted(f"its metre is {', then '.join(written)}, not one that stays and is {' or '.join(metres)}")


COMPOSER_FOLDERS = {
    "Beethoven": "beethoven",
    "Haydn": "haydn",
    "Monteverdi": "monteverdi",
    "Mozart": "mozart",
    "Clara Schumann": "schumann_clara",
    "Robert Schumann": "schumann_robert",
}
"""Composer -> folder of music21 with MusicXML files."""


class Composers(Packaged):
    """Movements and madrigals, mostly of string quartets and five voices; split by a hash of the file's name.

    Args:
        composers: names of FOLDERS; null: all
    """

    name = "composers"
    bundle: ClassVar[str] = ""

    def __init__(self, composers: list[str] | None = None) -> None:
        if unknown := [item for item in composers or [] if item not in COMPOSER_FOLDERS]:
            raise ValueError(f"composers must be of {', '.join(COMPOSER_FOLDERS)}: {', '.join(unknown)}")
        self.composers = sorted(composers or COMPOSER_FOLDERS)

    def read(self) -> Splits:
        """Parse everything."""
        pieces, dropped = [], []
        for composer in self.composers:
            folder = self.folder() / COMPOSER_FOLDERS[composer]
            files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in MUSICXML)
            names = [path.relative_to(folder.parent).with_suffix("").as_posix() for path in files]
            read = partial(_movement, composer=composer)
            movements, left_out = gather(read, list(zip(files, names, strict=True)), f"scores of {composer}")
            pieces += movements
            dropped += left_out
        pieces, repeated = distinct(pieces)
        return divide(pieces, dropped + repeated)


def _movement(path: Path, name: str, composer: str) -> list[Piece]:
    return [replace(read_piece(path), name=name, composer=composer)]
