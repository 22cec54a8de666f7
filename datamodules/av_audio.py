"""Sound of mp4, m4a and .stem.mp4 files by PyAV, an optional extra that brings its own libraries: no ffmpeg program is needed."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datamodules.errors import DataError
from datamodules.sample_rate import check_rate


class Header(NamedTuple):
    """What a container says of its first sound stream."""

    sample_rate: int
    channels: int
    streams: int  # sound streams
    seconds: float


def header(path: str | Path) -> Header:
    """Rate, channels and number of sound streams. Raises DataError where the file does not open."""
    with _open(path) as container:
        streams = container.streams.audio
        return Header(streams[0].rate, streams[0].channels, len(streams), (container.duration or 0) / 1e6)


def blocks(path: str | Path) -> Iterator[tuple[int, np.ndarray]]:
    """(sound stream, (frames, channels) float32) in the order of the file, all streams in one pass.

    Raises DataError where decoding breaks off.
    """
    import av

    with _open(path) as container:
        streams = container.streams.audio
        place = {stream.index: i for i, stream in enumerate(streams)}
        planar = [av.AudioResampler(format="fltp") for _ in streams]
        try:
            for packet in container.demux(streams):
                i = place[packet.stream.index]
                for frame in packet.decode():
                    for plain in planar[i].resample(frame):
                        yield i, plain.to_ndarray().T
        except av.FFmpegError as error:
            raise DataError(f"{path} does not decode to its end ({error.strerror}): download it again.") from error


def _open(path: str | Path):
    """An open container with sound in it."""
    require(path)
    import av

    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise DataError(f"{path} does not open as mp4 ({error.strerror}): download it again.") from error
    if not container.streams.audio:
        container.close()
        raise DataError(f"{path} holds no sound: download it again.")
    for stream in container.streams.audio:
        check_rate(path, stream.rate or 0)
    return container


def require(path: str | Path) -> None:
    """Raise DataError, which says how to install it, where PyAV is not."""
    try:
        import av  # noqa: F401
    except ImportError as error:
        raise DataError(
            f"{path} is read by PyAV, which is not installed: pip install -e '.[video]' (or: pip install av)."
        ) from error
