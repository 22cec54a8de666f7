"""Decode one audio file as blocks or at any place in it: by libsndfile, around what its formats get wrong, or by PyAV."""

import io
import os
import re
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Self

import numpy as np
import soundfile

from datamodules.audio import av_audio
from datamodules.audio.av_audio import AVSource
from datamodules.audio.level import ChannelPower, Mixdown
from datamodules.audio.wav import check_rate
from datamodules.common.errors import DataError

# Keep the notes of the mp3 decoder off the terminal: what is wrong with a file is said once, in a sentence with its name.

_NOTE = re.compile(rb"(Note|Warning): |.*libmpg123|\s*$")


@contextmanager
def without_notes() -> Iterator[None]:
    """Within, file descriptor 2 is held back; at the end all lines but libmpg123's are passed on.

    libsndfile has no switch for them. Only for the main thread, which a process that forks or draws a progress bar is in:
    held back for longer, other threads' lines would come late.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    try:
        terminal = os.dup(2)
    except OSError:  # no terminal, no notes
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)  # more than a pipe holds is lost instead of waited for
    os.dup2(writer, 2)
    os.close(writer)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        _pass_on(reader)


def _pass_on(reader: int) -> None:
    os.set_blocking(reader, False)
    said = b""
    with suppress(BlockingIOError):  # a process forked meanwhile still holds the other end
        while part := os.read(reader, 1 << 16):
            said += part
    os.close(reader)
    kept = b"".join(line for line in said.splitlines(keepends=True) if not _NOTE.match(line))
    if kept:
        os.write(2, kept)


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

TOLERANCE_S = 0.5
"""A file that decodes to less than its header claims by more than this is reported, s."""

ENDLESS = 64
"""Times its size that an mp3 may decode to beyond the guess: from 320 down to less than 8 kbit/s."""

MPEG = ("MP3", "MPEG")
"""libsndfile's names of mp3 files."""

ID3_TAG = 128
"""Bytes of the tag that mp3 decoders look for at a file's end."""


def system_path(path: str | Path) -> str | bytes:
    """Path as soundfile takes it: in the bytes of the system, since it fails to encode a name that is no UTF-8."""
    return os.fspath(path) if os.name == "nt" else os.fsencode(path)


class StreamedFile(soundfile.SoundFile):
    """Sound file that is read on from where it is, unless `seek` is called.

    soundfile seeks after every read of a file that can: an mp3 decoder then forgets the bits it kept, and up to 0.3 s are
    wrong.
    """

    def seekable(self) -> bool:
        """False for MPEG audio, in which soundfile must not seek unasked."""
        return self.format not in MPEG and super().seekable()


def open_audio(path: str | Path, kind: type[soundfile.SoundFile] = soundfile.SoundFile) -> soundfile.SoundFile:
    """Open a file for reading, as an instance of `kind`. Raises DataError, which says why, where it does not open."""
    path = os.fspath(path)
    try:
        with without_notes():
            file = kind(system_path(path))
    except (soundfile.LibsndfileError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise DataError(_why(path)) from error
    try:
        check_rate(path, file.samplerate)
    except DataError:
        file.close()
        raise
    return file


def open_source(path: str | Path, mono: bool = True, channel: int | None = None) -> "AudioSource | AVSource":
    """A file to be decoded, by PyAV where it is one of `av_audio.ENDINGS` or libsndfile cannot open it.

    Args:
        path: sound file or film
        mono, channel: as in `AudioSource`

    Raises:
        DataError: the file does not open; where PyAV would read it, the command that installs it.
    """
    path = os.fspath(path)
    if (reason := _absent(path)) is not None:
        raise DataError(reason)
    if path.lower().endswith(av_audio.ENDINGS):
        if av_audio.installed():
            return AVSource(path, mono, channel)
        source = AudioSource(path, mono, channel)  # the ending may lie
        if source.format in MPEG:  # whose decoder takes any film for sound
            source.close()
            raise DataError(av_audio.needed(path))
        return source
    try:
        return AudioSource(path, mono, channel)
    except DataError:
        try:
            if av_audio.installed():
                return AVSource(path, mono, channel)
        except DataError:
            pass
        raise


def _absent(path: str) -> str | None:
    """One sentence on a file that is not there to be opened; None: it is."""
    file = Path(path)
    if not file.exists():
        return f"{path} is a broken link to {file.readlink()}." if file.is_symlink() else f"{path} does not exist."
    if file.is_dir():
        return f"{path} is a folder where an audio file was expected."
    if not os.access(path, os.R_OK):
        return f"{path} may not be read: change its permissions."
    return f"{path} is empty (0 bytes): copy or download it again." if file.stat().st_size == 0 else None


def _why(path: str) -> str:
    """One sentence on a file that does not open."""
    if (reason := _absent(path)) is not None:
        return reason
    if path.lower().endswith(av_audio.ENDINGS):
        return av_audio.needed(path)
    return f"{path} does not decode as audio (wav, flac, ogg and mp3 do): replace it or leave it out."


class AudioSource:
    """An open file as float32 at its own rate; after the last block `damage` tells why that came early (None: it did not).

    mono: mix the channels to blocks (frames,); without it blocks are (frames, channels), as in the file.
    channel: with `mono`, take this channel alone instead of the mean of all.

    `power` sums up the channels that were mixed so far (None: there was nothing to mix), which shows whether they cancel.
    """

    def __init__(self, path: str | Path, mono: bool = True, channel: int | None = None) -> None:
        self.path = os.fspath(path)
        self.file = open_audio(path, StreamedFile)
        self.mono, self.rate, self.channels = mono, self.file.samplerate, self.file.channels
        self.mixdown = Mixdown(channel)
        self.format = self.file.format
        self._mp3 = self.format in MPEG
        self.damage: str | None = None
        # A wild header must not allocate memory; an array for more than this grows as it is filled.
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
        """Frames that the header claims."""
        return self.file.frames

    @property
    def expected(self) -> int:
        """The same, as far as the file's size allows."""
        return max(0, min(self.claimed, self.plausible))

    def blocks(self) -> Iterator[np.ndarray]:
        """The file from its start, block by block. Raises DataError where it yields nothing."""
        total, claimed = 0, self.file.frames
        while len(block := self._read(BLOCK)):
            total += len(block)
            yield block
        if self._mp3 and self.damage is None and total == self.file.frames and self._trust_no_size():
            while len(block := self.frames(total, BLOCK)):
                total += len(block)
                yield block
        if not total:
            raise DataError(f"{self.path} holds no audio: replace it or leave it out.")
        if self.damage:
            self.damage = f"breaks off at {total / self.rate:.1f} s"
        elif claimed - total > TOLERANCE_S * self.rate:
            self.damage = f"decodes to {total / self.rate:.1f} s where its header claims {claimed / self.rate:.1f} s"

    def frames(self, start: int, count: int) -> np.ndarray:
        """Frames `start .. start + count` as far as the file goes."""
        preroll = 0
        if self._mp3:
            preroll = min(start, MP3_PREROLL)
            if start + count > self.file.frames:
                self._trust_no_size()
        elif self.file.subtype == "VORBIS":
            preroll = start if start <= VORBIS_SEEK_S * self.rate else 0
        try:
            with self._hushed():
                self.file.seek(start - preroll)
        except (soundfile.LibsndfileError, RuntimeError, ValueError):
            return self._nothing()
        return self._read(count + preroll)[preroll:]

    def _trust_no_size(self) -> bool:
        """Reopen an mp3 so that its size says nothing; whether its claimed length came from that and may be too short.

        Without a tag that counts frames the length is guessed from the first frame's bit rate, and libsndfile reads no
        further, so that a file of variable rate that begins loud would lose its end.
        """
        if _counts_frames(self.path):
            return False
        self.file.close()
        try:
            with without_notes():
                self.file = StreamedFile(_Endless(self.path))
        except (soundfile.LibsndfileError, RuntimeError):  # a header that is one only with the file's size known
            self.file = open_audio(self.path, StreamedFile)
            self.damage = "breaks off"
        return self.damage is None

    def _read(self, count: int) -> np.ndarray:
        try:
            with self._hushed():
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

    def _hushed(self) -> AbstractContextManager[None]:
        return without_notes() if self._mp3 else nullcontext()

    def _nothing(self) -> np.ndarray:
        return np.zeros(0 if self.mono else (0, self.channels), np.float32)


def _counts_frames(path: str) -> bool:
    """Whether the first frame of an mp3, after any ID3v2 tag, is one that tells the number of frames."""
    with Path(path).open("rb") as file:
        head = file.read(10)
        if head.startswith(b"ID3"):
            file.seek(10 + sum((byte & 127) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True)))
        else:
            file.seek(0)
        frame = file.read(2048)
    return any(tag in frame for tag in (b"Xing", b"Info", b"VBRI"))


class _Endless(io.FileIO):
    """A file that claims to be much longer than it is, with an empty ID3 tag's place at the end it claims."""

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
