"""Event decoding: frame scores -> median filter -> thresholds -> events."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datamodules.sed.events import Events, table


class FrameScores(NamedTuple):
    """Frame scores of clips, concatenated; frame k of a clip covers [k, k + 1) * frame_s."""

    values: NDArray[np.floating]  # (all frames, classes) in [0, 1]
    lengths: NDArray[np.int64]  # (clips,) frames
    durations: NDArray[np.float64]  # (clips,) s; latest offset of events
    frame_s: float  # s

    @property
    def clip(self) -> NDArray[np.int64]:
        """Clip of every frame, (all frames,)."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    @property
    def frame(self) -> NDArray[np.int64]:
        """Position of every frame in its clip, (all frames,)."""
        return np.arange(len(self.values)) - np.repeat(np.cumsum(self.lengths) - self.lengths, self.lengths)

    def select(self, clips: NDArray[np.int64]) -> "FrameScores":
        """Scores of the clips at the given positions, in that order."""
        starts = (np.cumsum(self.lengths) - self.lengths)[clips]
        lengths = self.lengths[clips]
        rows = np.arange(lengths.sum()) + np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
        return FrameScores(self.values[rows], lengths, self.durations[clips], self.frame_s)


def stack(clips: Sequence[NDArray[np.floating]], durations: ArrayLike, frame_s: float) -> FrameScores:
    """Concatenate the scores of at least one clip, each (frames, classes)."""
    lengths = np.array([len(clip) for clip in clips], dtype=np.int64)
    return FrameScores(np.concatenate(clips), lengths, np.asarray(durations, dtype=np.float64), frame_s)


def median_filter(scores: FrameScores, lengths: ArrayLike) -> FrameScores:
    """Median filter along the frames of each clip.

    Clips are padded by reflection (d c b a | a b c d | d c b a). Thresholding commutes with the median, so one filtering
    serves all thresholds.

    Args:
        scores: frame scores of clips of any lengths
        lengths: odd numbers of frames, one or (classes,)

    Raises:
        ValueError: a length that is even or not positive.
    """
    from scipy.ndimage import median_filter as along_line

    classes = scores.values.shape[1]
    widths = np.broadcast_to(np.asarray(lengths), (classes,))
    if ((widths < 1) | (widths % 2 == 0)).any():
        raise ValueError(f"expected odd median filter lengths, got {widths.tolist()}")
    out = np.array(scores.values)
    for width in np.unique(widths[widths > 1]).tolist():
        source, inside = _mirrored(scores.lengths, width // 2)
        for column in np.flatnonzero(widths == width):
            out[:, column] = along_line(scores.values[source, column], width)[inside]
    return scores._replace(values=out)


def decode(scores: FrameScores, thresholds: ArrayLike = 0.5) -> Events:
    """Events in s: runs of frames with scores from the threshold on, one or (classes,)."""
    return events_of(scores, scores.values >= np.asarray(thresholds))


def events_of(scores: FrameScores, active: NDArray[np.bool_]) -> Events:
    """Events from runs of active frames (all frames, classes); events beyond the end of their clip are dropped."""
    total, classes = active.shape
    clip, frame = scores.clip, scores.frame
    # An inactive frame before every clip and at the end separates runs of different clips.
    line = np.zeros((classes, total + len(scores.lengths) + 1), dtype=bool)
    line[:, np.arange(total) + clip + 1] = active.T
    label, onset = np.nonzero(line[:, 1:] & ~line[:, :-1])
    _, end = np.nonzero(line[:, :-1] & ~line[:, 1:])
    row = np.searchsorted(np.arange(total) + clip, onset)
    first, last = frame[row], frame[row] + end - onset
    clip = clip[row]
    inside = first * scores.frame_s < scores.durations[clip]
    onset, offset = first * scores.frame_s, np.minimum(last * scores.frame_s, scores.durations[clip])
    return table(clip[inside], label[inside], onset[inside], offset[inside])


def _mirrored(lengths: NDArray[np.int64], margin: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of all clips with reflected margins, and the positions of the clips without margins."""
    padded = np.where(lengths > 0, lengths + 2 * margin, 0)
    position = np.arange(padded.sum()) - np.repeat(np.cumsum(padded) - padded, padded) - margin
    length = np.repeat(lengths, padded)
    phase = position % np.maximum(2 * length, 1)
    local = np.minimum(phase, 2 * length - 1 - phase)
    inside = np.flatnonzero((position >= 0) & (position < length))
    return local + np.repeat(np.cumsum(lengths) - lengths, padded), inside
