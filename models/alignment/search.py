"""Search of a score in a recording: outlines -> tempo, key, timbre, unfolding of the repeats, and the passages played."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np

from models.alignment.costs import Costs, FeatureCosts, window
from models.alignment.jumps import JumpPath, Prices, jump_path
from models.alignment.key_search import TEMPI, KeySearch, cheapest
from models.alignment.outline import NoteEvents, Outline, pooled, unit
from models.alignment.time_map import extended

CELLS = 1.5e8
"""Frame pairs of outlines, a byte each."""
UNRELATED, SURE = 0.05, 0.6
"""Agreement below which a score is said to belong to another piece, and above which it is not."""
INDISTINCT = 1.3
"""Distinctness below which it is too, if the agreement is between them."""
SHORT_S = 8.0
"""Duration of the passages below which their agreement counts for less, s, unless the recording is shorter still."""
SILENCE = 0.1
"""Price of a silent frame outside the score: it should not be placed in a rest instead."""
LEAST_S = 0.75
"""Duration below which a passage of a path is a coincidence, s."""
JOINED_S = 0.5
"""Longest gap between passages that follow one another, s."""
SMOOTHING_S, KNOT_S = 1.0, 0.5
SLOWEST = 1e-4  # beats per frame of the recording in a map
SAME_S = 1e-6  # tolerance for equal times in the score


class ScoreEvents(Protocol):
    """Notes, and the times of beats (beats,) and bars (bars,), of a score in s."""

    notes: NoteEvents
    beats: np.ndarray
    bars: np.ndarray


class Passage(NamedTuple):
    """Part of the score played without a jump, with a piecewise linear map; both arrays (knots,) increase."""

    recording_s: np.ndarray
    score_s: np.ndarray
    first: float  # s in the score; minus infinity from its beginning
    last: float  # s in the score, not included; infinity to its end
    joined: bool  # the passage begins where the one before ends in the recording


class SearchResult(NamedTuple):
    """Score in a recording: unfolding, key, tempo and the passages played."""

    way: int  # index of the unfolding
    semitones: int  # transposition of the recording above the score
    timbre: str  # of TIMBRES
    stretch: float  # mean duration of one second of the score in the recording, s
    passages: tuple[Passage, ...]  # in the recording's order
    agreement: float  # by how much the score explains its passages better than nothing, at most 0.75
    distinctness: float  # cost of the best other key (an octave aside) relative to the right one: a wrong score fits many keys
    distances: Costs  # of the outlines of recording and score
    frame_s: float  # of the outlines

    @property
    def related(self) -> bool:
        """False if the score seems to belong to another piece; the passages are then the whole score."""
        return self.agreement >= UNRELATED and (self.distinctness >= INDISTINCT or self.agreement >= SURE)


class Limits(NamedTuple):
    """Constraints on an alignment, given by the user.

    max_deviation: largest deviation from the straight line between the corners, s of the score
    anchors: times (recording s, (score s, ...)) at which the recording is at one of the times of the score
    """

    max_deviation: float | None = None
    anchors: tuple[tuple[float, tuple[float, ...]], ...] = ()


class ScoreSearch:
    """Search scores in recordings by their outlines.

    Args:
        transposition: largest transposition of the recording in semitones up or down
        open_ends: the recording may hold other sound, and any part of the score
        jumps: find omitted and repeated bars
        jump_s: duration that must be explained better for a jump to be accepted, s
    """

    def __init__(self, transposition: int = 12, open_ends: bool = True, jumps: bool = True, jump_s: float = 2.0) -> None:
        self.open_ends, self.jumps, self.jump_s = open_ends, jumps, jump_s
        self.outline = Outline()
        self.key_search = KeySearch(self.outline, transposition)

    def __call__(
        self, audio: np.ndarray, scores: Sequence[ScoreEvents], cents: float = 0.0, limits: Sequence[Limits] | None = None
    ) -> SearchResult:
        """Search a recording (samples,) at the outline's rate in the unfoldings of a score, the likeliest first.

        Args:
            audio: recording
            scores: unfoldings
            cents: tuning of the recording above 440 Hz
            limits: of each unfolding
        """
        recording = self.outline.of_audio(audio, cents)
        stretch, semitones, timbre, distinctness = self.key_search(recording, scores[0].notes)
        recording = self.outline.transposed(recording, semitones)
        limits = limits or [Limits()] * len(scores)
        ways = {way: self._way(recording, score, stretch, timbre, limits[way]) for way, score in enumerate(scores)}
        way = cheapest({way: path.cost for way, (path, *_) in ways.items()})
        path, distances, stretch, frame_s = ways[way]
        passages = passages_of(path, scores[way], frame_s, stretch)
        agreement = self._agreement(path, frame_s)
        result = SearchResult(way, semitones, timbre, stretch, passages, agreement, distinctness, distances, frame_s)
        if self.open_ends and not (result.related and passages):  # no passage can be trusted: the whole score, as a guess
            path, distances, stretch, frame_s = self._path(recording, scores[way], stretch, timbre, limits[way], True)
            passages = passages_of(path, scores[way], frame_s, stretch)
            return result._replace(
                passages=passages, distances=distances, stretch=stretch, frame_s=frame_s, agreement=min(agreement, 0.0)
            )
        return result

    def _agreement(self, path: JumpPath, frame_s: float) -> float:
        """Difference of the price outside the score and the cost inside; less for short passages, 0 for none."""
        inside = np.count_nonzero(path.columns >= 0)
        if not inside:
            return 0.0
        enough = min(SHORT_S / frame_s, 0.5 * len(path.columns))
        return (Prices().outside - path.inside) * min(1.0, inside / enough)

    def _way(
        self, recording: np.ndarray, score: ScoreEvents, stretch: float, timbre: str, limits: Limits
    ) -> tuple[JumpPath, Costs, float, float]:
        """Path through one unfolding, with its distances, the mean tempo along it and the duration of a frame, s."""
        path, distances, stretch, frame_s = self._path(recording, score, stretch, timbre, limits, not self.open_ends)
        advanced = sum(int(path.columns[part[-1]] - path.columns[part[0]]) for part in path.passages)
        slope = sum(len(part) - 1 for part in path.passages) / max(advanced, 1)
        if self.open_ends and advanced and not 0.66 < slope < 1.5:
            stretch = float(np.clip(stretch * slope, TEMPI[0] / 2, 2 * TEMPI[-1]))
            return self._path(recording, score, stretch, timbre, limits, False)
        return path, distances, stretch, frame_s

    def _path(
        self, recording: np.ndarray, score: ScoreEvents, stretch: float, timbre: str, limits: Limits, closed: bool
    ) -> tuple[JumpPath, Costs, float, float]:
        if closed:
            stretch = len(recording) * self.outline.frame_s / max(float(score.notes.offset.max()), self.outline.frame_s)
        frames = len(recording), stretch * float(score.notes.offset.max()) / self.outline.frame_s
        pool = 1
        while frames[0] * frames[1] > CELLS * pool**2:
            pool *= 2
        frame_s = pool * self.outline.frame_s
        outlines = unit(pooled(recording, pool)), unit(self.outline.of_notes(score.notes, stretch, timbre, pool))
        distances = FeatureCosts(*outlines, "cosine")
        limited, silent = Limited(distances, limits, stretch / frame_s, 1 / frame_s), ~outlines[0].any(1)
        bars = np.unique(np.round(np.asarray(score.bars) * stretch / frame_s).astype(int))
        path = jump_path(limited, bars[(bars > 0) & (bars < distances.shape[1])], self._prices(frame_s, limited, silent, closed))
        return path, distances, stretch, frame_s

    def _prices(self, frame_s: float, limited: "Limited", silent: np.ndarray, closed: bool) -> Prices:
        jump = self.jump_s / frame_s if self.jumps else np.inf
        if closed:
            return Prices(np.inf, np.inf, np.inf, np.inf, jump if not self.open_ends else np.inf)
        outside = np.where(silent, SILENCE, Prices().outside)
        outside[list(limited.anchored)] = np.inf
        enter, cut, leave = (share * self.jump_s / frame_s for share in (1.0, 0.1, 0.25))
        return Prices(outside, enter, cut, leave, jump)


class Limited:
    """Costs that are infinite where limits forbid a path.

    Args:
        costs: distances (n, m)
        limits: limits
        per_score_s: columns per second of the score
        per_s: rows per second of the recording
    """

    def __init__(self, costs: Costs, limits: Limits, per_score_s: float, per_s: float) -> None:
        self.costs, (n, m) = costs, costs.shape
        self.shape = n, m
        self.band = None if limits.max_deviation is None else max(1.0, limits.max_deviation * per_score_s)
        self.anchored = {
            min(int(time * per_s), n - 1): [min(int(score_s * per_score_s), m - 1) for score_s in places]
            for time, places in limits.anchors
        }

    def block(self, first: int, last: int) -> np.ndarray:
        """See `Costs`."""
        return self.window(first, last, 0, self.shape[1])

    def window(self, first: int, last: int, left: int, right: int) -> np.ndarray:
        """See `Costs`."""
        block = window(self.costs, first, last, left, right)
        if self.band is None and not self.anchored:
            return block
        forbidden, columns = np.zeros(block.shape, bool), np.arange(left, right)
        if self.band is not None:
            n, m = self.shape
            line = np.arange(first, last) * ((m - 1) / max(n - 1, 1))
            forbidden |= np.abs(columns - line[:, None]) > self.band
        for row, places in self.anchored.items():
            if first <= row < last:
                forbidden[row - first] |= np.abs(columns - np.array(places)[:, None]).min(0) > 1
        return np.where(forbidden, np.float32(np.inf), block)


def passages_of(path: JumpPath, score: ScoreEvents, frame_s: float, stretch: float) -> tuple[Passage, ...]:
    """Passages of a path through outlines, without coincidences; those that a jump enters or leaves end between bars.

    Passages with a short gap between them follow one another.
    """
    parts = [part for part in path.passages if (len(part) - 1) * frame_s >= min(LEAST_S, 0.5 * len(path.columns) * frame_s)]
    bars, onsets, passages = np.array([0.0, *score.bars, score.notes.offset.max()]), score.notes.onset, []
    gaps = [(after[0] - before[-1] - 1) * frame_s for before, after in pairwise(parts)]
    joins = [False, *(gap <= JOINED_S for gap in gaps), False]

    def edge(column: int) -> float:
        """Score time of a column, that of the nearest bar if it is near."""
        time = column * frame_s / stretch
        nearest = float(bars[np.abs(bars - time).argmin()])
        return nearest if abs(nearest - time) <= 2 * frame_s / stretch else time

    for index, part in enumerate(parts):
        recording_s, score_s = smoothed(part, path.columns[part], frame_s, stretch, np.asarray(score.beats, float))
        columns = path.columns[part[0]], path.columns[part[-1]] + 1
        first, last = (column * frame_s / stretch for column in columns)
        first = edge(columns[0]) if joins[index] else first if first > onsets.min() else -np.inf
        last = edge(columns[1]) if joins[index + 1] else last if last <= onsets.max() else np.inf
        if first < last:
            passages.append(Passage(recording_s, score_s, first, last, joins[index] and bool(passages)))
    return tuple(passages)


def smoothed(
    rows: np.ndarray, columns: np.ndarray, frame_s: float, stretch: float, beats: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Smooth increasing map of a passage's frames (k,) of outlines: recording s and score s, both (knots,).

    Positions are smoothed in beats, so that tempo changes of the score, which need not be the performance's, stay sharp.

    Args:
        rows: frames of the recording
        columns: frames of the score
        frame_s: duration of a frame, s
        stretch: duration of one second of the score in its outline, s
        beats: (beats,) s in the score
    """
    beats = beats[np.append(np.diff(beats) > SAME_S, True)] if len(beats) else beats
    beats = beats if len(beats) > 1 else np.arange(2.0)
    position = _extrapolated((columns + 0.5) * frame_s / stretch, beats, np.arange(float(len(beats))))
    reach = min(round(SMOOTHING_S / frame_s), len(rows) - 1)
    padded = np.pad(position, reach, mode="reflect", reflect_type="odd")  # keeps both ends
    position = np.convolve(padded, np.full(2 * reach + 1, 1 / (2 * reach + 1)), "valid")
    count = max(2, round(len(rows) * frame_s / KNOT_S))
    knots = np.unique(np.linspace(0, len(rows) - 1, count).round().astype(int))
    least = SLOWEST * (rows[knots] - rows[0])
    rising = np.maximum.accumulate(position[knots] - least) + least
    inside = np.arange(np.ceil(rising[0]), rising[-1])
    both = np.union1d(rising, inside[(inside >= 0) & (inside < len(beats))])
    both = both[np.append(np.diff(both) > SLOWEST / 2, True)]
    recording_s = np.interp(both, rising, (rows[knots] + 0.5) * frame_s)
    return recording_s, _extrapolated(both, np.arange(float(len(beats))), beats)


def _extrapolated(x: np.ndarray, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
    """Linear interpolation, and extrapolation by the first and last two points."""
    slopes = tuple((ys[k + 1] - ys[k]) / (xs[k + 1] - xs[k]) for k in (0, len(xs) - 2))
    return extended(x, xs, ys, slopes)
