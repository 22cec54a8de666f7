"""Scores of several composers that music21 bundles: what `--data.composer` chooses from."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar

from datamodules.symbolic.corpora.corpus import Splits
from datamodules.symbolic.corpora.gathering import gather
from datamodules.symbolic.corpora.packaged import Packaged
from datamodules.symbolic.piece import Piece
from datamodules.symbolic.reading import MUSICXML, read_piece
from datamodules.symbolic.splitting import distinct, divide

FOLDERS = {
    "Beethoven": "beethoven",
    "Haydn": "haydn",
    "Monteverdi": "monteverdi",
    "Mozart": "mozart",
    "Clara Schumann": "schumann_clara",
    "Robert Schumann": "schumann_robert",
}
"""Composer -> the folder of music21's with several movements or madrigals of theirs in MusicXML."""


class Composers(Packaged):
    """Movements and madrigals, mostly of string quartets and five voices; split by a hash of the file's name.

    Args:
        composers: names of FOLDERS; null: all
    """

    name = "composers"
    bundle: ClassVar[str] = ""

    def __init__(self, composers: list[str] | None = None) -> None:
        if unknown := [one for one in composers or [] if one not in FOLDERS]:
            raise ValueError(f"composers must be of {', '.join(FOLDERS)}: {', '.join(unknown)}")
        self.composers = sorted(composers or FOLDERS)

    def read(self) -> Splits:
        """Parse everything."""
        pieces, dropped = [], []
        for composer in self.composers:
            folder = self.folder() / FOLDERS[composer]
            files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in MUSICXML)
            names = [path.relative_to(folder.parent).with_suffix("").as_posix() for path in files]
            read = partial(_movement, composer=composer)
            found, left_out = gather(read, list(zip(files, names, strict=True)), f"scores of {composer}")
            pieces += found
            dropped += left_out
        pieces, repeated = distinct(pieces)
        return divide(pieces, dropped + repeated)


def _movement(path: Path, name: str, composer: str) -> list[Piece]:
    return [replace(read_piece(path), name=name, composer=composer)]
