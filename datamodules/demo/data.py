"""Data modules of the embedded sets: readers of the real sets on a rendered folder."""

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
"""Why what the embedded set is made of is not read of another set."""


class TaggingDemo(MTAT):
    """The embedded tagging set; with `root`, any set in MagnaTagATune's layout, such as MagnaTagATune itself.

    Args:
        pieces: how many pieces of each kind to render instead of all (chorale, waltz, jig, reel)
    """

    def __init__(self, root: str | None = None, pieces: dict[str, int] | None = None, **kwargs) -> None:
        super().__init__(root, **kwargs)
        if root is not None:
            warn_unread(type(self), {"pieces": pieces}, RENDERED)
        self.pieces = pieces or tagging.PIECES
        # Results are filed under this name: never that of the real set for the embedded one.
        self.name = "demo" if root is None else "mtat"

    def find_root(self) -> Path:
        """The named folder, or the embedded set, rendered on first use."""
        return tagging.build(self.cache_dir, self.pieces) if self.root is None else super().find_root()


class SeparationDemo(MUSDBHQ):
    """The embedded separation set; with `root`, any set in MUSDB18-HQ's layout, such as MUSDB18-HQ itself.

    Args:
        tunes: how many tunes to render instead of all 42
    """

    def __init__(self, root: str | None = None, tunes: int | None = None, **kwargs) -> None:
        super().__init__(root, **kwargs)
        if root is not None:
            warn_unread(type(self), {"tunes": tunes}, RENDERED)
        self.tunes = separation.TUNES if tunes is None else tunes
        self.name = "demo" if root is None else "musdb18hq"

    def find_root(self) -> Path:
        """The named folder, or the embedded set, rendered on first use."""
        return separation.build(self.cache_dir, self.tunes) if self.root is None else super().find_root()

    def read_tracks(self, root: Path) -> list[TrackFiles]:
        """As MUSDB18-HQ's, with validation tracks of the embedded set's own."""
        if self.root is None and self.validation == VALIDATION:
            self.validation = tuple(separation.validation_tracks(root))
        return super().read_tracks(root)


class SoundEventDemo(DCASE2018):
    """The embedded sound event set; with `root`, any set in DCASE 2018 task 4's layout with its ten classes.

    Args:
        clips: how many clips of each list to render instead of all (weak, unlabeled, validation, test)
        variants: how many of each class of sound for each split (train, validation, test)
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
        """The embedded set's ten classes, or those of the task."""
        return sorted(soundscapes.CLASSES) if self.root is None else super().classes

    def find_root(self) -> Path:
        """The named folder, or the embedded set, rendered on first use."""
        return soundscapes.build(self.cache_dir, *self.rendered) if self.root is None else super().find_root()


class AlignmentDemo(MAPS):
    """The embedded alignment set; with `root`, any set in MAPS' layout, such as MAPS itself.

    Args:
        pieces: how many pieces of each kind to render for every player instead of all (chorale, waltz, jig, reel)
    """

    def __init__(self, root: str | None = None, pieces: dict[str, int] | None = None, **kwargs) -> None:
        super().__init__(root, **kwargs)
        if root is None:
            refuse_unread(type(self), {"split": self.split}, "without --data.root, since its players are its splits")
        else:
            warn_unread(type(self), {"pieces": pieces}, RENDERED)
        self.pieces = pieces or alignment.PIECES
        self.name = "demo" if root is None else "maps"

    def find_root(self) -> Path:
        """The named folder, or the embedded set, rendered on first use."""
        return alignment.build(self.cache_dir, self.pieces) if self.root is None else super().find_root()

    def read_pairs(self, root: Path) -> Listing:
        """As MAPS', the embedded set split by its players, who share no piece."""
        listing = super().read_pairs(root)
        if self.root is not None:
            return listing
        return listing._replace(pairs=[pair._replace(split=alignment.split_of(pair.name)) for pair in listing.pairs])


class GenerationDemo(GenerationDataModule):
    """The embedded pieces, filed as the demo's; with `root`, a folder of the user's own music, if the corpus reads one."""

    @property
    def name(self) -> str:
        """Never that of a whole corpus for what the demo trains on."""
        return "demo" if self.root is None else super().name
