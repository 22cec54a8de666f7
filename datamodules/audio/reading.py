"""Audio reader: file -> mono float32 (samples,) at one rate, whole, in blocks or cropped.

Decoded by libsndfile (mp3, wav, flac, ogg) or, if installed, PyAV (m4a, aac, wma, video), resampled by soxr. Lengths
declared by headers are not trusted.
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

from datamodules.audio.av_audio import MOST_CHANNELS, PYAV_AUDIO_SUFFIXES, VIDEO_SUFFIXES, AVSource
from datamodules.audio.decoding import AudioSource, open_source
from datamodules.audio.level import ChannelPower, downmix
from datamodules.common.errors import DataError

log = logging.getLogger(__name__)

AUDIO_SUFFIXES = (".mp3", ".wav", ".flac", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".au", ".caf", ".w64", *PYAV_AUDIO_SUFFIXES)
"""Suffixes of audio files; the last of them need PyAV."""

MEDIA_SUFFIXES = AUDIO_SUFFIXES + VIDEO_SUFFIXES
"""Suffixes of audio and video files."""

LOUDEST = 4.0
"""Largest magnitude of overdriven float audio; full scale is 1."""

RESAMPLER = "HQ"
CONTEXT_S = 0.05
"""Context on both sides of a resampled crop, s, for equality with the whole file to 1e-5."""


class AudioHeader(NamedTuple):
    """Header of a file; `frames` is often wrong for mp3."""

    sample_rate: int
    channels: int
    frames: int
    format: str


class Decoded(NamedTuple):
    """Decoded file."""

    audio: np.ndarray  # (samples,) float32 mono
    damage: str | None  # reason why decoding stopped early
    remark: str | None = None  # unusual downmix or level


def header(path: str | Path) -> AudioHeader:
    """Header of a file. Raises DataError if it cannot be opened."""
    with open_source(path) as source:
        return AudioHeader(source.rate, source.channels, max(0, source.claimed), source.format)


def resampled(frames: int, source_rate: int, rate: int) -> int:
    """Number of samples at `rate` Hz after resampling `frames` from `source_rate` Hz."""
    return (2 * frames * rate + source_rate) // (2 * source_rate)


def claimed_length(path: str | Path, rate: int) -> int:
    """Length in samples at `rate` as declared by the header: cheap, may be wrong."""
    claim = header(path)
    return resampled(claim.frames, claim.sample_rate, rate)


def length(path: str | Path, rate: int) -> int:
    """Length of the decoded file in samples at `rate`. Raises DataError if it holds no audio."""
    with open_source(path) as source:
        return resampled(sum(len(block) for block in source.blocks()), source.rate, rate)


def duration(path: str | Path) -> float:
    """Duration of the decoded file in s. Raises DataError if it holds no audio."""
    with open_source(path) as source:
        return sum(len(block) for block in source.blocks()) / source.rate


def read(path: str | Path, start: int, samples: int, rate: int) -> np.ndarray:
    """Read samples `start .. start + samples` (at `rate`) of a file as mono float32 (samples,), fewer at its end.

    Decodes only the crop and a little context. Equals the same crop of `read_file` to 1e-5 (Ogg Vorbis beyond its first
    minute: displaced by up to 20 ms).
    """
    with open_source(path) as source:
        audio = _crop(source, start, samples, rate)
        if source.power is None or not source.power.cancelled:
            return audio
    channel = loudest_of_cancelling(path)
    if channel is None:
        return audio
    with open_source(path, channel=channel) as source:
        return _crop(source, start, samples, rate)


def _crop(source: AudioSource | AVSource, start: int, samples: int, rate: int) -> np.ndarray:
    if source.rate == rate:
        return source.frames(start, samples)
    common = math.gcd(source.rate, rate)
    up, down = rate // common, source.rate // common
    context = math.ceil(CONTEXT_S * rate)
    # Output samples and input frames coincide once every `up` samples: a start there keeps the resampler's phase.
    grid = max(0, start - context) // up
    stop = math.ceil((start + samples + context) * source.rate / rate)
    audio = source.frames(grid * down, stop - grid * down)
    offset = start - grid * up
    return require_finite(_resample(audio, source.rate, rate)[offset : offset + samples], source.path)


def read_file(path: str | Path, rate: int) -> np.ndarray:
    """Read a whole file as mono float32 (samples,) at `rate`. Raises DataError if nothing decodes."""
    return decode(path, rate).audio


def decode(path: str | Path, rate: int) -> Decoded:
    """Decode a whole file at `rate`; of a truncated or damaged file the readable part, with the reason.

    Raises:
        DataError: the file holds no audio, or NaN or infinite samples.
    """
    with open_source(path) as source:
        whole, power = _whole(source, rate), source.power
        if power is None or not power.cancelled:
            return Decoded(whole, source.damage, _remark(whole))
    with open_source(path, channel=power.loudest) as source:
        whole = _whole(source, rate)
        return Decoded(whole, source.damage, _remark(whole, power.remark()))


def _remark(block: np.ndarray, other: str | None = None) -> str | None:
    """Remark on samples far beyond full scale, joined to another remark."""
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
    """Resampled blocks of an open file. Raises DataError if resampling gives NaN or infinity."""
    to_rate = resampler(source.rate, rate, 1, source.path)
    for block in source.blocks():
        yield to_rate(block, False)
    yield to_rate(np.zeros(0, np.float32), True)


class AudioBlocks:
    """Same samples as `decode`, as an iterable of blocks (samples,) in constant memory.

    A file of several channels is read twice, since channels that cancel each other are known at its end. `damage` and
    `remark` are those of `Decoded`, set after the last block.
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
    """Loudest channel of a file whose channels cancel each other; None if they do not."""
    power = _power(path)
    return power.loudest if power is not None and power.cancelled else None


def _power(path: str | Path) -> ChannelPower | None:
    """Channel powers of a whole file; None for mono."""
    if header(path).channels == 1:
        return None
    stat = Path(path).stat()
    return _measured(os.fspath(path), stat.st_size, stat.st_mtime_ns)


@lru_cache(1024)
def _measured(path: str, size: int, changed: int) -> ChannelPower | None:
    """Channel powers of a decoded file; size and time of change are part of the cache key."""
    with open_source(path) as source:
        for _ in source.blocks():
            pass
        return source.power


def mono(audio: ArrayLike, source_rate: int, rate: int) -> np.ndarray:
    """Convert audio in memory to mono float32 (samples,) at `rate`, mixed down like a file; see `as_waveform`.

    Raises:
        ValueError: other shapes or types, no samples, NaN or infinity.
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
    """Convert floats in [-1, 1) or int16, (samples,) or (channels, samples), to float32 (channels, samples).

    Warns of floats far beyond full scale, such as cast integers. Raises ValueError for other shapes and types.
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
    """Largest magnitude of an array of any shape, without a copy; 0 for an empty one."""
    return max(float(audio.max(initial=0.0)), -float(audio.min(initial=0.0)))


def overload(peak: float) -> str | None:
    """Warning about a peak far beyond full scale, or None."""
    if not peak > LOUDEST:
        return None
    return f"reaches {peak:.3g}, but full scale is 1: divide integers that were cast to float by their full scale"


def require_finite(audio: np.ndarray, path: str | Path) -> np.ndarray:
    """Return the audio, any shape. Raises DataError if it holds NaN or infinity."""
    if not np.isfinite(audio).all():
        raise DataError(f"{path} holds NaN, infinite or far too large samples: replace it or leave it out.")
    return audio


def to_int16(audio: np.ndarray) -> np.ndarray:
    """Convert float32 in [-1, 1) to int16, rounded and clipped."""
    return np.clip(np.rint(audio * np.float32(32768)), -32768, 32767).astype(np.int16)


class _Growing:
    """Growing float32 array; resized in place instead of copied."""

    def __init__(self, expected: int) -> None:
        self.data = np.empty(expected, np.float32)
        self.used = 0

    def append(self, block: np.ndarray) -> None:
        if self.used + len(block) > len(self.data):
            self.data.resize(int((self.used + len(block)) * 1.25), refcheck=False)
        self.data[self.used : self.used + len(block)] = block
        self.used += len(block)

    def close(self) -> np.ndarray:
        self.data.resize(self.used, refcheck=False)
        return self.data


def resampler(source_rate: int, rate: int, channels: int, path: str | Path) -> Callable[[np.ndarray, bool], np.ndarray]:
    """Streaming resampler: function (block, last) -> resampled block, of (n, channels) or (n,) for one channel.

    The function raises DataError with the path if resampling gives NaN or infinity.
    """
    if source_rate == rate:
        return lambda block, last: block
    import soxr

    stream = soxr.ResampleStream(source_rate, rate, channels, dtype="float32", quality=RESAMPLER)
    return lambda block, last: require_finite(stream.resample_chunk(np.ascontiguousarray(block), last), path)


def _resample(audio: np.ndarray, source_rate: int, rate: int) -> np.ndarray:
    import soxr

    if not len(audio) or source_rate == rate:
        return np.ascontiguousarray(audio)
    return soxr.resample(np.ascontiguousarray(audio), source_rate, rate, quality=RESAMPLER)
