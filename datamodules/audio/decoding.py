"""Decoder of one audio file: path -> float32 blocks or crops (frames, channels), by libsndfile or PyAV.

libmpg123 inside libsndfile prints notes on damaged mp3 files to standard error. Neither library has a switch for them
(libsndfile issue 958), and redirecting file descriptor 2 would take along the messages of other threads.
"""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np
import soundfile

from datamodules.audio import av_audio
from datamodules.audio.av_audio import AVSource
from datamodules.audio.level import ChannelPower, Mixdown
from datamodules.audio.wav import check_rate
from datamodules.common.errors import DataError

BLOCK = 1 << 17
"""Frames decoded at a time, so that an hour of six channels never lies in memory at once."""

MP3_PREROLL = 8 * 1152
"""Frames decoded and dropped before an mp3 crop: the bit reservoir reaches back up to nine mp3 frames, so that audio right
after a seek is wrong for up to 0.3 s at low or variable bit rates."""

VORBIS_SEEK_S = 60
"""Ogg Vorbis crops that start before this are decoded from the file's start, s: after a seek libsndfile displaces Vorbis by up
to 20 ms where short blocks meet a page, and in the last page."""

TOLERANCE_S = 0.5
"""A file that decodes to less than its header declares by more than this is reported, s."""

ENDLESS = 64
"""Declared size of an `_Endless` mp3 as a multiple of its real size: covers 320 down to less than 8 kbit/s."""

MPEG = ("MP3", "MPEG")
"""libsndfile's names of mp3 files."""

ID3_TAG = 128
"""Bytes of the tag that mp3 decoders look for at a file's end."""


def system_path(path: str | Path) -> str | bytes:
    """Path for soundfile: bytes except on Windows, since soundfile cannot encode a name that is not UTF-8."""
    return os.fspath(path) if os.name == "nt" else os.fsencode(path)


class StreamedFile(soundfile.SoundFile):
    """Sound file that is read sequentially unless `seek` is called.

    soundfile seeks after every read of a seekable file. This empties the bit reservoir of an mp3 decoder, and up to 0.3 s
    are wrong.
    """

    def seekable(self) -> bool:
        """False for MPEG audio, so that soundfile does not seek after reading."""
        return self.format not in MPEG and super().seekable()


def open_audio(path: str | Path, kind: type[soundfile.SoundFile] = soundfile.SoundFile) -> soundfile.SoundFile:
    """Open a file for reading, as an instance of `kind`. Raises DataError if it cannot be opened."""
    path = os.fspath(path)
    try:
        file = kind(system_path(path))
    except (soundfile.LibsndfileError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise DataError(_open_error(path)) from error
    try:
        check_rate(path, file.samplerate)
    except DataError:
        file.close()
        raise
    return file


def open_source(path: str | Path, mono: bool = True, channel: int | None = None) -> "AudioSource | AVSource":
    """Open a file for decoding, by PyAV for `av_audio.PYAV_SUFFIXES` and if libsndfile cannot open it.

    Args:
        path: audio or video file
        mono, channel: as in `AudioSource`

    Raises:
        DataError: the file cannot be opened, or needs PyAV, which is not installed.
    """
    path = os.fspath(path)
    if (reason := _unavailable(path)) is not None:
        raise DataError(reason)
    if path.lower().endswith(av_audio.PYAV_SUFFIXES):
        if av_audio.is_installed():
            return AVSource(path, mono, channel)
        source = AudioSource(path, mono, channel)  # the suffix may be wrong
        if source.format in MPEG:  # the mp3 decoder accepts any video file
            source.close()
            raise DataError(av_audio.install_hint(path))
        return source
    try:
        return AudioSource(path, mono, channel)
    except DataError:
        try:
            if av_audio.is_installed():
                return AVSource(path, mono, channel)
        except DataError:
            pass
        raise


def _unavailable(path: str) -> str | None:
    """Error message for a missing, empty or protected file; None: it can be opened."""
    file = Path(path)
    if not file.exists():
        return f"{path} is a broken link to {file.readlink()}." if file.is_symlink() else f"{path} does not exist."
    if file.is_dir():
        return f"{path} is a folder, expected an audio file."
    if not os.access(path, os.R_OK):
        return f"{path} cannot be read (permission denied): change its permissions."
    return f"{path} is empty (0 bytes): copy or download it again." if file.stat().st_size == 0 else None


def _open_error(path: str) -> str:
    """Error message for a file that cannot be opened."""
    if (reason := _unavailable(path)) is not None:
        return reason
    if path.lower().endswith(av_audio.PYAV_SUFFIXES):
        return av_audio.install_hint(path)
    return f"{path} does not decode as audio (wav, flac, ogg and mp3 do): replace it or leave it out."


class AudioSource:
    """Open audio file, decoded to float32 at its own rate.

    Attributes:
        damage: after the last block, the reason why decoding stopped early; None: it did not
        power: powers of the channels mixed so far, which show whether they cancel; None: nothing was mixed
        mixdown: downmix of the blocks

    Args:
        path: sound file
        mono: mix the channels to blocks (frames,); otherwise blocks are (frames, channels)
        channel: with `mono`, use this channel alone instead of the mean
    """

    def __init__(self, path: str | Path, mono: bool = True, channel: int | None = None) -> None:
        self.path = os.fspath(path)
        self.file = open_audio(path, StreamedFile)
        self.mono, self.rate, self.channels = mono, self.file.samplerate, self.file.channels
        self.mixdown = Mixdown(channel)
        self.format = self.file.format
        self._mp3 = self.format in MPEG
        self.damage: str | None = None
        # A damaged header must not allocate memory; a longer array grows as it is filled.
        self.plausible = int(Path(self.path).stat().st_size / 500 * self.rate) + BLOCK

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    @property
    def power(self) -> ChannelPower | None:
        """Powers of the channels that were mixed so far."""
        return self.mixdown.power

    @property
    def claimed(self) -> int:
        """Frames declared by the header."""
        return self.file.frames

    @property
    def expected(self) -> int:
        """Declared frames, limited to what the file's size allows."""
        return max(0, min(self.claimed, self.plausible))

    def blocks(self) -> Iterator[np.ndarray]:
        """Decode the file from its start, block by block. Raises DataError if it holds no audio."""
        total, claimed = 0, self.file.frames
        while len(block := self._read(BLOCK)):
            total += len(block)
            yield block
        if self._mp3 and self.damage is None and total == self.file.frames and self._reopen_endless():
            while len(block := self.frames(total, BLOCK)):
                total += len(block)
                yield block
        if not total:
            raise DataError(f"{self.path} holds no audio: replace it or leave it out.")
        if self.damage:
            self.damage = f"breaks off at {total / self.rate:.1f} s"
        elif claimed - total > TOLERANCE_S * self.rate:
            self.damage = f"decodes to {total / self.rate:.1f} s, but its header claims {claimed / self.rate:.1f} s"

    def frames(self, start: int, count: int) -> np.ndarray:
        """Decode frames `start .. start + count`, fewer at the end of the file."""
        preroll = 0
        if self._mp3:
            preroll = min(start, MP3_PREROLL)
            if start + count > self.file.frames:
                self._reopen_endless()
        elif self.file.subtype == "VORBIS":
            preroll = start if start <= VORBIS_SEEK_S * self.rate else 0
        try:
            self.file.seek(start - preroll)
        except (soundfile.LibsndfileError, RuntimeError, ValueError):
            return self._nothing()
        return self._read(count + preroll)[preroll:]

    def _reopen_endless(self) -> bool:
        """Reopen an mp3 without frame count as a file of unlimited size; False if its length is known.

        Without a Xing or VBRI tag libsndfile estimates the length from the first frame's bit rate and stops there, so that a
        file of variable rate with a loud beginning would lose its end.
        """
        if _counts_frames(self.path):
            return False
        self.file.close()
        try:
            self.file = StreamedFile(_Endless(self.path))
        except (soundfile.LibsndfileError, RuntimeError):  # a header that is valid only for the file's own size
            self.file = open_audio(self.path, StreamedFile)
            self.damage = "breaks off"
        return self.damage is None

    def _read(self, count: int) -> np.ndarray:
        try:
            block = self.file.read(count, dtype="float32", always_2d=True)
        # soundfile turns an error code of the mp3 decoder into a negative array size.
        except (soundfile.LibsndfileError, RuntimeError, ValueError):
            self.damage = "breaks off"
            return self._nothing()
        if self.mono:
            block = self.mixdown(block)
        if not np.isfinite(block).all():
            raise DataError(f"{self.path} holds NaN or infinite samples: replace it or leave it out.")
        return block

    def _nothing(self) -> np.ndarray:
        return np.zeros(0 if self.mono else (0, self.channels), np.float32)


def _counts_frames(path: str) -> bool:
    """True if the first frame of an mp3, after any ID3v2 tag, holds the number of frames (Xing, Info or VBRI)."""
    with Path(path).open("rb") as file:
        head = file.read(10)
        if head.startswith(b"ID3"):
            file.seek(10 + sum((byte & 127) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True)))
        else:
            file.seek(0)
        frame = file.read(2048)
    return any(tag in frame for tag in (b"Xing", b"Info", b"VBRI"))


class _Endless(io.FileIO):
    """File that reports ENDLESS times its size, with zeros for the ID3 tag at that end."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.claim = ENDLESS * os.fstat(self.fileno()).st_size

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return super().seek(self.claim + offset) if whence == os.SEEK_END else super().seek(offset, whence)

    def readinto(self, buffer) -> int:
        left = self.claim - self.tell()
        if left > ID3_TAG:
            return super().readinto(buffer)
        buffer[:left] = bytes(min(left, len(buffer)))
        return left
