"""Data modules of published alignment sets, in the layouts of their authors."""

from pathlib import Path
from typing import Any

from datamodules.alignment import asap, folder, mazurka, performances
from datamodules.alignment.data import AlignmentDataModule
from datamodules.alignment.listing import Listing
from datamodules.alignment.sounds import EMBEDDED
from datamodules.common.errors import DataError
from datamodules.common.unread import refuse_unread


class ScoredData(AlignmentDataModule):
    """Base of the sets whose scores are rendered.

    Args:
        score_font: SoundFont file that scores are rendered with; `embedded`: the one in the pretty_midi wheel
    """

    def __init__(self, root: str | None = None, score_font: str = EMBEDDED, **kwargs: Any) -> None:
        super().__init__(root, **kwargs)
        self.score_font = score_font


class MAPS(ScoredData):
    """MAPS, subset MUS (pieces of music).

    Args:
        pianos: names of the pianos to use, such as ENSTDkCl; null: all
    """

    name, layout = "maps", performances.MAPS_LAYOUT

    def __init__(self, root: str | None = None, pianos: list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(root, **kwargs)
        self.pianos = pianos

    def read_pairs(self, root: Path) -> Listing:
        return performances.list_maps(root, self.score_font, self.split, self.pianos)


class SMD(ScoredData):
    """The Saarland Music Data of piano music."""

    name, layout = "smd", performances.SMD_LAYOUT

    def read_pairs(self, root: Path) -> Listing:
        return performances.list_smd(root, self.score_font, self.split)


class PaperData(MAPS):
    """Data of the paper: MAPS and SMD for training (4/5) and validation (1/5), Mazurkas for the test.

    Args:
        root: folder of MAPS
        smd: folder of the Saarland Music Data; null: without
        mazurka: folder of the Mazurka recordings and beats; null: no test split
        scores: folder of the Mazurkas' scores; null: below theirs
    """

    name = "mazurka"
    subset = "all recordings at hand"

    def __init__(
        self,
        root: str | None = None,
        smd: str | None = None,
        mazurka: str | None = None,
        scores: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, **kwargs)
        if mazurka is None:
            refuse_unread(type(self), {"scores": scores}, "without --data.mazurka, whose scores they are")
        self.smd, self.mazurka, self.scores = smd, mazurka, scores

    def read_pairs(self, root: Path) -> Listing:
        parts = [super().read_pairs(root)]
        if self.smd:
            parts.append(
                performances.list_smd(_folder(self.smd, "--data.smd", performances.SMD_LAYOUT), self.score_font, self.split)
            )
        # A tenth was drawn to test and a tenth to validate: together they are the paper's fifth.
        pairs = [
            pair._replace(split="validation" if pair.split == "test" else pair.split) for part in parts for pair in part.pairs
        ]
        flaws = [flaw for part in parts for flaw in part.flaws]
        if self.mazurka:
            mazurkas = _folder(self.mazurka, "--data.mazurka", mazurka.LAYOUT)
            scores = Path(self.scores).expanduser() if self.scores else None
            result = mazurka.list_mazurkas(mazurkas, scores, self.score_font, self.split, self.cache_dir)
            pairs += [pair._replace(split="test") for pair in result.pairs]
            flaws += result.flaws
        return Listing(pairs, flaws)

    def remarks(self) -> dict:
        return {"training_and_validation": sum(pair.split != "test" for pair in self.listing.pairs), "in_the_paper": 288}


class MAESTRO(ScoredData):
    """MAESTRO v2 or v3 with its own splits."""

    name, layout = "maestro", performances.MAESTRO_LAYOUT

    def read_pairs(self, root: Path) -> Listing:
        return performances.list_maestro(root, EMBEDDED, self.score_font, self.split)


class ASAP(ScoredData):
    """ASAP: performances with beat annotations of performance and score."""

    name, layout = "asap", asap.ASAP_LAYOUT

    def read_pairs(self, root: Path) -> Listing:
        return asap.list_asap(root, EMBEDDED, self.score_font, self.split)


class MazurkaBL(ScoredData):
    """Rendered scores of mazurkas, warped to the beats of real recordings whose audio is not available.

    Args:
        font: SoundFont file of the performances
        per_piece: maximum number of recordings per mazurka; null: all
    """

    name, layout = "mazurkabl", mazurka.TABLES

    def __init__(self, root: str | None = None, font: str = EMBEDDED, per_piece: int | None = None, **kwargs: Any) -> None:
        super().__init__(root, **kwargs)
        self.font, self.per_piece = font, per_piece

    def read_pairs(self, root: Path) -> Listing:
        return mazurka.list_mazurka_like(root, self.font, self.score_font, self.split, self.per_piece, self.cache_dir)


class Pairs(ScoredData):
    """User data: recordings and scores in a folder or a table.

    Args:
        aligned: MIDI scores have the timing of their recordings and can be used for training
    """

    name, layout = "pairs", folder.LAYOUT

    def __init__(self, root: str | None = None, aligned: bool = False, **kwargs: Any) -> None:
        super().__init__(root, **kwargs)
        self.aligned = aligned

    def read_pairs(self, root: Path) -> Listing:
        return folder.list_folder(root, self.score_font, self.split, self.aligned)


def _folder(name: str, option: str, layout: str) -> Path:
    path = Path(name).expanduser()
    if not path.is_dir():
        raise DataError(f"{path} is not a folder: {option} must name {layout}.")
    return path
