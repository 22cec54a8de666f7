"""MUSDB18 (Rafii et al. 2017): folders of WAV files of MUSDB18-HQ, or .stem.mp4 files of MUSDB18."""

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
NO_STEMS = (MIXTURE, "accompaniment")  # accompaniment: drums + bass + other, in some copies
ENDING = ".stem.mp4"

# The usual validation tracks, from musdb's mus.yaml.
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
    """MUSDB18-HQ, or any set in its layout: train/ and test/ with a folder of WAV files per track, read in place.

    86 training, 14 validation and 50 test tracks.

    Args:
        sources: default drums, bass, other, vocals; the mixture of fewer sources is their sum
        validation: names of the validation tracks in train/ (default: the 14 of musdb's mus.yaml; tracks of a folder
            `validation` or `valid` beside train/ are added)
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
        """List the folders in train/, validation/ and test/."""
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
        stems = {path.stem for path in folder.glob("[!.]*.wav")}
        # A mixture of further stems is not the sum of the sources.
        whole = MIXTURE in stems and stems <= {*self.sources, *NO_STEMS}
        mixture = folder / f"{MIXTURE}.wav" if whole else None
        return TrackFiles(folder.name, split, {name: folder / f"{name}.wav" for name in self.sources}, mixture)

    @property
    def covers_mixture(self) -> bool:
        """True for all four stems, or vocals and accompaniment."""
        return set(STEMS) <= set(self.sources) or {"vocals", "accompaniment"} <= set(self.sources)

    def _refuse(self, root: Path) -> None:
        """Raise DataError for a folder without tracks."""
        if holds_stem_mp4(root):
            raise DataError(
                f"{root} holds MUSDB18's .stem.mp4 files, not MUSDB18-HQ's folders of WAV files: read them with "
                f"--data datamodules.MUSDB18 --data.root {root}."
            )
        raise DataError(f"{root} holds no track: --data.root must name {self.layout}. {self.advice()}")

    def remarks(self) -> dict:
        """Number of the named validation tracks in the folder."""
        present = {files.name for files in self.listed}
        return {"validation_tracks": f"{len(present & set(self.validation))} of the {len(self.validation)} named ones"}

    def absent(self, split: str) -> str:
        """Advice for a split without tracks."""
        if split != "validation":
            return f"Expected {self.layout}."
        return (
            "Validation tracks are the folders in train/ with the names of musdb's 14 validation tracks (Actions - One Minute "
            "Smile, ...): name others with --data.validation, or put them into a folder valid/ beside train/."
        )


class MUSDB18(MUSDBHQ):
    """MUSDB18 as .stem.mp4 files, converted once to 16 bit WAV files in MUSDB18-HQ's layout below the cache folder.

    Its stems are band-limited to 16 kHz, and its mixture is not exactly their sum. Needs PyAV and about 32 GB.

    Args:
        sources: default drums, bass, other, vocals; the mixture of fewer sources is their sum
        validation: names of the validation tracks in train/ (default: the 14 of musdb's mus.yaml)
    """

    name = "musdb18"
    layout = (
        "MUSDB18's folder (train/ARTIST - TITLE.stem.mp4, 100 tracks, and test/ likewise, 50 tracks: musdb18.zip, "
        "open at zenodo.org/records/1117372)"
    )

    def read_tracks(self, root: Path) -> list[TrackFiles]:
        """List the .stem.mp4 files in train/, validation/ and test/, and convert them."""
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
            av_audio.require_pyav(sources[0][0])
        flaws = convert(jobs, self.converted(), MP4)
        return [
            self._files(folder, split)._replace(
                flaw=DataError(flaws[path]) if path in flaws else None,
                sources={folder / f"{name}.wav": path.with_name(f"{path.name}: {name}") for name in streams},
            )
            for path, split, folder in sources
        ]

    def remarks(self) -> dict:
        """Remarks of MUSDBHQ, and the folder of the WAV files."""
        return super().remarks() | {"converted": {"folder": str(self.converted()), "files": 5 * len(self.listed)}}

    def converted(self) -> Path:
        """Folder of the WAV files, independent of that of the data set."""
        return cached(self.cache_dir, "stems", self.name)

    def _refuse(self, root: Path) -> None:
        """Raise DataError for a folder without tracks."""
        if any(root.glob("*/*/*.wav")):
            raise DataError(
                f"{root} holds MUSDB18-HQ's folders of WAV files, not MUSDB18's .stem.mp4 files: read them with "
                f"--data datamodules.MUSDBHQ --data.root {root}."
            )
        raise DataError(f"{root} holds no track: --data.root must name {self.layout}. {self.advice()}")


def holds_stem_mp4(root: Path) -> bool:
    """True if a folder or its subfolders hold .stem.mp4 files."""
    return any(True for pattern in ("*", "*/*") for _ in root.glob(f"{pattern}{ENDING}"))
