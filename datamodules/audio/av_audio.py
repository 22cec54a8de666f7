"""Sound of films and of files that libsndfile does not read, by PyAV, an optional extra: no ffmpeg program is needed.

Samples lie where the file's time stamps put them: sound that starts after the pictures is preceded by silence, a gap is
filled with it, and the samples that an encoder put before the beginning are dropped. Second 0 is where the first of all
streams, sound or pictures, starts; `datamodules.sed.embeddings` counts from the same.
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

FILMS = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".wmv", ".flv", ".3gp", ".ogv", ".ts", ".m2ts", ".mts", ".mpg", ".mpeg",
)  # fmt: skip
"""Endings of films."""
SOUNDS = (".m4a", ".m4b", ".aac", ".wma", ".mka", ".ac3", ".amr", ".ape", ".wv")
"""Endings of sound files that libsndfile does not decode."""
ENDINGS = FILMS + SOUNDS
FORMATS = (
    "mov,matroska,webm,avi,asf,flv,mpegts,mpeg,mpegvideo,h264,hevc,m4v,ogg,aac,ac3,eac3,amr,ape,wv,wav,w64,flac,mp3,aiff,caf,au"
)
"""Containers that may be opened: of others some name further files or addresses, which would be opened too."""
SLACK_S = 0.015
"""Time stamps are that imprecise in some containers, s: what they differ by more is a gap or an overlap."""
BREAK_S = 10.0
"""A step in the time stamps of a broadcast stream, or back in any file, that means another clock, s."""
TOLERANCE_S = 0.5
"""Sound that ends so much before the length claimed is reported, s."""
BLOCK = 1 << 17
"""Frames of silence given at a time."""


class ContainerHeader(NamedTuple):
    """What a container says of its first sound stream."""

    sample_rate: int
    channels: int
    streams: int  # sound streams
    seconds: float


def header(path: str | Path) -> ContainerHeader:
    """Rate, channels and number of sound streams. Raises DataError where the file does not open or holds no sound."""
    with open_container(path) as container:
        streams = _sounds(container, path)
        rate, channels = _kind(container, streams[0], path)
        return ContainerHeader(rate, channels, len(streams), (container.duration or 0) / 1e6)


def blocks(path: str | Path) -> Iterator[tuple[int, np.ndarray]]:
    """(sound stream, (frames, channels) float32) in the order of the file, all streams in one pass.

    Raises DataError where decoding breaks off.
    """
    with open_container(path) as container:
        streams = _sounds(container, path)
        tracks = {stream.index: AVTrack(container, stream) for stream in streams}
        number = {stream.index: i for i, stream in enumerate(streams)}
        for packet in _packets(container, streams):
            index = packet.stream.index
            for block in tracks[index].decode(packet):
                yield number[index], block
            if tracks[index].damage:
                raise DataError(f"{path} {tracks[index].damage}: copy or download it again.")


class AVSource:
    """First sound of a file as float32 at its own rate; after the last block `damage` tells what was wrong (None: nothing).

    mono, channel, power: as in `datamodules.audio.decoding.AudioSource`.
    Raises DataError where the file does not open or holds no sound.
    """

    format = "PyAV"

    def __init__(self, path: str | Path, mono: bool = True, channel: int | None = None) -> None:
        self.path, self.mono, self.damage = os.fspath(path), mono, None
        self.mixdown = Mixdown(channel)
        head = header(path)
        self.rate, self.channels = head.sample_rate, head.channels
        self.claimed = int(head.seconds * head.sample_rate)
        # A wild header must not allocate memory: few codecs store less than 500 bytes a second.
        self.expected = min(self.claimed, int(Path(path).stat().st_size / 500 * self.rate) + BLOCK)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Nothing to close: the file is open only while it is decoded."""

    @property
    def power(self) -> ChannelPower | None:
        """Powers of the channels that were mixed so far."""
        return self.mixdown.power

    def blocks(self) -> Iterator[np.ndarray]:
        """The sound from second 0, block by block. Raises DataError where there is none, or where it is not finite."""
        total = 0
        with open_container(self.path) as container:
            stream = _sounds(container, self.path)[0]
            track = AVTrack(container, stream, self.rate)
            for packet in _packets(container, [stream]):
                for block in track.decode(packet):
                    if not np.isfinite(block).all():
                        raise DataError(f"{self.path} holds NaN or infinite samples: replace it or leave it out.")
                    total += len(block)
                    yield self.mixdown(block) if self.mono else block
            end = _end(container, stream)
        if not total:
            raise DataError(f"{self.path} holds no audio: replace it or leave it out.")
        self.damage = track.damage
        if end is not None and end - total / self.rate > TOLERANCE_S:
            self.damage = f"decodes to {total / self.rate:.1f} s where its header claims {end:.1f} s"

    def frames(self, start: int, count: int) -> np.ndarray:
        """Frames `start .. start + count` as far as the sound goes; decoded from its beginning, so that they are exact."""
        pieces, position = [np.zeros(0 if self.mono else (0, self.channels), np.float32)], 0
        for block in self.blocks():
            pieces.append(block[max(0, start - position) : max(0, start + count - position)])
            position += len(block)
            if position >= start + count:
                break
        return np.concatenate(pieces)


class AVTrack:
    """Decodes one sound stream to blocks (frames, channels) float32 that lie where their time stamps put them.

    rate: samples/s of the blocks, where the stream's own may change; channels are those of its first frame.
    """

    def __init__(self, container: Any, stream: Any, rate: int | None = None) -> None:
        self.rate, self.start = rate, origin(container)
        self.written, self.damage = 0, None
        self._layout, self._resampler, self._input = None, None, None
        broadcast = container.format.name in ("mpegts", "mpeg")
        self._longest = BREAK_S if broadcast or not container.duration else container.duration / 1e6 + BREAK_S

    def decode(self, packet: Any) -> Iterator[np.ndarray]:
        """Blocks of a packet; of one that does not decode none, which `damage` then says."""
        import av

        try:
            frames = packet.decode()
        except av.FFmpegError:
            if packet.size:
                self.damage = self.damage or f"is damaged at {self.written / (self.rate or 1):.1f} s"
            return
        for frame in frames:
            try:
                planar = self._planar(frame)
            except av.FFmpegError:  # a damaged frame may claim channels or a rate that no resampler takes
                self.damage = self.damage or f"is damaged at {self.written / (self.rate or 1):.1f} s"
                continue
            yield from self._place(frame, planar)

    def _place(self, frame: Any, planar: list[Any]) -> Iterator[np.ndarray]:
        pieces = [plain.to_ndarray().T for plain in planar]
        if not pieces:
            return
        block, late = np.ascontiguousarray(np.concatenate(pieces)), 0
        if frame.pts is not None:
            late = round((float(frame.pts * frame.time_base) - self.start) * self.rate) - self.written
        if not -BREAK_S * self.rate < late < self._longest * self.rate:
            self.start, late = self.start + late / self.rate, 0  # another clock: what follows goes on from here
        if self.written and abs(late) <= SLACK_S * self.rate:
            late = 0
        for first in range(0, late, BLOCK):
            yield np.zeros((min(BLOCK, late - first), block.shape[1]), np.float32)
        block = block[max(0, -late) :]
        self.written += max(0, late) + len(block)
        if len(block):
            yield block

    def _planar(self, frame: Any) -> list[Any]:
        """A frame as planar floats of the first frame's channels, at one rate throughout."""
        import av

        self.rate, self._layout = self.rate or frame.sample_rate, self._layout or frame.layout
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self._input:
            self._input, self._resampler = kind, av.AudioResampler("fltp", self._layout, self.rate)
        return self._resampler.resample(frame)


def origin(container: Any) -> float:
    """Second at which the first stream of sound or pictures starts, on the container's clock; never before 0."""
    starts = [
        float(stream.start_time * stream.time_base)
        for stream in (*container.streams.audio, *container.streams.video)
        if stream.start_time is not None
    ]
    return max(0.0, min(starts, default=0.0))


@contextmanager
def open_container(path: str | Path) -> Iterator[Any]:
    """An open file. Raises DataError where PyAV is missing, or where the file is none of FORMATS."""
    require(path)
    import av

    with ExitStack() as stack:
        try:
            # By its name it might be taken for an address, and one that is no UTF-8 cannot be given at all.
            file = stack.enter_context(Path(path).open("rb"))
            options = {"format_whitelist": FORMATS}
            container = stack.enter_context(av.open(file, metadata_errors="replace", options=options))
        except (av.FFmpegError, OSError) as error:
            raise DataError(
                f"{path} does not open as a sound file or film ({error.strerror}): it is damaged or another kind of file; "
                f"replace it or leave it out."
            ) from error
        yield container


def _sounds(container: Any, path: str | Path) -> list[Any]:
    if not container.streams.audio:
        what = "is a film without a sound track" if container.streams.video else "holds no sound"
        raise DataError(f"{path} {what}: expected a sound file, or a film with sound; leave it out.")
    for stream in container.streams.audio:
        if rate := getattr(stream, "rate", None):  # a stream of an unknown kind has none
            check_rate(path, rate)
    return list(container.streams.audio)


def _kind(container: Any, stream: Any, path: str | Path) -> tuple[int, int]:
    """Rate and channels of the first frame that decodes: a header may name half the rate, and some name none."""
    import av

    for packet in _packets(container, [stream]):
        try:
            for frame in packet.decode():
                check_rate(path, frame.sample_rate)
                return frame.sample_rate, frame.layout.nb_channels
        except av.FFmpegError:
            continue
    raise DataError(f"{path} holds no audio that decodes: replace it or leave it out.")


def _packets(container: Any, streams: list[Any]) -> Iterator[Any]:
    """Packets as far as the file goes."""
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


def _end(container: Any, stream: Any) -> float | None:
    """Second at which the sound should end, where the file says."""
    if container.format.name == "aac":
        return None  # it guesses by the bit rate
    if stream.duration:
        start = stream.start_time or 0
        return float((start + stream.duration) * stream.time_base) - origin(container)
    return container.duration / 1e6 if container.duration and not container.streams.video else None


def installed() -> bool:
    """Whether PyAV is."""
    try:
        import av  # noqa: F401
    except ImportError:
        return False
    return True


def require(path: str | Path) -> None:
    """Raise DataError, which says how to install it, where PyAV is not."""
    if not installed():
        raise DataError(needed(path))


def needed(path: str | Path) -> str:
    """The sentence on a file that only PyAV reads."""
    return f"{path} is read by PyAV, which is not installed: pip install -e '.[video]' (or: pip install av)."
