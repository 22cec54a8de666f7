"""Multitrack recording on disk: stem files -> track with checked headers, readable at any frame."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from datamodules.audio.wav import Wav, open_wav
from datamodules.common.errors import DataError, printable

TOLERANCE_S = 0.05
"""Stems that differ in length by no more than this are trimmed to the shortest, s: encoders and rounding add a few ms."""


Lengths = Literal["pad", "trim", "skip"]
"""Handling of larger differences: pad with silence, trim to the shortest, or leave the track out."""


class UnequalLengths(DataError):
    """Stems of one track that differ in length by more than TOLERANCE_S."""

    kind = "unequal"


class UnfitTrack(DataError):
    """File with another sampling rate or number of channels."""

    kind = "unfit"


class SilentStem(NamedTuple):
    """Silent stem in place of a missing file, with the interface of Wav."""

    path: str
    rate: int
    channels: int
    frames: int
    dtype: str = "<i2"
    damage: str | None = None
    name: str = ""

    def read(self, start: int, frames: int) -> np.ndarray:
        """Zeros (frames, channels) int16, fewer at the end of the track."""
        return np.zeros((max(0, min(frames, self.frames - start)), self.channels), self.dtype)

    def read_into(self, out: np.ndarray, start: int) -> None:
        """Fill with zeros."""
        out.fill(0)


class TrackFiles(NamedTuple):
    """WAV files of a track."""

    name: str
    split: str  # train, validation or test
    stems: dict[str, Path | None]  # None: silent
    mixture: Path | None  # None: sum of the stems
    flaw: DataError | None = None  # error that is known before the files are opened
    sources: dict[Path, Path] | None = None  # converted file -> user's file


class Track(NamedTuple):
    """Track with valid headers."""

    name: str
    split: str
    stems: dict[str, Wav | SilentStem]
    mixture: Wav | None  # None: sum of the stems
    frames: int
    remarks: tuple[str, ...] = ()  # messages on damaged files that are used
    notices: tuple[str, ...] = ()  # messages on valid files that are padded or trimmed

    @property
    def wavs(self) -> list[Wav]:
        """Files, including the mixture."""
        return [wav for wav in (*self.stems.values(), self.mixture) if isinstance(wav, Wav)]


def open_track(files: TrackFiles, rate: int, channels: int, lengths: Lengths = "skip") -> Track:
    """Read the headers of a track. Raises DataError if a file is missing or does not match.

    rate in Hz; mono files are accepted for any number of channels.
    """
    if files.flaw:
        raise files.flaw
    sources = files.sources or {}
    opened = {name: open_wav(path, sources.get(path)) for name, path in files.stems.items() if path is not None}
    mixture = None if files.mixture is None else open_wav(files.mixture, sources.get(files.mixture))
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
        remarks.append(_unequal(shortest, longest, "the track is trimmed to the shortest."))
    silent = SilentStem("", rate, channels, frames)
    stems = {name: opened.get(name, silent) for name in files.stems}
    return Track(printable(files.name), files.split, stems, mixture, frames, tuple(remarks), tuple(notices))


def _fitted(shortest: Wav, longest: Wav, lengths: Lengths) -> tuple[int, str]:
    """Length of a track whose files differ, and a message. Raises UnequalLengths if `lengths` is `skip`."""
    if lengths == "pad":
        return longest.frames, _unequal(shortest, longest, "shorter files are padded with silence (--data.lengths trim or skip).")
    if lengths == "trim":
        return shortest.frames, _unequal(shortest, longest, "the track is trimmed to the shortest (--data.lengths pad or skip).")
    end = "export the stems of a track with one length, or set --data.lengths pad or trim."
    raise UnequalLengths(_unequal(shortest, longest, end))


def _unequal(shortest: Wav, longest: Wav, end: str) -> str:
    return f"{shortest.name} has {shortest.frames} samples but {Path(longest.name).name} beside it {longest.frames}: {end}"


def _require_fit(wav: Wav, rate: int, channels: int) -> None:
    if wav.rate != rate:
        raise UnfitTrack(
            f"{wav.name} has a sampling rate of {wav.rate} Hz, expected {rate} Hz: convert it, or train at that rate with "
            f"--data.sample_rate {wav.rate}."
        )
    if wav.channels not in (1, channels):
        raise UnfitTrack(
            f"{wav.name} has {wav.channels} channels, expected {channels}: convert it, or set --data.channels {wav.channels}."
        )


def fill(out: np.ndarray, wav: Wav | SilentStem, start: int) -> None:
    """Read frames from `start` into `out` (samples, channels), int16 or float32, zero-padded at the end of the file.

    int16 samples are converted to float32 in [-1, 1) if `out` is float32; mono is copied to every channel. Raises DataError
    for NaN or infinite samples.
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
    """int16 if all files are, which is read and sent to the device unchanged; else float32."""
    return np.dtype(np.int16 if all(wav.dtype == "<i2" for track in tracks for wav in track.wavs) else np.float32)
