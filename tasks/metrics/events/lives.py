"""Every event that any threshold decodes from scores, once, with the thresholds at which it is there.

As the threshold falls, runs of frames appear, grow and join. There are never more different runs than frames: each
frame is the lowest of at most one.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.events import Events
from tasks.metrics.events.decode import FrameScores

Ints = NDArray[np.int64]


class Lives(NamedTuple):
    """Events of one class, sorted by clip, onset and offset; each is decoded where death < threshold <= birth."""

    events: Events
    birth: NDArray[np.floating]  # (events,) lowest score within
    death: NDArray[np.floating]  # (events,) highest score beside it; minus infinity where it fills its clip
    start: Ints  # (events,) row of `edge_times` at which it begins
    end: Ints  # (events,) and ends


def edge_times(scores: FrameScores) -> tuple[Ints, NDArray[np.float64]]:
    """Clip and time in s of the edges of all frames, one more per clip than it has frames, each (edges,)."""
    count = scores.lengths + 1
    clip = np.repeat(np.arange(len(count)), count)
    edge = np.arange(len(clip)) - np.repeat(np.cumsum(count) - count, count)
    return clip, np.minimum(edge * scores.frame_s, scores.durations[clip])


def lives(scores: FrameScores, kind: int) -> Lives:
    """All events of one class. Scores must be finite."""
    # One line of all clips, with silence before each and at the end, where every run stops.
    line = np.full(len(scores.values) + len(scores.lengths) + 1, -np.inf, dtype=scores.values.dtype)
    here = np.arange(len(scores.values)) + scores.clip + 1
    line[here] = scores.values[:, kind]
    minima = _minima(line, int(scores.lengths.max(initial=1)))
    left = here.copy()
    right = here.copy()
    for level in range(len(minima) - 1, -1, -1):
        step, low = 1 << level, minima[level]
        left = np.where(low[np.maximum(left - step, 0)] > line[here], left - step, left)
        right = np.where(low[np.minimum(right + 1, len(line) - 1)] >= line[here], right + step, right)
    left, right = left - 1, right + 1  # nearest frame to the left that is not higher, to the right that is lower
    first = line[left] < line[here]  # of equal frames in one run the leftmost speaks for it
    here, left, right = here[first], left[first], right[first]
    clip, time = edge_times(scores)
    heard = time[left] < time[right - 1]  # not beyond the end of the clip
    here, left, right = here[heard], left[heard], right[heard]
    order = np.lexsort((right, left))
    here, start, end = here[order], left[order], right[order] - 1
    events = Events(clip[start], np.full(len(start), kind), time[start], time[end])
    return Lives(events, line[here], np.maximum(line[start], line[end + 1]), start, end)


def _minima(line: NDArray[np.floating], longest: int) -> list[NDArray[np.floating]]:
    """Minimum of 1, 2, 4, ... values from each place on, up to `longest`; minus infinity lies beyond the end."""
    levels = [line]
    while 2 << (len(levels) - 1) <= longest:
        step, low = 1 << (len(levels) - 1), levels[-1]
        levels.append(np.minimum(low, np.append(low[step:], np.full(step, -np.inf, dtype=low.dtype))))
    return levels
