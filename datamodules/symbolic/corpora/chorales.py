"""Bach's chorales as music21 bundles them: the embedded corpus."""

from pathlib import Path

from datamodules.symbolic.corpora.chorale import read_chorale
from datamodules.symbolic.corpora.corpus import Splits
from datamodules.symbolic.corpora.gathering import gather
from datamodules.symbolic.corpora.packaged import Packaged, spread
from datamodules.symbolic.piece import Piece
from datamodules.symbolic.splitting import distinct, divide, melody_groups


class Chorales(Packaged):
    """Four voices in 4/4 or 3/4 on sixteenths, with pickup, key, metre and fermatas; 80, 10 and 10 of a hundred.

    All settings of a melody are in one split.

    Args:
        pieces: so many scores alone, evenly spread; null: all
    """

    name = "chorales"
    bundle = "bach"

    def __init__(self, pieces: int | None = None) -> None:
        self.pieces = pieces

    def read(self) -> Splits:
        """Parse everything."""
        files = spread(sorted(self.folder().glob("*.mxl")), self.pieces)
        pieces, dropped = gather(_chorale, [(path, f"bach/{path.stem}") for path in files], "chorales")
        pieces, repeated = distinct(pieces)
        return divide(pieces, dropped + repeated, melody_groups(pieces))


def _chorale(path: Path, name: str) -> list[Piece]:
    return [read_chorale(path, name)]
