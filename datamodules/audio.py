"""Read audio files: decode, mix down to mono, resample, crop by seeking.

Decoding is libsndfile's (mp3, wav, flac, ogg); nothing here trusts the length that a file's header claims.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from datamodules.errors import DataError

EXTENSIONS = (".mp3", ".wav", ".flac", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".au", ".caf", ".w64")
"""File name endings that are decoded here."""

UNREADABLE = (".m4a", ".aac", ".mp4", ".wma", ".ape", ".wv")
"""Endings of audio files that libsndfile cannot decode: a user should be told, not ignored."""

BLOCK = 1 << 17
"""Frames decoded at a time, so that an hour of six channels never lies in memory at once."""

MP3_PREROLL = 8 * 1152
"""Frames decoded and thrown away before an mp3 crop.

A frame may keep its bits in up to nine frames before it, so that what a decoder yields right after a seek is
wrong for up to 0.3 s in files of low or variable bit rate.
"""

VORBIS_SEEK_S = 60
"""Ogg Vorbis crops that start before this are decoded from the file's start, s.

After a seek libsndfile misplaces Vorbis by up to 20 ms where short blocks meet a page, and in the last page.
"""

RESAMPLER = "HQ"
CONTEXT_S = 0.05
"""Context on both sides of a resampled crop, s: makes it equal the crop of the whole to 1e-5."""

TOLERANCE_S = 0.5
"""A file that decodes to less than its header claims by more than this is reported, s."""


class Header(NamedTuple):
    """What a file says of itself; `frames` is a claim, often wrong for mp3."""

    sample_rate: int
    channels: int
    frames: int
    format: str


class Decoded(NamedTuple):
    """A whole file: `audio` (samples,) float32 mono, and what was wrong with it (None: nothing)."""

    audio: np.ndarray
    damage: str | None


def header(path: str | Path) -> Header:
    """Sampling rate, channels and claimed frames of a file. Raises DataError where it cannot be opened."""
    with _open(path) as file:
        return Header(file.samplerate, file.channels, max(0, file.frames), file.format)


def resampled(frames: int, source_rate: int, rate: int) -> int:
    """Samples that `frames` at `source_rate` become at `rate`."""
    return (2 * frames * rate + source_rate) // (2 * source_rate)


def claimed_length(path: str | Path, rate: int) -> int:
    """Samples at `rate` that the header claims: cheap, not to be trusted."""
    claim = header(path)
    return resampled(claim.frames, claim.sample_rate, rate)


def length(path: str | Path, rate: int) -> int:
    """Samples at `rate` that decoding the file yields. Raises DataError where that is none."""
    with _Source(path) as source:
        return resampled(sum(len(block) for block in source.blocks()), source.rate, rate)


def duration(path: str | Path) -> float:
    """Seconds that decoding the file yields. Raises DataError where that is none."""
    with _Source(path) as source:
        return sum(len(block) for block in source.blocks()) / source.rate


def read(path: str | Path, start: int, samples: int, rate: int) -> np.ndarray:
    """Crop `start .. start + samples`, both in samples at `rate`, of the file as mono float32 at that rate.

    Only the crop and a little context are decoded. Shorter than asked where the file ends, and empty beyond.
    Equals the same crop of `read_file` to 1e-5 (Ogg Vorbis beyond its first minute: displaced by up to 20 ms).
    """
    with _Source(path) as source:
        if source.rate == rate:
            return source.frames(start, samples)
        common = math.gcd(source.rate, rate)
        up, down = rate // common, source.rate // common
        context = math.ceil(CONTEXT_S * rate)
        # Output samples and input frames fall on each other once every `up` samples: starting there keeps the
        # resampler's phase that of the whole file.
        grid = max(0, start - context) // up
        stop = math.ceil((start + samples + context) * source.rate / rate)
        piece = source.frames(grid * down, stop - grid * down)
        offset = start - grid * up
        return _resample(piece, source.rate, rate)[offset : offset + samples]


def read_file(path: str | Path, rate: int) -> np.ndarray:
    """The whole file as mono float32 (samples,) at `rate`. Raises DataError where nothing decodes."""
    return decode(path, rate).audio


def decode(path: str | Path, rate: int) -> Decoded:
    """The whole file at `rate`, decoded block by block, with a sentence on any damage.

    A truncated or partly damaged file gives what it yields. Raises DataError where that is nothing, or where
    the audio holds NaN or infinity.
    """
    with _Source(path) as source:
        claimed = source.file.frames
        audio = _Growing(resampled(max(0, min(claimed, source.plausible)), source.rate, rate))
        resampler = _stream(source.rate, rate)
        frames = 0
        for block in source.blocks():
            frames += len(block)
            audio.append(resampler(block, False))
        audio.append(resampler(np.zeros(0, np.float32), True))
        damage = source.damage
        if damage is None and claimed - frames > TOLERANCE_S * source.rate:
            damage = f"decodes to {frames / source.rate:.1f} s where its header claims {claimed / source.rate:.1f} s"
        return Decoded(audio.close(), damage)


def to_int16(audio: np.ndarray) -> np.ndarray:
    """float32 in [-1, 1) as int16, rounded and clipped."""
    return np.clip(np.rint(audio * np.float32(32768)), -32768, 32767).astype(np.int16)


def _open(path: str | Path) -> soundfile.SoundFile:
    path = os.fspath(path)
    try:
        return soundfile.SoundFile(path)
    except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
        raise DataError(_why(path)) from error


def _why(path: str) -> str:
    """One sentence on a file that does not open."""
    file = Path(path)
    if not file.exists():
        return f"{path} does not exist."
    if file.is_dir():
        return f"{path} is a folder where an audio file was expected."
    if not os.access(path, os.R_OK):
        return f"{path} may not be read: change its permissions."
    if file.stat().st_size == 0:
        return f"{path} is empty (0 bytes): copy or download it again."
    if path.lower().endswith(UNREADABLE):
        return f"{path} is in a format that is not read here: convert it to wav, flac, ogg or mp3."
    return f"{path} does not decode as audio (wav, flac, ogg and mp3 do): replace it or leave it out."


class _Source:
    """An open file as mono float32 at its own rate; `damage` tells why decoding stopped early."""

    def __init__(self, path: str | Path) -> None:
        self.path = os.fspath(path)
        self.file = _open(path)
        self.rate = self.file.samplerate
        self.damage: str | None = None
        # No format here stores a second of sound in less than 500 bytes: a wild header must not allocate memory.
        self.plausible = int(Path(self.path).stat().st_size / 500 * self.rate) + BLOCK

    def __enter__(self) -> _Source:
        return self

    def __exit__(self, *_) -> None:
        self.file.close()

    def blocks(self) -> Iterator[np.ndarray]:
        """The file from its start, block by block. Raises DataError where it yields nothing."""
        total = 0
        while len(block := self._read(BLOCK)):
            total += len(block)
            yield block
        if not total:
            raise DataError(f"{self.path} holds no audio: replace it or leave it out.")
        if self.damage:
            self.damage = f"decoding breaks off at {total / self.rate:.1f} s"

    def frames(self, start: int, count: int) -> np.ndarray:
        """Frames `start .. start + count` as far as the file goes."""
        preroll = 0
        if self.file.format in ("MP3", "MPEG"):
            preroll = min(start, MP3_PREROLL)
        elif self.file.subtype == "VORBIS":
            preroll = start if start <= VORBIS_SEEK_S * self.rate else 0
        try:
            self.file.seek(start - preroll)
        except (soundfile.LibsndfileError, RuntimeError, ValueError):
            return np.zeros(0, np.float32)
        return self._read(count + preroll)[preroll:]

    def _read(self, count: int) -> np.ndarray:
        try:
            block = self.file.read(count, dtype="float32", always_2d=True)
        # soundfile turns an error code of the mp3 decoder into a negative array size.
        except (soundfile.LibsndfileError, RuntimeError, ValueError):
            self.damage = "decoding breaks off"
            return np.zeros(0, np.float32)
        mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
        if not np.isfinite(mono).all():
            raise DataError(f"{self.path} holds NaN or infinite samples: replace it or leave it out.")
        return mono


class _Growing:
    """A float32 array appended to, without holding everything twice."""

    def __init__(self, expected: int) -> None:
        self.data = np.empty(expected, np.float32)
        self.used = 0

    def append(self, piece: np.ndarray) -> None:
        if self.used + len(piece) > len(self.data):
            self.data.resize(int((self.used + len(piece)) * 1.25), refcheck=False)
        self.data[self.used : self.used + len(piece)] = piece
        self.used += len(piece)

    def close(self) -> np.ndarray:
        self.data.resize(self.used, refcheck=False)
        return self.data


def _stream(source_rate: int, rate: int):
    """A function (block, last) -> resampled block."""
    if source_rate == rate:
        return lambda block, last: block
    import soxr

    return soxr.ResampleStream(source_rate, rate, 1, dtype="float32", quality=RESAMPLER).resample_chunk


def _resample(audio: np.ndarray, source_rate: int, rate: int) -> np.ndarray:
    import soxr

    if not len(audio):
        return audio
    return soxr.resample(np.ascontiguousarray(audio), source_rate, rate, quality=RESAMPLER)
