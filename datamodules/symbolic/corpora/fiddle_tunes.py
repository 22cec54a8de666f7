"""Irish and Scottish dance tunes as music21 bundles them."""

from datamodules.symbolic.corpora.corpus import Splits
from datamodules.symbolic.corpora.packaged import Packaged, spread
from datamodules.symbolic.corpora.tunes import read_tunes

COLLECTIONS = ("oneills1850", "ryansMammoth", "airdsAirs")


class FiddleTunes(Packaged):
    """O'Neill's Music of Ireland (1903), Ryan's Mammoth Collection (1883) and Aird's Airs (1782 to 1803), about 4000 tunes.

    One voice with its key, metre, pickup and kind (reel, jig, ...); repeats are read once.

    Args:
        collections: of COLLECTIONS; null: the first two
        pieces: so many files alone, evenly spread; null: all (of O'Neill's a file holds 50 tunes)
    """

    name = "fiddle-tunes"

    def __init__(self, collections: list[str] | None = None, pieces: int | None = None) -> None:
        if unknown := [one for one in collections or [] if one not in COLLECTIONS]:
            raise ValueError(f"collections must be of {', '.join(COLLECTIONS)}: {', '.join(unknown)}")
        self.collections, self.pieces = list(collections or COLLECTIONS[:2]), pieces

    def read(self) -> Splits:
        """Parse everything."""
        files = [(path, one) for one in self.collections for path in sorted((self.folder() / one).glob("*.abc"))]
        return read_tunes(spread(files, self.pieces))
