"""Films and sound files in containers that PyAV writes: a click and a flash at known times."""

from fractions import Fraction
from pathlib import Path

import numpy as np

RATE = 44_100
CODECS = {".webm": ("libopus", "libvpx", 48_000), ".ts": ("aac", "mpeg2video", RATE), ".mpg": ("mp2", "mpeg2video", RATE),
          ".wmv": ("wmav2", "msmpeg4v3", RATE), ".avi": ("mp2", "mpeg4", RATE), ".wma": ("wmav2", "", RATE),
          ".x264": ("aac", "libx264", RATE)}  # fmt: skip
FORMATS = {".m4a": "ipod", ".aac": "adts", ".wma": "asf", ".m4v": "mp4"}


def write_film(
    path: Path,
    seconds: float = 4.0,
    click: float = 3.0,
    sound_from: float = 0.0,
    images_from: float = 0.0,
    fps: int = 25,
    sound: bool = True,
    images: bool = True,
    without: tuple[float, float] = (0.0, 0.0),
    container: str | None = None,
) -> Path:
    """A film with a click and a white image at `click`, s; without: from where to where no sound packets are written.

    container: instead of the one that the ending stands for.
    """
    import av

    audio_codec, video_codec, rate = CODECS.get(path.suffix, ("aac", "mpeg4", RATE))
    with av.open(str(path), "w", format=container or FORMATS.get(path.suffix)) as film:
        streams = []
        if images:
            streams.append(film.add_stream(video_codec, rate=fps))
            streams[-1].width, streams[-1].height, streams[-1].pix_fmt = 64, 48, "yuv420p"
        if sound:
            streams.append(film.add_stream(audio_codec, rate=rate, layout="stereo"))
            streams[-1].bit_rate = 128_000
        for stream in streams:
            frames = (
                _images(seconds, click, images_from, fps)
                if stream.type == "video"
                else _sound(stream, seconds, click, sound_from, rate, without)
            )
            for frame in [*frames, None]:
                film.mux(stream.encode(frame))
    return path


def _images(seconds, click, start, fps):
    import av

    for k in range(round(start * fps), round(seconds * fps)):
        white = abs(k / fps - click) < 1e-6
        frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 255 if white else 20, np.uint8), format="rgb24")
        frame.pts, frame.time_base = k, Fraction(1, fps)
        yield frame


def _sound(stream, seconds, click, start, rate, without):
    import av

    samples = np.zeros((round((seconds - start) * rate), 2), np.float32)
    first = round((click - start) * rate)
    samples[first : first + 40] = 0.8
    kind, size = stream.codec_context.format.name, stream.codec_context.frame_size or 1024
    for first in range(0, len(samples), size):
        at = start + first / rate
        if without[0] <= at < without[1]:
            continue
        block = samples[first : first + size]
        block = (block * 32767).astype(np.int16) if kind.startswith("s16") else block
        block = block.T if kind.endswith("p") else block.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), kind, "stereo")
        frame.sample_rate, frame.pts, frame.time_base = rate, round(at * rate), Fraction(1, rate)
        yield frame


def click_s(audio: np.ndarray, rate: int) -> float:
    """When a sound first reaches 60 % of its peak, s."""
    return float(np.flatnonzero(np.abs(audio) > 0.6 * np.abs(audio).max())[0] / rate)
