"""The Nottingham Music Database as ABC, with chords."""

from pathlib import Path

from datamodules.errors import DataError
from datamodules.symbolic.corpora.corpus import OwnMusic, Splits
from datamodules.symbolic.corpora.tunes import read_tunes

KINDS = {"hpps": "hornpipe", "jigs": "jig", "morris": "morris", "playford": "playford", "reels": "reel", "slip": "slipjig"}
KINDS |= {"waltzes": "waltz", "xmas": "carol"}


class Nottingham(OwnMusic):
    """1034 British and American folk tunes with chord symbols, one voice each; split by a hash of the tune.

    The kind is the file's (jigs, reels, hpps, ...).

    Args:
        root: folder with the ABC files, at any depth
    """

    name = "nottingham"
    layout = "the folder with jigs.abc, reelsa-c.abc, ... (jukedeck/nottingham-dataset, ABC_cleaned)"

    def sources(self) -> list[Path]:
        """The ABC files, sorted; of a whole checkout the cleaned ones. Raises DataError where there is none."""
        folder = self.folder()
        cleaned = folder / "ABC_cleaned"
        paths = sorted((cleaned if cleaned.is_dir() else folder).rglob("*.abc"))
        if not paths:
            raise DataError(f"{folder} holds no ABC files: --data.root must name {self.layout}.")
        return paths

    def read(self) -> Splits:
        """Parse everything."""
        return read_tunes([(path, "nottingham") for path in self.sources()], KINDS)
