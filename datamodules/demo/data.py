"""Data modules of the embedded sets, which have the layouts of the real sets."""

from pathlib import Path

from datamodules.alignment.listing import Listing
from datamodules.alignment.sets import MAPS
from datamodules.common.unread import refuse_unread, warn_unread
from datamodules.demo import alignment, separation, soundscapes, tagging
from datamodules.generation.data import GenerationDataModule
from datamodules.sed.dcase import DCASE2018
from datamodules.separation.musdb import MUSDBHQ, VALIDATION
from datamodules.separation.tracks import TrackFiles
from datamodules.tagging.mtat import MTAT

RENDERED = "beside --data.root, since the embedded set alone is rendered"
"""Reason why options of the embedded set are ignored for another set."""


class TaggingDemo(MTAT):
    """Embedded tagging set; with `root`, any set in the layout of MagnaTagATune.

    Args:
        pieces: number of pieces of each kind (chorale, waltz, jig, reel); null: all
    """

    def __init__(self, root: str | None = None, pieces: dict[str, int] | None = None, **kwargs) -> None:
        super().__init__(root, **kwargs)
        if root is not None:
            warn_unread(type(self), {"pieces": pieces}, RENDERED)
        self.pieces = pieces or tagging.PIECES
        # Results are stored under this name, which must differ from that of the real set.
        self.name = "demo" if root is None else "mtat"

    def find_root(self) -> Path:
        return tagging.build(self.cache_dir, self.pieces) if self.root is None else super().find_root()


class SeparationDemo(MUSDBHQ):
    """Embedded separation set; with `root`, any set in the layout of MUSDB18-HQ.

    Args:
        tunes: number of tunes; null: all 42
    """

    def __init__(self, root: str | None = None, tunes: int | None = None, **kwargs) -> None:
        super().__init__(root, **kwargs)
        if root is not None:
            warn_unread(type(self), {"tunes": tunes}, RENDERED)
        self.tunes = separation.TUNES if tunes is None else tunes
        self.name = "demo" if root is None else "musdb18hq"

    def find_root(self) -> Path:
        return separation.build(self.cache_dir, self.tunes) if self.root is None else super().find_root()

    def read_tracks(self, root: Path) -> list[TrackFiles]:
        if self.root is None and self.validation == VALIDATION:
            self.validation = tuple(separation.validation_tracks(root))
        return super().read_tracks(root)


class SoundEventDemo(DCASE2018):
    """Embedded sound event set; with `root`, any set in the layout of DCASE 2018 task 4 with its ten classes.

    Args:
        clips: number of clips of each list (weak, unlabeled, validation, test); null: all
        variants: number of sounds of each class per split (train, validation, test)
    """

    def __init__(
        self,
        root: str | None = None,
        clips: dict[str, int] | None = None,
        variants: dict[str, int] | None = None,
        **kwargs,
    ) -> None:
        super().__init__(root, **kwargs)
        if root is not None:
            warn_unread(type(self), {"clips": clips, "variants": variants}, RENDERED)
        self.rendered = clips or soundscapes.CLIPS, variants or soundscapes.VARIANTS
        self.name = "demo" if root is None else "dcase2018"

    @property
    def classes(self) -> list[str]:
        return sorted(soundscapes.CLASSES) if self.root is None else super().classes

    def find_root(self) -> Path:
        return soundscapes.build(self.cache_dir, *self.rendered) if self.root is None else super().find_root()


class AlignmentDemo(MAPS):
    """Embedded alignment set; with `root`, any set in the layout of MAPS.

    Args:
        pieces: number of pieces of each kind (chorale, waltz, jig, reel) per player; null: all
    """

    def __init__(self, root: str | None = None, pieces: dict[str, int] | None = None, **kwargs) -> None:
        super().__init__(root, **kwargs)
        if root is None:
            refuse_unread(type(self), {"split": self.split}, "without --data.root, since its splits are by player")
        else:
            warn_unread(type(self), {"pieces": pieces}, RENDERED)
        self.pieces = pieces or alignment.PIECES
        self.name = "demo" if root is None else "maps"

    def find_root(self) -> Path:
        return alignment.build(self.cache_dir, self.pieces) if self.root is None else super().find_root()

    def read_pairs(self, root: Path) -> Listing:
        listing = super().read_pairs(root)
        if self.root is not None:
            return listing
        return listing._replace(pairs=[pair._replace(split=alignment.split_of(pair.name)) for pair in listing.pairs])


class GenerationDemo(GenerationDataModule):
    """Embedded pieces; with `root`, a folder of music, if the corpus reads one."""

    @property
    def name(self) -> str:
        """Name of the results, which must differ from that of a whole corpus."""
        return "demo" if self.root is None else super().name
