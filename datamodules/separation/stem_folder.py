"""Separation data of a user: folder of multitrack recordings, one subfolder per track and one file per stem."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

from datamodules.audio.reading import AUDIO_SUFFIXES, header
from datamodules.audio.wav import MissingFile, NeedsConversion, open_wav
from datamodules.common.cache import cache_root
from datamodules.common.errors import DataError
from datamodules.common.report import warn
from datamodules.common.splits import SPLITS, draw_splits, split_folders
from datamodules.separation.data import SeparationDataModule
from datamodules.separation.musdb import holds_stem_mp4
from datamodules.separation.stem_conversion import SOUND, convert, converted
from datamodules.separation.tracks import TrackFiles

UNSHARED = (
    "not in every track, so the network does not learn it (--data.missing silence treats it as silent there, "
    "--data.sources '[NAME, ...]' names the stems to learn and leaves out tracks without one)"
)
"""Reason of a stem that is left out."""


class _Folder(NamedTuple):
    path: Path
    split: str
    sounds: dict[str, Path]  # by lower-case stem of the file name


class StemFolder(SeparationDataModule):
    """A folder per track with one audio file per stem (wav, flac, mp3, ogg), such as ROOT/train/MY SONG/vocals.wav.

    Tracks are in folders train, valid(ation) and test, or directly in the root: then a tenth is for validation and a tenth
    for test, drawn by name. If only the validation folder is missing, a tenth of the training tracks is used. WAV files of
    16 bit or 32 bit float at `sample_rate` are read in place, others converted once to 16 bit WAV of that rate below the
    cache folder.

    Args:
        sources: default: the stems that every track has, by name; with `missing` other than `skip` those that any track has
        mixture_name: file of the mixture, if any; used if the sources are all other files of the track
        missing: handling of a track without a source: `skip` the track, use `silence`, or `stop`
    """

    name = "stems"
    layout = "a folder with one folder per track, in train/, validation/ and test/ or not, and in it a file per stem (STEM.wav)"

    def __init__(
        self,
        root: str | None = None,
        sources: list[str] | None = None,
        mixture_name: str = "mixture",
        missing: Literal["skip", "silence", "stop"] = "skip",
        **kwargs,
    ) -> None:
        super().__init__(root, sources, **kwargs)
        self.mixture_name, self.missing = mixture_name, missing
        self.name = Path(root).expanduser().resolve().name if root else self.name

    @cached_property
    def folders(self) -> list[_Folder]:
        """Folders of all tracks, with split and files. Raises DataError if there are none or too few."""
        root = self.find_root()
        parts = split_folders(root).items()
        folders = [_Folder(path, split, _sounds(path)) for part, split in parts for path in _subfolders(root / part)]
        folders = folders or [_Folder(path, "", _sounds(path)) for path in _subfolders(root)]
        folders = [folder for folder in folders if folder.sounds]
        if not folders:
            self._refuse(root)
        return _drawn(root, folders)

    @cached_property
    def sources(self) -> list[str]:
        """Names of the stems, in the order of the network's outputs."""
        if self.chosen:
            return list(self.chosen)
        unite = set.intersection if self.missing == "skip" else set.union
        shared = unite(*(set(folder.sounds) for folder in self.folders)) - {self.mixture_name.lower()}
        if len(shared) < 2:
            raise DataError(
                f"The {len(self.folders)} tracks in {self.find_root()} share fewer than two stems (the first has "
                f"{', '.join(sorted(self.folders[0].sounds)[:8])}): name them with --data.sources, and see --data.missing."
            )
        self._report_unshared(shared)
        return sorted(shared)

    def _report_unshared(self, shared: set[str]) -> None:
        """Report stems that not all tracks have."""
        names = {name for folder in self.folders for name in folder.sounds} - {self.mixture_name.lower()} - shared
        for name in sorted(names):
            lacking = [folder.path.name for folder in self.folders if name not in folder.sounds]
            detail = f"in {len(self.folders) - len(lacking)} of {len(self.folders)} tracks, not in {lacking[0]}"
            self.left_out.add("stem", name, UNSHARED, f"{detail}{' and others' if lacking[1:] else ''}")
        self.left_out.log_new()

    def read_tracks(self, root: Path) -> list[TrackFiles]:
        """List all tracks, with files converted that cannot be read in place."""
        del root
        listed = [self._files(folder) for folder in self.folders]
        wavs, flaws = self._converted(listed)
        sources = {wav: path for path, wav in wavs.items()}
        tracks = []
        for files in listed:
            stems = {name: path and wavs.get(path, path) for name, path in files.stems.items()}
            mixture = files.mixture and wavs.get(files.mixture, files.mixture)
            errors = [flaws[path] for path in (*files.stems.values(), files.mixture) if path in flaws]
            flaw = files.flaw or (DataError(errors[0]) if errors else None)
            tracks.append(files._replace(stems=stems, mixture=mixture, flaw=flaw, sources=sources))
        return tracks

    def _files(self, folder: _Folder) -> TrackFiles:
        """Original files of a track. Raises DataError for a missing stem if `missing` is `stop`."""
        stems = {name: folder.sounds.get(name.lower()) for name in self.sources}
        lacking = [name for name, path in stems.items() if path is None]
        flaw = None
        if lacking and self.missing != "silence":
            flaw = MissingFile(
                f"{folder.path} has no file {lacking[0]}.wav (nor {lacking[0]}{AUDIO_SUFFIXES[0]}, ...): add it, or set "
                f"--data.missing silence if it is silent in such tracks."
            )
            if self.missing == "stop":
                raise flaw
        mixture = folder.sounds.get(self.mixture_name.lower())
        # A mixture of further stems is not the sum of the sources.
        whole = set(folder.sounds) <= {*(name.lower() for name in self.sources), self.mixture_name.lower()}
        return TrackFiles(folder.path.name, folder.split, stems, mixture if whole else None, flaw)

    @property
    def covers_mixture(self) -> bool:
        """True if no track has further stems."""
        known = {*(name.lower() for name in self.sources), self.mixture_name.lower(), "accompaniment"}
        return all(set(folder.sounds) <= known for folder in self.folders)

    converted_files = 0

    def _converted(self, listed: list[TrackFiles]) -> tuple[dict[Path, Path], dict[Path, str]]:
        """Convert files; returns the WAV file of each, and the error message of each that does not decode."""
        paths = [path for files in listed if not files.flaw for path in (*files.stems.values(), files.mixture) if path]
        rates = {path: rate for path in paths if (rate := _foreign_rate(path, self.sample_rate)) is not None}
        jobs = {path: converted(self.cache_dir, path, self.sample_rate) for path in rates}
        foreign = [path for path, rate in rates.items() if rate not in (0, self.sample_rate) and not jobs[path].marked()]
        resampled = [f"{path} ({rates[path]} Hz)" for path in foreign]
        warn(f"Resampled to {self.sample_rate} Hz, once (--data.sample_rate): %s", resampled)
        flaws = convert(list(jobs.values()), cache_root(self.cache_dir) / "stems", SOUND)
        self.converted_files = len(jobs)
        return {path: job.targets[0] for path, job in jobs.items()}, flaws

    def remarks(self) -> dict:
        """Folder and number of the converted files."""
        folder = str(cache_root(self.cache_dir) / "stems")
        return {"converted": {"folder": folder, "files": self.converted_files} if self.listed and self.converted_files else None}

    def absent(self, split: str) -> str:
        """Advice for a split without tracks."""
        return f"Put its tracks into a folder {split}/ of the root, beside train/."

    def _refuse(self, root: Path) -> None:
        """Raise DataError for a folder without tracks."""
        if holds_stem_mp4(root):
            raise DataError(f"{root} holds .stem.mp4 files: read them with --data datamodules.MUSDB18 --data.root {root}.")
        loose = sorted(_sounds(root).values())
        if loose:
            raise DataError(
                f"{root} holds audio files such as {loose[0].name} but no folder per track: expected {self.layout}; put the "
                f"stems of each track into a separate folder."
            )
        raise DataError(f"{root} holds no track: --data.root must name {self.layout}. {self.advice()}")


def _subfolders(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith("."))


def _sounds(folder: Path) -> dict[str, Path]:
    """Audio files by lower-case stem; of several suffixes .wav, else the first in AUDIO_SUFFIXES."""
    order = (".wav", *AUDIO_SUFFIXES)
    files = [path for path in folder.iterdir() if path.suffix.lower() in order and path.name[0] != "."]
    files.sort(key=lambda path: (order.index(path.suffix.lower()), path.name), reverse=True)
    return {path.stem.lower(): path for path in files}


def _foreign_rate(path: Path, rate: int) -> int | None:
    """Rate in Hz of a file to convert, 0 if unknown; None for a file that is read in place, or a damaged WAV file."""
    try:
        if path.suffix.lower() == ".wav":
            wav = open_wav(path)
            return None if wav.rate == rate else wav.rate
    except NeedsConversion:
        pass
    except DataError:
        return None
    try:
        return header(path).sample_rate
    except DataError:  # raised again by the conversion
        return 0


def _drawn(root: Path, folders: list[_Folder]) -> list[_Folder]:
    """Draw the missing splits. Raises DataError if there are too few tracks."""
    parts = (1, 2) if not folders[0].split else () if any(folder.split == "validation" for folder in folders) else (1,)
    free = [folder for folder in folders if folder.split in ("", "train")]
    if parts == (1, 2) and len(free) < 3:
        raise DataError(
            f"{root} holds {len(free)} tracks: at least three are needed to draw train, validation and test, or put them into "
            f"folders train/, validation/ and test/."
        )
    if not parts or len(free) < 2:
        return folders
    drawn = dict(zip((folder.path for folder in free), draw_splits([folder.path.name for folder in free], parts), strict=True))
    return [folder._replace(split=SPLITS[drawn[folder.path]]) if folder.path in drawn else folder for folder in folders]
