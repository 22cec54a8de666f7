"""MUSDB18 (Rafii et al. 2017) as distributed: MUSDB18-HQ's folders of WAV files, and MUSDB18's .stem.mp4 files."""

from pathlib import Path

from datamodules.audio import av_audio
from datamodules.common.cache import cached
from datamodules.common.errors import DataError
from datamodules.common.splits import split_folders
from datamodules.separation.data import SeparationDataModule
from datamodules.separation.stem_conversion import MP4, ConversionJob, convert
from datamodules.separation.tracks import TrackFiles

STEMS = ("drums", "bass", "other", "vocals")
MIXTURE = "mixture"
NO_STEMS = (MIXTURE, "accompaniment")  # the second is drums + bass + other, in some copies
ENDING = ".stem.mp4"

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


class MUSDBHQ(SeparationDataModule):
    """MUSDB18-HQ, or any set in its layout: train/ and test/ with a folder of WAV files per track, read where they lie.

    100 training tracks, 14 of which validate, and 50 test tracks.

    Args:
        sources: default drums, bass, other, vocals; of fewer the mixture is always their own sum
        validation: names of the training tracks to validate on (default: the 14 of musdb's mus.yaml; a folder
            `validation` or `valid` beside train/, where there is one, is added)
    """

    name = "musdb18hq"
    layout = (
        "MUSDB18-HQ's folder (train/ARTIST - TITLE/{mixture,drums,bass,other,vocals}.wav, 100 tracks, and test/ likewise, 50 "
        "tracks: musdb18hq.zip, open at zenodo.org/records/3338373)"
    )

    def __init__(
        self, root: str | None = None, sources: list[str] | None = None, validation: list[str] | None = None, **kwargs
    ) -> None:
        super().__init__(root, sources or list(STEMS), **kwargs)
        self.validation = VALIDATION if validation is None else tuple(validation)

    def read_tracks(self, root: Path) -> list[TrackFiles]:
        """Every folder below train/, validation/ and test/."""
        tracks = [
            self._files(folder, split)
            for part, split in split_folders(root).items()
            for folder in sorted((root / part).glob("*"))
            if folder.is_dir() and not folder.name.startswith(".")
        ]
        if not tracks:
            self._refuse(root)
        return tracks

    def _files(self, folder: Path, split: str) -> TrackFiles:
        split = "validation" if split == "train" and folder.name in self.validation else split
        there = {path.stem for path in folder.glob("[!.]*.wav")}
        # Fewer stems than the mixture was made of do not add up to it.
        whole = MIXTURE in there and there <= {*self.sources, *NO_STEMS}
        mixture = folder / f"{MIXTURE}.wav" if whole else None
        return TrackFiles(folder.name, split, {name: folder / f"{name}.wav" for name in self.sources}, mixture)

    @property
    def covers_mixture(self) -> bool:
        """Whether the sources are all four, or the vocals and all the others."""
        return set(STEMS) <= set(self.sources) or {"vocals", "accompaniment"} <= set(self.sources)

    def _refuse(self, root: Path) -> None:
        """Say what a folder without tracks is."""
        if holds_stem_mp4(root):
            raise DataError(
                f"{root} holds MUSDB18's .stem.mp4 files, not MUSDB18-HQ's folders of WAV files: read them with "
                f"--data datamodules.MUSDB18 --data.root {root}."
            )
        raise DataError(f"{root} holds no track: --data.root must name {self.layout}. {self.advice()}")

    def remarks(self) -> dict:
        """How many of the named validation tracks are there."""
        here = {files.name for files in self.listed}
        return {"validation_tracks": f"{len(here & set(self.validation))} of the {len(self.validation)} named ones"}

    def absent(self, split: str) -> str:
        """What makes a track one of this split."""
        if split != "validation":
            return f"Expected {self.layout}."
        return (
            "Of the folders in train/ those with the names of musdb's 14 validation tracks validate (Actions - One Minute "
            "Smile, ...): name others with --data.validation, or put them into a folder valid/ beside train/."
        )


class MUSDB18(MUSDBHQ):
    """MUSDB18 as .stem.mp4 files, which are converted once to 16 bit WAV files in MUSDB18-HQ's layout below the cache folder.

    Its stems are band-limited to 16 kHz, and its mixture is not exactly their sum. Takes PyAV and about 32 GB.

    Args:
        sources: default drums, bass, other, vocals; of fewer the mixture is always their own sum
        validation: names of the training tracks to validate on (default: the 14 of musdb's mus.yaml)
    """

    name = "musdb18"
    layout = (
        "MUSDB18's folder (train/ARTIST - TITLE.stem.mp4, 100 tracks, and test/ likewise, 50 tracks: musdb18.zip, "
        "open at zenodo.org/records/1117372)"
    )

    def read_tracks(self, root: Path) -> list[TrackFiles]:
        """Every .stem.mp4 below train/, validation/ and test/, converted."""
        sources = [
            (path, split, self.converted() / part / path.name.removesuffix(ENDING))
            for part, split in split_folders(root).items()
            for path in sorted((root / part).glob(f"[!.]*{ENDING}"))
        ]
        if not sources:
            self._refuse(root)
        streams = (MIXTURE, *STEMS)
        jobs = [ConversionJob(path, tuple(folder / f"{name}.wav" for name in streams)) for path, _, folder in sources]
        if not all(job.marked() for job in jobs):
            av_audio.require(sources[0][0])
        flaws = convert(jobs, self.converted(), MP4)
        return [
            self._files(folder, split)._replace(
                flaw=DataError(flaws[path]) if path in flaws else None,
                sources={folder / f"{name}.wav": path.with_name(f"{path.name}: {name}") for name in streams},
            )
            for path, split, folder in sources
        ]

    def remarks(self) -> dict:
        """As of MUSDBHQ, and where the WAV files lie."""
        return super().remarks() | {"converted": {"folder": str(self.converted()), "files": 5 * len(self.listed)}}

    def converted(self) -> Path:
        """Where the WAV files lie, of whatever folder the data set is in."""
        return cached(self.cache_dir, "stems", self.name)

    def _refuse(self, root: Path) -> None:
        """Say what a folder without tracks is."""
        if any(root.glob("*/*/*.wav")):
            raise DataError(
                f"{root} holds MUSDB18-HQ's folders of WAV files, not MUSDB18's .stem.mp4 files: read them with "
                f"--data datamodules.MUSDBHQ --data.root {root}."
            )
        raise DataError(f"{root} holds no track: --data.root must name {self.layout}. {self.advice()}")


def holds_stem_mp4(root: Path) -> bool:
    """Whether .stem.mp4 files lie in a folder or in the folders in it."""
    return any(True for pattern in ("*", "*/*") for _ in root.glob(f"{pattern}{ENDING}"))
