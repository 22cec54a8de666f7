"""One multitrack recording on disk: its stems, checked by their headers alone, and how pieces of them are read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from datamodules.audio.wav import Wav, open_wav
from datamodules.common.errors import DataError, printable

TOLERANCE_S = 0.05
"""Stems that differ by no more than this are cut to the shortest, s: encoders and rounding leave a few ms."""


Lengths = Literal["pad", "trim", "skip"]
"""What to do with stems of one track that differ by more: fill up with silence, cut to the shortest, leave the track out."""


class Unequal(DataError):
    """Stems of one track that differ in length by more than TOLERANCE_S."""

    kind = "unequal"


class UnfitTrack(DataError):
    """A file of another rate, or of channels that cannot be made the expected ones."""

    kind = "unfit"


class Silence(NamedTuple):
    """Stands for a stem that a track does not have, where it was told to count as silent; reads like a Wav."""

    path: str
    rate: int
    channels: int
    frames: int
    dtype: str = "<i2"
    damage: str | None = None
    name: str = ""

    def read(self, start: int, frames: int) -> np.ndarray:
        """Zeros (frames, channels) int16, as far as the track goes."""
        return np.zeros((max(0, min(frames, self.frames - start)), self.channels), self.dtype)

    def read_into(self, out: np.ndarray, start: int) -> None:
        """Fill with zeros."""
        out.fill(0)


class TrackFiles(NamedTuple):
    """Where a track's WAV files lie; a stem of None is silent, a mixture of None is the stems' sum."""

    name: str
    split: str  # train, validation or test
    stems: dict[str, Path | None]
    mixture: Path | None
    flaw: DataError | None = None  # why it cannot be used, where that is known already
    sources: dict[Path, Path] | None = None  # the user's file behind each file that was made from one


class Track(NamedTuple):
    """A recording whose headers are in order."""

    name: str
    split: str
    stems: dict[str, Wav | Silence]
    mixture: Wav | None  # None: the stems' sum
    frames: int
    remarks: tuple[str, ...] = ()  # sentences on what is odd about its files, though they are used
    notices: tuple[str, ...] = ()  # sentences on what was done about files that are in order

    @property
    def wavs(self) -> list[Wav]:
        """The files, mixture included."""
        return [wav for wav in (*self.stems.values(), self.mixture) if isinstance(wav, Wav)]


def open_track(files: TrackFiles, rate: int, channels: int, lengths: Lengths = "skip") -> Track:
    """Parse all headers. Raises DataError, which names the file, where one is missing or does not fit the others.

    rate in Hz. Mono files are taken for any number of channels.
    """
    if files.flaw:
        raise files.flaw
    made_from = files.sources or {}
    opened = {name: open_wav(path, made_from.get(path)) for name, path in files.stems.items() if path is not None}
    mixture = None if files.mixture is None else open_wav(files.mixture, made_from.get(files.mixture))
    wavs = [*opened.values(), *([mixture] if mixture else [])]
    if not wavs:
        raise DataError(f"The track {files.name} has none of the stems {', '.join(files.stems)}: leave it out or name others.")
    for wav in wavs:
        _require_fit(wav, rate, channels)
    shortest, longest = min(wavs, key=lambda wav: wav.frames), max(wavs, key=lambda wav: wav.frames)
    remarks, notices = [wav.damage for wav in wavs if wav.damage], []
    frames = shortest.frames
    if longest.frames - shortest.frames > TOLERANCE_S * rate:
        if shortest.damage:
            raise DataError(shortest.damage)
        frames, notice = _fitted(shortest, longest, lengths)
        notices.append(notice)
    elif longest.frames > shortest.frames:
        remarks.append(_unequal(shortest, longest, "the track is cut to the shortest."))
    silent = Silence("", rate, channels, frames)
    stems = {name: opened.get(name, silent) for name in files.stems}
    return Track(printable(files.name), files.split, stems, mixture, frames, tuple(remarks), tuple(notices))


def _fitted(shortest: Wav, longest: Wav, lengths: Lengths) -> tuple[int, str]:
    """Length of a track whose files differ, and what to say of it. Raises Unequal where it is to be left out."""
    if lengths == "pad":
        return longest.frames, _unequal(shortest, longest, "what is shorter ends in silence (--data.lengths trim or skip).")
    if lengths == "trim":
        return shortest.frames, _unequal(shortest, longest, "the track is cut to the shortest (--data.lengths pad or skip).")
    end = "export the stems of a track with one length, or say --data.lengths pad or trim."
    raise Unequal(_unequal(shortest, longest, end))


def _unequal(shortest: Wav, longest: Wav, end: str) -> str:
    return f"{shortest.name} has {shortest.frames} samples but {Path(longest.name).name} beside it {longest.frames}: {end}"


def _require_fit(wav: Wav, rate: int, channels: int) -> None:
    if wav.rate != rate:
        raise UnfitTrack(
            f"{wav.name} has {wav.rate} Hz where {rate} Hz are expected: convert it, or train at that rate with "
            f"--data.sample_rate {wav.rate}."
        )
    if wav.channels not in (1, channels):
        raise UnfitTrack(
            f"{wav.name} has {wav.channels} channels where {channels} are expected: convert it, or say "
            f"--data.channels {wav.channels}."
        )


def fill(out: np.ndarray, wav: Wav | Silence, start: int) -> None:
    """Read frames from `start` on into `out` (samples, channels), int16 or float32; zeros where the file ends.

    int16 becomes float32 in [-1, 1) where `out` is that; mono goes to every channel. Raises DataError for NaN.
    """
    count = max(0, min(len(out), wav.frames - start))
    part = out[:count]
    if wav.dtype == out.dtype.str and wav.channels == out.shape[1]:
        wav.read_into(part, start)
    else:
        sound = wav.read(start, count)
        part[:] = sound * np.float32(2**-15) if wav.dtype == "<i2" and out.dtype != np.int16 else sound
    if out.dtype != np.int16 and not np.isfinite(part).all():
        raise DataError(f"{wav.name} holds NaN or infinite samples: write it again or leave the track out.")
    out[count:] = 0


def sample_type(tracks: Sequence[Track]) -> np.dtype:
    """int16 where every file is, which is read and sent to the device as it is; else float32."""
    return np.dtype(np.int16 if all(wav.dtype == "<i2" for track in tracks for wav in track.wavs) else np.float32)
