"""Images of films by PyAV, an optional extra: the only place that decodes video."""

from pathlib import Path
from typing import Any

import numpy as np

from datamodules.av_audio import open_container, origin
from datamodules.errors import DataError

SLACK_S = 0.002
"""Time stamps are rounded to milliseconds in some containers, s."""
RATE = 25.0
"""Images a second where a film says nothing of the time, neither stamps nor a rate."""


def images(path: str | Path, fps: float, height: int = 224, width: int = 224) -> np.ndarray:
    """Images (images, height, width, 3) uint8 RGB of a film at the times 0, 1/fps, ... up to its end: at each the one shown.

    Both ends count, as in the paper: 10 s at 15 images/s are 151. Second 0 is where the first stream starts, as for sound;
    until the first image that one is shown. Without time stamps images follow each other at the film's rate.

    Raises DataError where the file does not open, has no images, or does not decode.
    """
    nothing = f"{path} has no images: expected a film with a video track."
    with open_container(path) as film:
        if not film.streams.video:
            raise DataError(nothing)
        out = _shown(film, fps, height, width, path)
    if not out:
        raise DataError(nothing)
    return np.stack(out)


def _shown(film: Any, fps: float, height: int, width: int, path: str | Path) -> list[np.ndarray]:
    import av

    stream = film.streams.video[0]
    stream.thread_type = "AUTO"
    rate = float(stream.average_rate or stream.guessed_rate or RATE)
    start, end, shown, out = origin(film), 0.0, None, []
    try:
        for frame in film.decode(stream):
            time = end if frame.pts is None else float(frame.pts * frame.time_base) - start
            while shown is not None and len(out) / fps < time - SLACK_S:
                out.append(shown)
            shown, end = frame.to_ndarray(format="rgb24", width=width, height=height), time + 1 / rate
    except av.FFmpegError as error:
        if shown is None:
            raise DataError(f"{path} does not decode as a film ({error.strerror}): replace it or leave it out.") from error
    if stream.duration:
        end = max(end, float(((stream.start_time or 0) + stream.duration) * stream.time_base) - start)
    while shown is not None and (len(out) / fps <= end + SLACK_S or not out):
        out.append(shown)
    return out
