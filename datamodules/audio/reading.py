"""Read audio files: decode, mix down to mono, resample, crop by seeking.

Decoding is libsndfile's (mp3, wav, flac, ogg), or PyAV's where that is installed (m4a, aac, wma, films); nothing here trusts
the length that a file's header claims.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from datamodules.audio.av_audio import FILMS, SOUNDS, AVSource
from datamodules.audio.decoding import AudioSource, open_source
from datamodules.audio.level import ChannelPower, downmix
from datamodules.common.errors import DataError

log = logging.getLogger(__name__)

EXTENSIONS = (".mp3", ".wav", ".flac", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".au", ".caf", ".w64", *SOUNDS)
"""File name endings of sound files; the last of them need PyAV."""

READABLE = EXTENSIONS + FILMS
"""File name endings of sound files and films."""

MOST_CHANNELS = 64
"""Channels beyond which an array must be (samples, channels) by mistake."""

LOUDEST = 4.0
"""Largest magnitude of floats that can still be overdriven audio; full scale is 1."""

RESAMPLER = "HQ"
CONTEXT_S = 0.05
"""Context on both sides of a resampled crop, s: makes it equal the crop of the whole to 1e-5."""


class AudioHeader(NamedTuple):
    """What a file says of itself; `frames` is a claim, often wrong for mp3."""

    sample_rate: int
    channels: int
    frames: int
    format: str


class Decoded(NamedTuple):
    """A whole file: `audio` (samples,) float32 mono, what was wrong with it and how it was mixed down (None: nothing to say)."""

    audio: np.ndarray
    damage: str | None
    remark: str | None = None


def header(path: str | Path) -> AudioHeader:
    """Sampling rate, channels and claimed frames of a file. Raises DataError where it cannot be opened."""
    with open_source(path) as source:
        return AudioHeader(source.rate, source.channels, max(0, source.claimed), source.format)


def resampled(frames: int, source_rate: int, rate: int) -> int:
    """Samples that `frames` at `source_rate` become at `rate`."""
    return (2 * frames * rate + source_rate) // (2 * source_rate)


def claimed_length(path: str | Path, rate: int) -> int:
    """Samples at `rate` that the header claims: cheap, not to be trusted."""
    claim = header(path)
    return resampled(claim.frames, claim.sample_rate, rate)


def length(path: str | Path, rate: int) -> int:
    """Samples at `rate` that decoding the file yields. Raises DataError where that is none."""
    with open_source(path) as source:
        return resampled(sum(len(block) for block in source.blocks()), source.rate, rate)


def duration(path: str | Path) -> float:
    """Seconds that decoding the file yields. Raises DataError where that is none."""
    with open_source(path) as source:
        return sum(len(block) for block in source.blocks()) / source.rate


def read(path: str | Path, start: int, samples: int, rate: int) -> np.ndarray:
    """Crop `start .. start + samples`, both in samples at `rate`, of the file as mono float32 at that rate.

    Only the crop and a little context are decoded. Shorter than asked where the file ends, and empty beyond.
    Equals the same crop of `read_file` to 1e-5 (Ogg Vorbis beyond its first minute: displaced by up to 20 ms).
    """
    with open_source(path) as source:
        piece = _crop(source, start, samples, rate)
        if source.power is None or not source.power.cancelled:
            return piece
    channel = loudest_of_cancelling(path)
    if channel is None:
        return piece
    with open_source(path, channel=channel) as source:
        return _crop(source, start, samples, rate)


def _crop(source: AudioSource | AVSource, start: int, samples: int, rate: int) -> np.ndarray:
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
    return require_finite(_resample(piece, source.rate, rate)[offset : offset + samples], source.path)


def read_file(path: str | Path, rate: int) -> np.ndarray:
    """The whole file as mono float32 (samples,) at `rate`. Raises DataError where nothing decodes."""
    return decode(path, rate).audio


def decode(path: str | Path, rate: int) -> Decoded:
    """The whole file at `rate`, decoded block by block, with a sentence on any damage.

    A truncated or partly damaged file gives what it yields. Raises DataError where that is nothing, or where
    the audio holds NaN or infinity.
    """
    with open_source(path) as source:
        whole, power = _whole(source, rate), source.power
        if power is None or not power.cancelled:
            return Decoded(whole, source.damage, _remark(whole))
    with open_source(path, channel=power.loudest) as source:
        whole = _whole(source, rate)
        return Decoded(whole, source.damage, _remark(whole, power.remark()))


def _remark(block: np.ndarray, other: str | None = None) -> str | None:
    """Sentence on samples far beyond full scale, joined to another one."""
    loud = overload(largest(block))
    return "; ".join(filter(None, (other, loud and f"it {loud}"))) or None


def _whole(source: AudioSource | AVSource, rate: int) -> np.ndarray:
    audio = _Growing(resampled(source.expected, source.rate, rate))
    for block in _blocks(source, rate):
        audio.append(block)
    if not audio.used:
        raise DataError(f"{source.path} is shorter than one sample at {rate} Hz: replace it or leave it out.")
    return audio.close()


def _blocks(source: AudioSource | AVSource, rate: int) -> Iterator[np.ndarray]:
    """An open file at `rate`, block by block. Raises DataError where resampling leaves what is not finite."""
    to_rate = resampler(source.rate, rate, 1, source.path)
    for block in source.blocks():
        yield to_rate(block, False)
    yield to_rate(np.zeros(0, np.float32), True)


class AudioBlocks:
    """A file as blocks (samples,) of mono float32 at `rate`, which together are what `decode` gives, in constant memory.

    A file of several channels is read twice: whether they cancel each other shows at its end.
    `damage` and `remark` are those of `Decoded`, known after the last block.
    """

    def __init__(self, path: str | Path, rate: int) -> None:
        self.path, self.rate = path, rate
        self.damage: str | None = None
        self.remark: str | None = None

    def __iter__(self) -> Iterator[np.ndarray]:
        power = _power(self.path)
        channel = None
        if power is not None and power.cancelled:
            channel, self.remark = power.loudest, power.remark()
        with open_source(self.path, channel=channel) as source:
            samples, peak = 0, np.zeros(1, np.float32)
            for block in _blocks(source, self.rate):
                samples += len(block)
                peak = np.maximum(peak, largest(block))
                yield block
            self.damage, self.remark = source.damage, _remark(peak, self.remark)
        if not samples:
            raise DataError(f"{self.path} is shorter than one sample at {self.rate} Hz: replace it or leave it out.")


def loudest_of_cancelling(path: str | Path) -> int | None:
    """Channel that is used alone because all together cancel each other in the whole file; None: their mean is used."""
    power = _power(path)
    return power.loudest if power is not None and power.cancelled else None


def _power(path: str | Path) -> ChannelPower | None:
    """Powers of a whole file's channels; None for mono."""
    if header(path).channels == 1:
        return None
    stat = Path(path).stat()
    return _measured(os.fspath(path), stat.st_size, stat.st_mtime_ns)


@lru_cache(1024)
def _measured(path: str, size: int, changed: int) -> ChannelPower | None:
    """Powers of a file of that size and time of change, by decoding it."""
    with open_source(path) as source:
        for _ in source.blocks():
            pass
        return source.power


def mono(audio: ArrayLike, source_rate: int, rate: int) -> np.ndarray:
    """Audio in memory, (samples,) or (channels, samples), as float32 (samples,) at `rate`, mixed down like a file.

    Floats in [-1, 1) or int16; arrays and tensors. Raises ValueError for anything else, and for no samples, NaN and infinity.
    """
    waveform = as_waveform(audio)
    if not waveform.size:
        raise ValueError("the audio has no samples")
    mixed, remark = downmix(waveform.T)
    if remark:
        log.warning("The audio's channels were not averaged: %s.", remark)
    try:
        return require_finite(_resample(mixed, source_rate, rate), "the audio in memory")
    except DataError as error:
        raise ValueError(str(error)) from None


def as_waveform(audio: ArrayLike) -> np.ndarray:
    """Floats in [-1, 1) or int16, (samples,) or (channels, samples), as float32 (channels, samples).

    Floats far beyond full scale, such as integers that were cast, are warned of. Raises ValueError for other shapes and types.
    """
    audio = np.atleast_2d(np.asarray(audio))
    if audio.ndim != 2 or len(audio) > MOST_CHANNELS:
        raise ValueError(f"expected audio as (samples,) or (channels, samples), got {audio.shape}: soundfile's is the transpose")
    if audio.dtype == np.int16:
        return audio.astype(np.float32) / np.float32(32768)
    if not np.issubdtype(audio.dtype, np.floating):
        raise ValueError(f"expected audio as floats in [-1, 1) or int16, got {audio.dtype}")
    audio = np.asarray(audio, dtype=np.float32)
    if remark := overload(largest(audio)):
        log.warning("The audio in memory %s.", remark)
    return audio


def largest(audio: np.ndarray) -> float:
    """Largest magnitude of floats of any shape, without a copy of them; 0 for none."""
    return max(float(audio.max(initial=0.0)), -float(audio.min(initial=0.0)))


def overload(peak: float) -> str | None:
    """Warning about floats whose largest magnitude lies far beyond full scale, or None."""
    if not peak > LOUDEST:
        return None
    return f"reaches {peak:.3g} where 1 is full scale: integers that were cast to float must be divided by their full scale"


def require_finite(audio: np.ndarray, path: str | Path) -> np.ndarray:
    """The audio itself, any shape. Raises DataError, which names the file, where it holds NaN or infinity."""
    if not np.isfinite(audio).all():
        raise DataError(f"{path} holds NaN, infinite or far too large samples: replace it or leave it out.")
    return audio


def to_int16(audio: np.ndarray) -> np.ndarray:
    """float32 in [-1, 1) as int16, rounded and clipped."""
    return np.clip(np.rint(audio * np.float32(32768)), -32768, 32767).astype(np.int16)


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


def resampler(source_rate: int, rate: int, channels: int, path: str | Path) -> Callable[[np.ndarray, bool], np.ndarray]:
    """A function (block, last) -> resampled block; blocks are (n, channels), or (n,) of one channel.

    The function raises DataError, which names the path, where resampling leaves what is not finite.
    """
    if source_rate == rate:
        return lambda block, last: block
    import soxr

    stream = soxr.ResampleStream(source_rate, rate, channels, dtype="float32", quality=RESAMPLER)
    return lambda block, last: require_finite(stream.resample_chunk(np.ascontiguousarray(block), last), path)


def _resample(audio: np.ndarray, source_rate: int, rate: int) -> np.ndarray:
    import soxr

    if not len(audio):
        return audio
    return soxr.resample(np.ascontiguousarray(audio), source_rate, rate, quality=RESAMPLER)
