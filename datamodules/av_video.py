"""Images of films by PyAV, an optional extra: the only place that decodes video."""

from pathlib import Path

import numpy as np

from datamodules.av_audio import require
from datamodules.errors import DataError


def images(path: str | Path, fps: float, height: int = 224, width: int = 224) -> np.ndarray:
    """Images (images, height, width, 3) uint8 RGB of a film at the times 0, 1/fps, ... up to its end: at each the one shown.

    Both ends count, as in the paper: 10 s at 15 images/s are 151.

    Raises DataError where the file does not open, has no images, or does not decode.
    """
    require(path)
    import av

    try:
        with av.open(str(path)) as film:
            if not film.streams.video:
                raise DataError(f"{path} has no images: expected a film with a video track.")
            stream = film.streams.video[0]
            stream.thread_type = "AUTO"
            shown, out = None, []
            for frame in film.decode(stream):
                time = float(frame.pts * stream.time_base) - float((stream.start_time or 0) * stream.time_base)
                while shown is not None and len(out) / fps < time - 1e-6:
                    out.append(shown)
                shown = frame.to_ndarray(format="rgb24", width=width, height=height)
            last = float((stream.duration or 0) * stream.time_base)
            while shown is not None and (len(out) / fps <= last + 1e-6 or not out):
                out.append(shown)
    except (av.FFmpegError, OSError) as error:
        raise DataError(f"{path} does not decode as a film ({error.strerror}): download it again.") from error
    if not out:
        raise DataError(f"{path} has no images: expected a film with a video track.")
    return np.stack(out)
