"""Chunks of a clip: random crops for training, evaluation policies (starts and weights) and timelines.

Starts are in samples, on the network's grid of `hop` samples; a chunk at start s spans s - lead .. s - lead + samples,
zero-padded beyond the clip.
"""

from typing import NamedTuple

import numpy as np

CHUNKS = 16
"""Chunks per clip in the authors' evaluation."""


class Window(NamedTuple):
    """Chunk that a network reads."""

    sample_rate: int  # Hz
    samples: int  # with context
    hop: int  # samples from one possible start to the next
    lead: int  # samples of context before the start


def units(window: Window) -> int:
    """Grid points of a chunk: spectrogram frames, or samples for a network on raw audio."""
    return 1 + (window.samples - 2 * window.lead) // window.hop if window.lead else window.samples // window.hop


def total(window: Window, samples: int) -> int:
    """Grid points of a whole clip of `samples` samples."""
    return samples // window.hop + (1 if window.lead else 0)


def positions(window: Window, samples: int) -> int:
    """Number of possible starts of a chunk in a clip; 1 for a clip shorter than a chunk."""
    return max(0, total(window, samples) - units(window)) + 1


def crop(window: Window, samples: int, generator: np.random.Generator) -> int:
    """Start of a random chunk, uniform over the grid."""
    return int(generator.integers(positions(window, samples))) * window.hop


def won16(window: Window, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Starts (16,) int64 and equal weights (16,) as in the code of Won, Chun and Serra: i * ((total - units) // 16).

    The last sixteenth of the clip is not covered. A clip shorter than a chunk is one zero-padded chunk.
    """
    if total(window, samples) < units(window):
        return _single()
    step = (total(window, samples) - units(window)) // CHUNKS
    return np.arange(CHUNKS) * step * window.hop, np.full(CHUNKS, 1 / CHUNKS)


def cover(window: Window, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Starts (chunks,) int64 and weights (chunks,) summing to 1: consecutive chunks, the last one flush with the end.

    The weight of a chunk is the part of the clip that it adds to the chunks before.
    """
    length, chunk = total(window, samples), units(window)
    if length <= chunk:
        return _single()
    starts = np.append(np.arange(0, length - chunk, chunk), length - chunk)
    return starts * window.hop, np.diff(starts + chunk, prepend=0) / length


def every(window: Window, samples: int, hop_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Starts (chunks,) int64 every `hop_s` seconds (rounded to the grid), the last flush with the end; equal weights.

    Raises:
        ValueError: `hop_s` is not positive.
    """
    if not hop_s > 0:
        raise ValueError(f"The hop of a timeline must be positive, not {hop_s} s.")
    last = positions(window, samples) - 1
    step = max(1, round(hop_s * window.sample_rate / window.hop))
    starts = np.append(np.arange(0, last, step), last)
    return starts * window.hop, np.full(len(starts), 1 / len(starts))


def cut(audio: np.ndarray, window: Window, start: int, offset: int = 0) -> np.ndarray:
    """Chunk (window.samples,) at `start`, zero-padded outside `audio`, which begins at sample `offset` of the clip.

    A view of `audio` if the chunk lies inside.
    """
    begin = start - window.lead - offset
    if begin >= 0 and begin + window.samples <= len(audio):
        return audio[begin : begin + window.samples]
    chunk = np.zeros(window.samples, audio.dtype)
    first, last = max(begin, 0), min(begin + window.samples, len(audio))
    if last > first:
        chunk[first - begin : last - begin] = audio[first:last]
    return chunk


def _single() -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(1, np.int64), np.ones(1)


class FrameGrid(NamedTuple):
    """Times of a network's output frames on a centred spectrogram: frame k pools spectrogram frames pool*k .. pool*(k+1)-1.

    Frame k represents the time from k * step to (k + 1) * step; its input is centred (pool - 1) / 2 spectrogram frames after
    its beginning.
    """

    sample_rate: int  # Hz
    hop: int  # samples from one spectrogram frame to the next
    pool: int  # spectrogram frames per output frame

    @property
    def step(self) -> float:
        """Seconds from one output frame to the next."""
        return self.pool * self.hop / self.sample_rate

    def count(self, samples: int) -> int:
        """Number of complete output frames of a recording, at least one."""
        return max(1, (1 + samples // self.hop) // self.pool)

    def centres(self, samples: int) -> np.ndarray:
        """Centre (frames,) s of the input of each output frame of a recording."""
        return (self.pool * np.arange(self.count(samples)) + (self.pool - 1) / 2) * self.hop / self.sample_rate

    def activity(self, label: np.ndarray, onset: np.ndarray, offset: np.ndarray, frames: int, classes: int) -> np.ndarray:
        """Convert events (events,) of one recording to frame targets (frames, classes) uint8 in {0, 1}.

        A frame is active if an event covers half of it; a shorter event activates the frame at its middle.
        """
        out = np.zeros((frames, classes), np.uint8)
        begin, stop = np.rint(onset / self.step).astype(int), np.rint(offset / self.step).astype(int)
        middle = ((onset + offset) / 2 / self.step).astype(int)
        begin, stop = np.where(stop > begin, begin, middle), np.where(stop > begin, stop, middle + 1)
        for k, first, last in zip(label, begin.clip(0, frames), stop.clip(0, frames), strict=True):
            out[first:last, k] = 1
        return out
