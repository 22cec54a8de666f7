"""MUSDB18 (Rafii et al. 2017) as distributed: MUSDB18-HQ's folders of WAV files, and MUSDB18's .stem.mp4 files."""

from pathlib import Path

from datamodules.errors import DataError
from datamodules.separation import SeparationData, TrackFiles

STEMS = ("drums", "bass", "other", "vocals")
MIXTURE = "mixture"
NO_STEMS = (MIXTURE, "accompaniment")  # the second is drums + bass + other, in some copies
VALIDATION_FOLDERS = ("validation", "valid")

# musdb's mus.yaml: the training tracks that everybody validates on.
VALIDATION = (
    "Actions - One Minute Smile",
    "Clara Berry And Wooldog - Waltz For My Victims",
    "Johnny Lokke - Promises & Lies",
    "Patrick Talbot - A Reason To Leave",
    "Triviul - Angelsaint",
    "Alexander Ross - Goodbye Bolero",
    "Fergessen - Nos Palpitants",
    "Leaf - Summerghost",
    "Skelpolu - Human Mistakes",
    "Young Griffo - Pennies",
    "ANiMAL - Rockshow",
    "James May - On The Line",
    "Meaxic - Take A Step",
    "Traffic Experiment - Sirens",
)


class MUSDBHQ(SeparationData):
    """MUSDB18-HQ, or any set in its layout: train/ and test/ with a folder of WAV files per track, read where they lie.

    100 training tracks, 14 of which validate, and 50 test tracks. The files are given out on request alone.

    Args:
        sources: default drums, bass, other, vocals; of fewer the mixture is always their own sum
        validation: names of the training tracks to validate on (default: the 14 of musdb's mus.yaml; a folder
            `validation` or `valid` beside train/, where there is one, is added)
    """

    name = "musdb18hq"
    layout = (
        "MUSDB18-HQ's folder (train/ARTIST - TITLE/{mixture,drums,bass,other,vocals}.wav, 100 tracks, and test/ likewise, 50 "
        "tracks; ask for it at zenodo.org/records/3338373, it is given on request)"
    )

    def __init__(
        self, root: str | None = None, sources: list[str] | None = None, validation: list[str] | None = None, **kwargs
    ) -> None:
        super().__init__(root, sources or list(STEMS), **kwargs)
        self.validation = VALIDATION if validation is None else tuple(validation)

    def read_tracks(self, root: Path) -> list[TrackFiles]:
        """Every folder below train/, validation/ and test/."""
        folders = {"train": "train", "test": "test", **dict.fromkeys(VALIDATION_FOLDERS, "validation")}
        tracks = [
            self._files(folder, split)
            for part, split in folders.items()
            for folder in sorted((root / part).glob("*"))
            if folder.is_dir() and not folder.name.startswith(".")
        ]
        if not tracks:
            self._refuse(root)
        return tracks

    def _files(self, folder: Path, split: str) -> TrackFiles:
        split = "validation" if split == "train" and folder.name in self.validation else split
        there = {path.stem for path in folder.glob("*.wav")}
        # Fewer stems than the mixture was made of do not add up to it.
        whole = MIXTURE in there and there <= {*self.sources, *NO_STEMS}
        mixture = folder / f"{MIXTURE}.wav" if whole else None
        return TrackFiles(folder.name, split, {name: folder / f"{name}.wav" for name in self.sources}, mixture)

    def _refuse(self, root: Path) -> None:
        """Say what a folder without tracks is."""
        if any(root.glob("**/*.stem.mp4")):
            raise DataError(
                f"{root} holds MUSDB18's .stem.mp4 files, not MUSDB18-HQ's folders of WAV files: read them with "
                f"--data datamodules.musdb.MUSDB18 --data.root {root}."
            )
        raise DataError(f"{root} holds no track: --data.root must name {self.layout}. {self.advice()}")

    def absent(self, split: str) -> str:
        """What makes a track one of this split."""
        if split != "validation":
            return f"Expected {self.layout}."
        return (
            "Of the folders in train/ those with the names of musdb's 14 validation tracks validate (Actions - One Minute "
            "Smile, ...): name others with --data.validation, or put them into a folder valid/ beside train/."
        )
