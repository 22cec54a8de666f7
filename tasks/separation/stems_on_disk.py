"""Folders of estimated stems of any system, matched with folders of reference stems."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile

from datamodules.audio.reading import resampler
from datamodules.audio.wav import check_rate
from datamodules.common.errors import DataError
from datamodules.separation.tracks import Lengths

NOTICED = 5  # printed notices
ORDER = ("drums", "bass", "other", "vocals")  # conventional; other names follow in alphabetical order
NO_STEMS = ("mixture", "accompaniment")  # sums of stems in a reference folder
FORMATS = (".wav", ".flac", ".ogg", ".mp3")


class StemPair(NamedTuple):
    """Audio files of one track, read when it is scored."""

    name: str
    references: tuple[tuple[Path, ...], ...]  # of each source; several are summed
    estimates: tuple[Path, ...]
    rate: int  # Hz, of the first reference; other files are resampled to it
    lengths: Lengths = "pad"  # treatment of references of unequal length

    def __call__(self) -> tuple[np.ndarray, np.ndarray]:
        """Reference and estimate (sources, samples, channels) float32.

        As in museval, an estimate is cut or zero-padded to the length of its reference.

        Raises:
            DataError: a file is unreadable or has other channels, or lengths differ with `lengths` skip.
        """
        parts = [[self._read(path) for path in paths] for paths in self.references]
        lengths = [len(sound) for sounds in parts for sound in sounds]
        frames = min(lengths) if self.lengths == "trim" else max(lengths)
        first, channels = self.references[0][0], parts[0][0].shape[1]
        if self.lengths == "skip" and min(lengths) < frames:
            raise DataError(f"the stems beside {first} have {min(lengths)} to {frames} samples: use --lengths pad or trim")
        references = np.zeros((len(parts), frames, channels), dtype=np.float32)
        estimates = np.zeros_like(references)
        for j, (paths, sounds) in enumerate(zip(self.references, parts, strict=True)):
            for path, sound in zip(paths, sounds, strict=True):
                _add(references[j], sound, path, f"{first} has {channels}: use equal channels")
        for j, path in enumerate(self.estimates):
            _add(estimates[j], self._read(path), path, f"its reference {channels}: write stems with the same channels")
        return references, estimates

    def notices(self) -> list[str]:
        """Sentences on files that will be resampled, padded or cut, by their headers."""
        paths = [path for group in self.references for path in group]
        heads = {path: head for path in (*paths, *self.estimates) if (head := _header(path)) is not None}
        resampled = {path: head.samplerate for path, head in heads.items() if head.samplerate != self.rate}
        notices = [f"{path} is resampled from {rate} to {self.rate} Hz" for path, rate in resampled.items()]
        seconds = [heads[path].frames / heads[path].samplerate for path in paths if path in heads]
        if seconds and max(seconds) - min(seconds) > 1 / self.rate and self.lengths != "skip":
            change = "padded with silence" if self.lengths == "pad" else "cut to the shortest"
            notices.append(f"the stems beside {paths[0]} last {min(seconds):.2f} to {max(seconds):.2f} s: they are {change}")
        return notices

    def newest(self) -> float:
        """Modification time of the newest file, s since the epoch."""
        files = [*self.estimates, *(path for paths in self.references for path in paths)]
        return max((path.stat().st_mtime for path in files if path.exists()), default=0.0)

    def _read(self, path: Path) -> np.ndarray:
        if not path.exists():
            raise DataError(f"{path} does not exist: write this stem, or select others with --sources")
        try:
            sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, OSError) as error:
            raise DataError(f"{path} cannot be read ({error}): expected a {', '.join(FORMATS)} file, write it again") from error
        if check_rate(path, rate) != self.rate:
            to_rate = resampler(rate, self.rate, sound.shape[1], path)
            sound = np.concatenate([to_rate(sound, False), to_rate(sound[:0], True)])
        return sound


def _add(total: np.ndarray, sound: np.ndarray, path: Path, other: str) -> None:
    """Add a sound (samples, channels) to `total` in place, up to the shorter length."""
    if sound.shape[1] != total.shape[1]:
        raise DataError(f"{path} has {sound.shape[1]} channels, {other}")
    count = min(len(total), len(sound))
    total[:count] += sound[:count]


def _header(path: Path) -> Any:
    try:
        return soundfile.info(path)
    except (soundfile.LibsndfileError, OSError):  # reported when the track is scored
        return None


def find_pairs(
    estimates: Path, references: Path, sources: Sequence[str] | None = None, lengths: Lengths = "pad"
) -> tuple[list[StemPair], list[str]]:
    """Match estimated with reference stems: folders -> pairs of all tracks, and the sources to score.

    A missing track or stem is an error when it is read. `no_X` (or accompaniment, for no_vocals) is compared with the sum
    of all other reference stems.

    Args:
        estimates: ESTIMATES/TRACK/STEM.wav, or ESTIMATES/test/TRACK/STEM.wav, or output folder of `predict`
        references: REFERENCES/TRACK/STEM.wav, or root of MUSDB18-HQ (its test split)
        sources: stems to score (default: all stems that a reference and its estimate have in common)
        lengths: treatment of references of unequal length

    Raises:
        DataError: no track, or no stem in common.
    """
    references, estimates = _tracks_root(references, "references"), _tracks_root(estimates, "estimates")
    truths = {folder.name: stems for folder in sorted(references.iterdir()) if (stems := _stems(folder))}
    guesses = _listed(estimates) | {folder.name: folder for folder in sorted(estimates.iterdir()) if _stems(folder)}
    both = [name for name in truths if name in guesses]
    if not both:
        raise DataError(
            f"no track of {references} ({', '.join(list(truths)[:3]) or 'no tracks'}) has estimates in {estimates} "
            f"({', '.join(list(guesses)[:3]) or 'no stems'}): expected TRACK/STEM.wav with the names of the references"
        )
    # Union over tracks: a stem missing in one track is an error of that track.
    shared = [_common(truths[name], _stems(guesses[name])) for name in both]
    sources = list(sources or _ordered({source for names in shared for source in names}))
    if not sources:
        raise DataError(f"{guesses[both[0]]} and {references / both[0]} have no stem in common: use the same file names")
    rate = _rate(next(iter(truths[both[0]].values())))
    unmatched = sorted(set(guesses) - set(truths))
    if unmatched:
        warnings.warn(f"{len(unmatched)} folder(s) of estimates have no reference: {', '.join(unmatched[:5])}", stacklevel=2)
    pairs = []
    for name, stems in truths.items():
        folder = guesses.get(name, estimates / name)
        files = _stems(folder)
        reference = tuple(_truth(source, stems, references / name) for source in sources)
        estimate = tuple(files.get(source, folder / f"{source}.wav") for source in sources)
        pairs.append(StemPair(name, reference, estimate, rate, lengths))
    notices = [notice for pair in pairs for notice in pair.notices()]
    for notice in notices[:NOTICED]:
        warnings.warn(notice, stacklevel=2)
    if len(notices) > NOTICED:
        warnings.warn(f"... and {len(notices) - NOTICED} more files or tracks", stacklevel=2)
    return pairs, sources


def _tracks_root(folder: Path, what: str) -> Path:
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder of {what}: expected TRACK/STEM.wav below it")
    return folder / "test" if (folder / "test").is_dir() and not _stems(folder / "test") else folder


def _stems(folder: Path) -> dict[str, Path]:
    """Audio files of a track's folder by stem."""
    if not folder.is_dir() or folder.name.startswith("."):
        return {}
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in FORMATS and path.name[0] != "."}


def _listed(estimates: Path) -> dict[str, Path]:
    """Output folders of `predict` by track; the track of TRACK/mixture.wav is TRACK."""
    try:
        files = json.loads((estimates / "stems.json").read_text(encoding="utf-8"))["files"]
        paths = {Path(file): estimates / row["folder"] for file, row in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    return {(path.parent.name if path.stem == "mixture" else path.stem): folder for path, folder in paths.items()}


def _common(truth: dict[str, Path], guess: dict[str, Path]) -> list[str]:
    """Common stems without sums of stems; for estimates of a stem X and its rest no_X, both of them."""
    shared = [name for name in guess if name in truth and name not in NO_STEMS]
    rest = [name for name in guess if _without(name) in shared and _without(name) != name]
    return shared + rest if len(shared) == 1 else shared


def _ordered(sources: set[str]) -> list[str]:
    return sorted(sources, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


def _without(name: str) -> str:
    """Stem X of `no_X`; accompaniment is no_vocals."""
    return "vocals" if name == "accompaniment" else name.removeprefix("no_")


def _truth(source: str, stems: dict[str, Path], folder: Path) -> tuple[Path, ...]:
    if source in stems:
        return (stems[source],)
    if _without(source) != source:
        others = tuple(path for name, path in stems.items() if name not in (_without(source), *NO_STEMS))
        if others:
            return others
    return (folder / f"{source}.wav",)


def _rate(path: Path) -> int:
    try:
        return check_rate(path, soundfile.info(path).samplerate)
    except (soundfile.LibsndfileError, OSError) as error:
        raise DataError(f"{path} cannot be read ({error}): expected a {', '.join(FORMATS)} file, write it again") from error
