"""Overlapping windows of a recording that comes in blocks, and the average of their frames' scores."""

from collections.abc import Iterable, Iterator

import numpy as np


class Windows:
    """Blocks (samples,) -> (start, window (samples,)), a window every `step` samples; the last goes to the end.

    Holds a window, a step and a block. `samples` counts what came.

    Args:
        blocks: of one recording, in order
        window: samples of a window, whole frames
        step: samples from one window to the next, whole frames, at most `window`
        frame: samples of a frame; windows begin on whole frames
    """

    def __init__(self, blocks: Iterable[np.ndarray], window: int, step: int, frame: int) -> None:
        self.blocks, self.window, self.step, self.frame = blocks, window, step, frame
        self.samples = 0

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        held, offset, start = np.zeros(0, np.float32), 0, 0  # `held` begins at sample `offset`; `start` is the next window's
        for block in self.blocks:
            held = np.concatenate([held, block])
            self.samples += len(block)
            while start < self._last():
                yield start, held[start - offset : start - offset + self.window].copy()
                # The last window begins after this one and maybe before the next.
                held, offset, start = held[start - offset :], start, start + self.step
        last = self._last()
        yield last, held[last - offset :].copy()

    def _last(self) -> int:
        """Where the last window begins if no more comes."""
        return max(0, self.samples // self.frame * self.frame - self.window)


class FrameAverage:
    """Mean of the scores of overlapping windows, weighted towards the middle of each.

    `spans` lists the first frame of each window and the one after its last.
    """

    def __init__(self, classes: int) -> None:
        self.sums, self.weights = np.zeros((0, classes)), np.zeros(0)
        self.spans: list[tuple[int, int]] = []

    def add(self, first: int, frames: np.ndarray) -> None:
        """Add a window's scores (frames, classes), which begin at frame `first`."""
        count, stop = len(frames), first + len(frames)
        if stop > len(self.sums):
            size = max(stop, 2 * len(self.sums))
            self.sums = np.concatenate([self.sums, np.zeros((size - len(self.sums), self.sums.shape[1]))])
            self.weights = np.concatenate([self.weights, np.zeros(size - len(self.weights))])
        ramp = 1.0 - np.abs(2.0 * (np.arange(count) + 0.5) / count - 1.0) + 1e-3
        self.sums[first:stop] += ramp[:, None] * frames
        self.weights[first:stop] += ramp
        self.spans.append((first, stop))

    def mean(self, frames: int) -> np.ndarray:
        """Scores (frames, classes) float32 of the first `frames` frames."""
        return (self.sums[:frames] / self.weights[:frames, None]).astype(np.float32)
