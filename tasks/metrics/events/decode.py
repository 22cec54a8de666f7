"""From scores of frames to events: a median filter once, then any number of thresholds."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datamodules.sed.events import Events, table


class FrameScores(NamedTuple):
    """Scores of the frames of many clips, one clip after the other; frame k of a clip covers [k, k + 1) * frame_s."""

    values: NDArray[np.floating]  # (all frames, classes) in [0, 1]
    lengths: NDArray[np.int64]  # (clips,) frames
    durations: NDArray[np.float64]  # (clips,) s; events end there at the latest
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
        """Scores of some clips, by their positions (chosen,), in that order."""
        starts = (np.cumsum(self.lengths) - self.lengths)[clips]
        lengths = self.lengths[clips]
        rows = np.arange(lengths.sum()) + np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
        return FrameScores(self.values[rows], lengths, self.durations[clips], self.frame_s)


def stack(clips: Sequence[NDArray[np.floating]], durations: ArrayLike, frame_s: float) -> FrameScores:
    """Put the scores of clips, each (frames, classes), one after the other; there must be at least one clip."""
    lengths = np.array([len(clip) for clip in clips], dtype=np.int64)
    return FrameScores(np.concatenate(clips), lengths, np.asarray(durations, dtype=np.float64), frame_s)


def median_filter(scores: FrameScores, lengths: ArrayLike) -> FrameScores:
    """Replace every score by the median of the scores around it, within its clip.

    A clip goes on beyond its ends as its own mirror image (d c b a | a b c d | d c b a). The median of scores passes
    a threshold exactly where the median of decisions does, so this is done once for all thresholds.

    Args:
        scores: of clips of any lengths
        lengths: odd numbers of frames, one or (classes,)

    Raises:
        ValueError: a length that is even or not positive.
    """
    from scipy.ndimage import median_filter as along_line

    classes = scores.values.shape[1]
    widths = np.broadcast_to(np.asarray(lengths), (classes,))
    if ((widths < 1) | (widths % 2 == 0)).any():
        raise ValueError(f"a median filter has an odd number of frames, not {widths.tolist()}")
    out = np.array(scores.values)
    for width in np.unique(widths[widths > 1]).tolist():
        source, kept = _mirrored(scores.lengths, width // 2)
        for column in np.flatnonzero(widths == width):
            out[:, column] = along_line(scores.values[source, column], width)[kept]
    return scores._replace(values=out)


def decode(scores: FrameScores, thresholds: ArrayLike = 0.5) -> Events:
    """Runs of frames whose score is at least the threshold, one or (classes,), as events in s."""
    return events_of(scores, scores.values >= np.asarray(thresholds))


def events_of(scores: FrameScores, active: NDArray[np.bool_]) -> Events:
    """Runs of active frames, (all frames, classes), as events; those beyond the end of their clip are left out."""
    total, classes = active.shape
    clip, frame = scores.clip, scores.frame
    # A silent frame before every clip and one at the very end keep runs within their clip.
    line = np.zeros((classes, total + len(scores.lengths) + 1), dtype=bool)
    line[:, np.arange(total) + clip + 1] = active.T
    label, onset = np.nonzero(line[:, 1:] & ~line[:, :-1])
    _, end = np.nonzero(line[:, :-1] & ~line[:, 1:])
    where = np.searchsorted(np.arange(total) + clip, onset)
    first, last = frame[where], frame[where] + end - onset
    clip = clip[where]
    heard = first * scores.frame_s < scores.durations[clip]
    onset, offset = first * scores.frame_s, np.minimum(last * scores.frame_s, scores.durations[clip])
    return table(clip[heard], label[heard], onset[heard], offset[heard])


def _mirrored(lengths: NDArray[np.int64], margin: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of all clips with mirrored margins around each, and where in that line the clips themselves lie."""
    padded = np.where(lengths > 0, lengths + 2 * margin, 0)
    place = np.arange(padded.sum()) - np.repeat(np.cumsum(padded) - padded, padded) - margin
    length = np.repeat(lengths, padded)
    phase = place % np.maximum(2 * length, 1)
    local = np.minimum(phase, 2 * length - 1 - phase)
    inside = np.flatnonzero((place >= 0) & (place < length))
    return local + np.repeat(np.cumsum(lengths) - lengths, padded), inside
