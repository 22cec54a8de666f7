"""Which chunks of a clip a network hears: the random crop of training, the policies of evaluation, timelines.

All starts lie on the network's grid of `hop` samples and are given in samples; a chunk at start s spans
s - lead .. s - lead + samples, with zeros where the clip is not.
"""

from typing import NamedTuple

import numpy as np

CHUNKS = 16
"""Chunks per clip in the authors' evaluation."""


class Window(NamedTuple):
    """One chunk as a network wants it: Hz, samples with context, grid of starts and leading context in samples."""

    sample_rate: int
    samples: int
    hop: int
    lead: int


def units(window: Window) -> int:
    """Grid points that one chunk covers: spectrogram frames, or samples for a network on raw audio."""
    return 1 + (window.samples - 2 * window.lead) // window.hop if window.lead else window.samples // window.hop


def total(window: Window, samples: int) -> int:
    """Grid points of a whole clip of `samples` samples."""
    return samples // window.hop + (1 if window.lead else 0)


def positions(window: Window, samples: int) -> int:
    """Number of places where a chunk fits into the clip; 1 for a clip that is shorter than a chunk."""
    return max(0, total(window, samples) - units(window)) + 1


def crop(window: Window, samples: int, generator: np.random.Generator) -> int:
    """Start of one random chunk, each place on the grid equally likely."""
    return int(generator.integers(positions(window, samples))) * window.hop


def won16(window: Window, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Starts (16,) int64 and equal weights (16,) as in Won, Chun, Serra's code: i * ((total - units) // 16).

    The clip's last sixteenth is never heard. A clip shorter than a chunk is one zero-padded chunk.
    """
    if total(window, samples) < units(window):
        return _single()
    step = (total(window, samples) - units(window)) // CHUNKS
    return np.arange(CHUNKS) * step * window.hop, np.full(CHUNKS, 1 / CHUNKS)


def cover(window: Window, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Starts (chunks,) int64 and weights (chunks,) summing to 1: chunk after chunk, the last one flush with the end.

    A chunk weighs what it adds to the part already covered.
    """
    whole, one = total(window, samples), units(window)
    if whole <= one:
        return _single()
    starts = np.append(np.arange(0, whole - one, one), whole - one)
    ends = starts + one
    return starts * window.hop, np.diff(ends, prepend=0) / whole


def every(window: Window, samples: int, hop_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Starts (chunks,) int64 every `hop_s` seconds (rounded to the grid), the last flush with the end; equal weights.

    Raises ValueError where `hop_s` is not positive.
    """
    if not hop_s > 0:
        raise ValueError(f"The hop of a timeline must be positive, not {hop_s} s.")
    last = positions(window, samples) - 1
    step = max(1, round(hop_s * window.sample_rate / window.hop))
    starts = np.append(np.arange(0, last, step), last)
    return starts * window.hop, np.full(len(starts), 1 / len(starts))


def cut(audio: np.ndarray, window: Window, start: int, offset: int = 0) -> np.ndarray:
    """The chunk (window.samples,) at `start`, zeros outside the clip; `audio` begins at sample `offset` of the clip.

    A view of `audio` where the chunk lies wholly inside.
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


# When the frames of a network are: what a sample is to an output frame, and a second to both.


class FrameGrid(NamedTuple):
    """Output frames of a network on a centred spectrogram: frame k comes from spectrogram frames pool*k .. pool*(k+1)-1.

    It stands for the time from k * step to (k + 1) * step; what it saw is centred (pool - 1) / 2 spectrogram frames later
    than its beginning.
    """

    sample_rate: int  # Hz
    hop: int  # samples from one spectrogram frame to the next
    pool: int  # spectrogram frames per output frame

    @property
    def step(self) -> float:
        """Seconds from one output frame to the next."""
        return self.pool * self.hop / self.sample_rate

    def count(self, samples: int) -> int:
        """Output frames of a recording: whole ones, at least one."""
        return max(1, (1 + samples // self.hop) // self.pool)

    def centres(self, samples: int) -> np.ndarray:
        """Centre (frames,) s of what each output frame of a recording has seen."""
        return (self.pool * np.arange(self.count(samples)) + (self.pool - 1) / 2) * self.hop / self.sample_rate

    def activity(self, label: np.ndarray, onset: np.ndarray, offset: np.ndarray, frames: int, classes: int) -> np.ndarray:
        """Events (events,) of one recording as 0 and 1 (frames, classes) uint8: a frame is on where an event covers half of it.

        An event too short to cover half of any frame turns on the one in which its middle lies.
        """
        out = np.zeros((frames, classes), np.uint8)
        begin, stop = np.rint(onset / self.step).astype(int), np.rint(offset / self.step).astype(int)
        middle = ((onset + offset) / 2 / self.step).astype(int)
        begin, stop = np.where(stop > begin, begin, middle), np.where(stop > begin, stop, middle + 1)
        for k, first, last in zip(label, begin.clip(0, frames), stop.clip(0, frames), strict=True):
            out[first:last, k] = 1
        return out
