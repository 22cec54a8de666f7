"""Folders of separated stems beside folders of true ones, whatever system has made them."""

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

NOTICED = 5
"""Notices that are printed."""

ORDER = ("drums", "bass", "other", "vocals")  # the field's; other names follow in alphabetical order
NO_STEMS = ("mixture", "accompaniment")  # of a reference folder, where they are sums of stems
FORMATS = (".wav", ".flac", ".ogg", ".mp3")


class StemPair(NamedTuple):
    """Files of one track, to be read where it is scored."""

    name: str
    references: tuple[tuple[Path, ...], ...]  # of each source; several are added up
    estimates: tuple[Path, ...]
    rate: int  # Hz, of the first reference, to which others are resampled
    lengths: Lengths = "pad"  # what becomes of references of unequal length

    def __call__(self) -> tuple[np.ndarray, np.ndarray]:
        """Reference and estimate (sources, samples, channels) float32.

        As in museval, an estimate is cut, or filled up with zeros, to the length of its reference. References of unequal
        length are treated as `lengths` says.

        Raises:
            DataError: a file that cannot be read, with other channels, or of another length where those are to be skipped.
        """
        parts = [[self._read(path) for path in paths] for paths in self.references]
        lengths = [len(sound) for sounds in parts for sound in sounds]
        frames = min(lengths) if self.lengths == "trim" else max(lengths)
        first, channels = self.references[0][0], parts[0][0].shape[1]
        if self.lengths == "skip" and min(lengths) < frames:
            raise DataError(f"the stems beside {first} have {min(lengths)} to {frames} samples: say --lengths pad or trim")
        references = np.zeros((len(parts), frames, channels), dtype=np.float32)
        estimates = np.zeros_like(references)
        for j, (paths, sounds) in enumerate(zip(self.references, parts, strict=True)):
            for path, sound in zip(paths, sounds, strict=True):
                _add(references[j], sound, path, f"{first} has {channels}: make them alike")
        for j, path in enumerate(self.estimates):
            _add(estimates[j], self._read(path), path, f"its reference {channels}: write stems with as many")
        return references, estimates

    def notices(self) -> list[str]:
        """Sentences on files that are resampled, filled up or cut, by their headers alone."""
        paths = [path for group in self.references for path in group]
        heads = {path: head for path in (*paths, *self.estimates) if (head := _header(path)) is not None}
        other = {path: head.samplerate for path, head in heads.items() if head.samplerate != self.rate}
        said = [f"{path} is resampled from {rate} to {self.rate} Hz" for path, rate in other.items()]
        seconds = [heads[path].frames / heads[path].samplerate for path in paths if path in heads]
        if seconds and max(seconds) - min(seconds) > 1 / self.rate and self.lengths != "skip":
            done = "padded with silence" if self.lengths == "pad" else "cut to the shortest"
            said.append(f"the stems beside {paths[0]} last {min(seconds):.2f} to {max(seconds):.2f} s: they are {done}")
        return said

    def newest(self) -> float:
        """When the last of the files was written, s since the epoch."""
        files = [*self.estimates, *(path for paths in self.references for path in paths)]
        return max((path.stat().st_mtime for path in files if path.exists()), default=0.0)

    def _read(self, path: Path) -> np.ndarray:
        if not path.exists():
            raise DataError(f"{path} does not exist: write this stem, or choose others with --sources")
        try:
            sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, OSError) as error:
            raise DataError(f"{path} cannot be read ({error}): expected a {', '.join(FORMATS)} file, write it again") from error
        if check_rate(path, rate) != self.rate:
            to_rate = resampler(rate, self.rate, sound.shape[1], path)
            sound = np.concatenate([to_rate(sound, False), to_rate(sound[:0], True)])
        return sound


def _add(total: np.ndarray, sound: np.ndarray, path: Path, other: str) -> None:
    """Add a sound (samples, channels) to `total`, as far as that goes."""
    if sound.shape[1] != total.shape[1]:
        raise DataError(f"{path} has {sound.shape[1]} channels, {other}")
    count = min(len(total), len(sound))
    total[:count] += sound[:count]


def _header(path: Path) -> Any:
    try:
        return soundfile.info(path)
    except (soundfile.LibsndfileError, OSError):  # said where the track is scored
        return None


def find_pairs(
    estimates: Path, references: Path, sources: Sequence[str] | None = None, lengths: Lengths = "pad"
) -> tuple[list[StemPair], list[str]]:
    """Tracks to score and the sources, by default all stems that a reference and its estimate have in common.

    References are folders of stems, or MUSDB18-HQ's root (its test/ counts). Estimates are ESTIMATES/TRACK/STEM.wav,
    with or without test/ between, or what `predict` has written. `no_X` (or accompaniment, for no_vocals) is held
    against the sum of all other reference stems. A track or stem that is not there is an error when it is read.

    Raises:
        DataError: no track, or no stem in common.
    """
    references, estimates = _tracks_root(references, "references"), _tracks_root(estimates, "estimates")
    truths = {folder.name: stems for folder in sorted(references.iterdir()) if (stems := _stems(folder))}
    guesses = _listed(estimates) | {folder.name: folder for folder in sorted(estimates.iterdir()) if _stems(folder)}
    both = [name for name in truths if name in guesses]
    if not both:
        raise DataError(
            f"no track of {references} ({', '.join(list(truths)[:3]) or 'it holds none'}) has estimates in {estimates} "
            f"({', '.join(list(guesses)[:3]) or 'it holds no stems'}): expected TRACK/STEM.wav with the references' names"
        )
    # All tracks have a say: a stem that one of them lacks is that track's fault.
    shared = [_common(truths[name], _stems(guesses[name])) for name in both]
    sources = list(sources or _ordered({source for some in shared for source in some}))
    if not sources:
        raise DataError(f"{guesses[both[0]]} and {references / both[0]} share no stem: give files the same names")
    rate = _rate(next(iter(truths[both[0]].values())))
    strange = sorted(set(guesses) - set(truths))
    if strange:
        warnings.warn(f"{len(strange)} folder(s) of estimates have no reference: {', '.join(strange[:5])}", stacklevel=2)
    pairs = []
    for name, stems in truths.items():
        folder = guesses.get(name, estimates / name)
        files = _stems(folder)
        true = tuple(_truth(source, stems, references / name) for source in sources)
        made = tuple(files.get(source, folder / f"{source}.wav") for source in sources)
        pairs.append(StemPair(name, true, made, rate, lengths))
    notices = [notice for pair in pairs for notice in pair.notices()]
    for notice in notices[:NOTICED]:
        warnings.warn(notice, stacklevel=2)
    if len(notices) > NOTICED:
        warnings.warn(f"... and {len(notices) - NOTICED} more files or tracks", stacklevel=2)
    return pairs, sources


def _tracks_root(folder: Path, what: str) -> Path:
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder of {what}: expected TRACK/STEM.wav below it")
    return folder / "test" if (folder / "test").is_dir() and not _stems(folder / "test") else folder


def _stems(folder: Path) -> dict[str, Path]:
    """Sound files of a track's folder by stem."""
    if not folder.is_dir() or folder.name.startswith("."):
        return {}
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in FORMATS and path.name[0] != "."}


def _listed(estimates: Path) -> dict[str, Path]:
    """Folders that `predict` names after its input files: by track, which for TRACK/mixture.wav is the folder."""
    try:
        files = json.loads((estimates / "stems.json").read_text(encoding="utf-8"))["files"]
        paths = {Path(file): estimates / row["folder"] for file, row in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    return {(path.parent.name if path.stem == "mixture" else path.stem): folder for path, folder in paths.items()}


def _common(truth: dict[str, Path], guess: dict[str, Path]) -> list[str]:
    """Stems of both, without sums of stems; but where the estimates are a stem X and its rest, no_X, those two."""
    shared = [name for name in guess if name in truth and name not in NO_STEMS]
    rest = [name for name in guess if _without(name) in shared and _without(name) != name]
    return shared + rest if len(shared) == 1 else shared


def _ordered(sources: set[str]) -> list[str]:
    return sorted(sources, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


def _without(name: str) -> str:
    """Stem that `no_X` lacks; accompaniment is what the vocals are accompanied by."""
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
