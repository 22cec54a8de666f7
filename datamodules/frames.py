"""When the frames of a network are: what a sample is to an output frame, and a second to both."""

from typing import NamedTuple

import numpy as np


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
