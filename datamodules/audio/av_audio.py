"""PyAV decoder (optional extra `video`): video files and audio formats beyond libsndfile -> float32 blocks (frames, channels).

Samples are placed by their time stamps: audio that starts after the video is preceded by silence, gaps are filled with
silence, and encoder delay before time 0 is dropped. Time 0 is the start of the first stream, audio or video, as in
`datamodules.sed.embeddings`.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from datamodules.audio.level import ChannelPower, Mixdown
from datamodules.audio.wav import check_rate
from datamodules.common.errors import DataError

VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".wmv", ".flv", ".3gp", ".ogv", ".ts", ".m2ts", ".mts", ".mpg", ".mpeg",
)  # fmt: skip
"""Suffixes of video files."""
PYAV_AUDIO_SUFFIXES = (".m4a", ".m4b", ".aac", ".wma", ".mka", ".ac3", ".amr", ".ape", ".wv")
"""Suffixes of audio files that libsndfile does not decode."""
PYAV_SUFFIXES = VIDEO_SUFFIXES + PYAV_AUDIO_SUFFIXES
FORMATS = (
    "mov,matroska,webm,avi,asf,flv,mpegts,mpeg,mpegvideo,h264,hevc,m4v,ogg,aac,ac3,eac3,amr,ape,wv,wav,w64,flac,mp3,aiff,caf,au"
)
"""Containers that may be opened; playlist formats are excluded, since they refer to further files or addresses."""
SLACK_S = 0.015
"""Precision of time stamps, s: a larger difference is a gap or an overlap."""
BREAK_S = 10.0
"""Step in the time stamps that means a new clock, s: forward in broadcast streams, back in any file."""
TOLERANCE_S = 0.5
"""Audio that ends earlier than declared by more than this is reported, s."""
MOST_CHANNELS = 64
"""More channels than this: a damaged header, or an array (samples, channels) by mistake."""

BLOCK = 1 << 17
"""Largest block of silence, frames."""


class ContainerHeader(NamedTuple):
    """Header of a container and of its first audio stream."""

    sample_rate: int
    channels: int
    streams: int  # audio streams
    seconds: float


def header(path: str | Path) -> ContainerHeader:
    """Read the header of a container. Raises DataError if it cannot be opened or holds no audio."""
    with open_container(path) as container:
        streams = _audio_streams(container, path)
        rate, channels = _first_format(container, streams[0], path)
        return ContainerHeader(rate, channels, len(streams), (container.duration or 0) / 1e6)


def blocks(path: str | Path) -> Iterator[tuple[int, np.ndarray]]:
    """Decode all audio streams in one pass: (stream number, (frames, channels) float32) in file order.

    Raises:
        DataError: a stream is damaged.
    """
    with open_container(path) as container:
        streams = _audio_streams(container, path)
        tracks = {stream.index: AVTrack(container, stream) for stream in streams}
        number = {stream.index: i for i, stream in enumerate(streams)}
        for packet in _packets(container, streams):
            index = packet.stream.index
            for block in tracks[index].decode(packet):
                yield number[index], block
            if tracks[index].damage:
                raise DataError(f"{path} {tracks[index].damage}: copy or download it again.")


class AVSource:
    """First audio stream of a file, decoded to float32 at its own rate; same interface as `decoding.AudioSource`.

    Raises:
        DataError: the file cannot be opened or holds no audio.
    """

    format = "PyAV"

    def __init__(self, path: str | Path, mono: bool = True, channel: int | None = None) -> None:
        self.path, self.mono, self.damage = os.fspath(path), mono, None
        self.mixdown = Mixdown(channel)
        head = header(path)
        self.rate, self.channels = head.sample_rate, head.channels
        self.claimed = int(head.seconds * head.sample_rate)
        # A damaged header must not allocate memory: few codecs store less than 500 bytes a second.
        self.expected = min(self.claimed, int(Path(path).stat().st_size / 500 * self.rate) + BLOCK)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Do nothing: the file is open only while it is decoded."""

    @property
    def power(self) -> ChannelPower | None:
        """Powers of the channels that were mixed so far."""
        return self.mixdown.power

    def blocks(self) -> Iterator[np.ndarray]:
        """Decode from time 0, block by block. Raises DataError if there is no audio or it is not finite."""
        total = 0
        with open_container(self.path) as container:
            stream = _audio_streams(container, self.path)[0]
            track = AVTrack(container, stream, self.rate)
            for packet in _packets(container, [stream]):
                for block in track.decode(packet):
                    if not np.isfinite(block).all():
                        raise DataError(f"{self.path} holds NaN or infinite samples: replace it or leave it out.")
                    total += len(block)
                    yield self.mixdown(block) if self.mono else block
            end = _declared_end(container, stream)
        if not total:
            raise DataError(f"{self.path} holds no audio: replace it or leave it out.")
        self.damage = track.damage
        if end is not None and end - total / self.rate > TOLERANCE_S:
            self.damage = f"decodes to {total / self.rate:.1f} s, but its header claims {end:.1f} s"

    def frames(self, start: int, count: int) -> np.ndarray:
        """Decode frames `start .. start + count`, from the beginning of the file for exact positions."""
        pieces, position = [np.zeros(0 if self.mono else (0, self.channels), np.float32)], 0
        for block in self.blocks():
            pieces.append(block[max(0, start - position) : max(0, start + count - position)])
            position += len(block)
            if position >= start + count:
                break
        return np.concatenate(pieces)


class AVTrack:
    """Decoder of one audio stream: packets -> blocks (frames, channels) float32 at `rate`, placed by their time stamps.

    Rate (default) and channel layout are those of the first frame.
    """

    def __init__(self, container: Any, stream: Any, rate: int | None = None) -> None:
        self.rate, self.start = rate, origin(container)
        self.written, self.damage = 0, None
        self._layout, self._resampler, self._input = None, None, None
        broadcast = container.format.name in ("mpegts", "mpeg")
        self._longest = BREAK_S if broadcast or not container.duration else container.duration / 1e6 + BREAK_S

    def decode(self, packet: Any) -> Iterator[np.ndarray]:
        """Decode a packet; a damaged one gives no blocks and sets `damage`."""
        import av

        try:
            frames = packet.decode()
        except av.FFmpegError:
            if packet.size:
                self.damage = self.damage or f"is damaged at {self.written / (self.rate or 1):.1f} s"
            return
        for frame in frames:
            try:
                interleaved = self._interleaved(frame)
            except av.FFmpegError:  # a damaged frame may claim channels or a rate that no resampler takes
                self.damage = self.damage or f"is damaged at {self.written / (self.rate or 1):.1f} s"
                continue
            yield from self._at_time_stamp(frame, interleaved)

    def _at_time_stamp(self, frame: Any, interleaved: list[Any]) -> Iterator[np.ndarray]:
        pieces = [piece.to_ndarray().reshape(-1, piece.layout.nb_channels) for piece in interleaved]
        if not pieces:
            return
        block, late = np.ascontiguousarray(np.concatenate(pieces)), 0
        if frame.pts is not None:
            late = round((float(frame.pts * frame.time_base) - self.start) * self.rate) - self.written
        if not -BREAK_S * self.rate < late < self._longest * self.rate:
            self.start, late = self.start + late / self.rate, 0  # new clock: continue without gap
        if self.written and abs(late) <= SLACK_S * self.rate:
            late = 0
        for first in range(0, late, BLOCK):
            yield np.zeros((min(BLOCK, late - first), block.shape[1]), np.float32)
        block = block[max(0, -late) :]
        self.written += max(0, late) + len(block)
        if len(block):
            yield block

    def _interleaved(self, frame: Any) -> list[Any]:
        """Frame -> interleaved floats (PyAV gives eight planes at most) with the channels of the first frame, at one rate."""
        import av

        self.rate, self._layout = self.rate or frame.sample_rate, self._layout or frame.layout
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self._input:
            self._input, self._resampler = kind, av.AudioResampler("flt", self._layout, self.rate)
        return self._resampler.resample(frame)


def origin(container: Any) -> float:
    """Start of the first audio or video stream on the container's clock, s, at least 0."""
    starts = [
        float(stream.start_time * stream.time_base)
        for stream in (*container.streams.audio, *container.streams.video)
        if stream.start_time is not None
    ]
    return max(0.0, min(starts, default=0.0))


@contextmanager
def open_container(path: str | Path) -> Iterator[Any]:
    """Open a file with PyAV. Raises DataError if PyAV is not installed or the file is not in one of FORMATS."""
    require_pyav(path)
    import av

    with ExitStack() as stack:
        try:
            # A file object: PyAV could take a name for an address, and cannot encode one that is not UTF-8.
            file = stack.enter_context(Path(path).open("rb"))
            options = {"format_whitelist": FORMATS}
            container = stack.enter_context(av.open(file, metadata_errors="replace", options=options))
        except (av.FFmpegError, OSError) as error:
            raise DataError(
                f"{path} cannot be opened as an audio or video file ({error.strerror}): it is damaged or of another kind; "
                f"replace it or leave it out."
            ) from error
        yield container


def _audio_streams(container: Any, path: str | Path) -> list[Any]:
    if not container.streams.audio:
        problem = "is a video file without audio" if container.streams.video else "holds no audio stream"
        raise DataError(f"{path} {problem}: expected an audio file, or a video file with audio; leave it out.")
    for stream in container.streams.audio:
        if rate := getattr(stream, "rate", None):  # a stream of an unknown codec has none
            check_rate(path, rate)
    return list(container.streams.audio)


def _first_format(container: Any, stream: Any, path: str | Path) -> tuple[int, int]:
    """Rate (Hz) and channels of the first decoded frame: headers may hold half the rate, or none."""
    import av

    for packet in _packets(container, [stream]):
        try:
            for frame in packet.decode():
                check_rate(path, frame.sample_rate)
                if frame.layout.nb_channels > MOST_CHANNELS:
                    problem = f"claims {frame.layout.nb_channels} channels, expected at most {MOST_CHANNELS}"
                    raise DataError(f"{path} {problem}: it is damaged; replace it or leave it out.")
                return frame.sample_rate, frame.layout.nb_channels
        except av.FFmpegError:
            continue
    raise DataError(f"{path} holds no audio that decodes: replace it or leave it out.")


def _packets(container: Any, streams: list[Any]) -> Iterator[Any]:
    """Packets up to the end of the file or the first that cannot be read."""
    import av

    packets = container.demux(streams)
    while True:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, OSError):
            return
        if packet is None:
            return
        yield packet


def _declared_end(container: Any, stream: Any) -> float | None:
    """Declared end of the audio, s; None if the file does not declare it."""
    if container.format.name == "aac":
        return None  # estimated from the bit rate
    if stream.duration:
        start = stream.start_time or 0
        return float((start + stream.duration) * stream.time_base) - origin(container)
    return container.duration / 1e6 if container.duration and not container.streams.video else None


def is_installed() -> bool:
    """True if PyAV can be imported."""
    try:
        import av  # noqa: F401
    except ImportError:
        return False
    return True


def require_pyav(path: str | Path) -> None:
    """Raise DataError with the install command if PyAV is not installed."""
    if not is_installed():
        raise DataError(install_hint(path))


def install_hint(path: str | Path) -> str:
    """Message for a file that only PyAV reads: the install command."""
    return f"{path} is read by PyAV, which is not installed: pip install -e '.[video]' (or: pip install av)."
