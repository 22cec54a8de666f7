"""Exact alignment of passages: recording and a rendering of the score in the time of its outline -> maps between their times.

The passages found by `models.alignment.search` are rendered as they were played, one after the other at the recording's tempo.
What is left to align is nearly a straight line, so that exact DTW in a corridor takes memory linear in the duration.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from models.alignment.costs import Costs, window
from models.alignment.dtw import Ends, NoPath, Path, Steps, corner, priced
from models.alignment.jumps import typical
from models.alignment.outline import RELEASE_S, NoteEvents
from models.alignment.renderings import LEAD_S, MARGIN_S, RenderedNotes, Rendering, rendered_notes, renderings
from models.alignment.search import Limits, SearchResult
from models.alignment.time_map import TimeMap, confidence, matched

RADIUS_S = 2.0
"""Half the width of the corridor around the outline's path, s."""
EDGE_S = 0.1
"""Tolerance of the ends of a recording for notes that begin or end there, s."""
CUT_S = 2.0
"""Distance from the ends of the recording within which a passage is taken to be cut there, s: its outline may miss soft notes."""
OUTSIDE, OMITTED_END, OMITTED = 0.7, 0.3, 0.1
"""Prices of a frame relative to the typical distance of unrelated frames: of the recording beyond an open end, of the score
if its outline reached the score's own end, and of the score around a cut."""

ANCHOR_S = 0.2
"""Largest distance of a path from an anchor, s of the recording."""
CLOSEST_S = 1e-9  # of knots
BLOCK = 128  # cells of a path whose costs are computed at once, in a square block


class PassageMap(NamedTuple):
    """Passage of the score in the recording."""

    score_start: float  # s in the score
    score_end: float  # s in the score, not included
    start: float  # s in the recording
    end: float  # s in the recording
    time_map: TimeMap  # score s -> recording s
    rows: np.ndarray  # (cells,) frames of the recording along the path
    score_s: np.ndarray  # (cells,) s in the score along the path
    confidence: np.ndarray  # (knots,) raw, at the knots of the map
    costs: np.ndarray  # (cells,) distances along the path


class PassageAligner:
    """Align passages frame by frame.

    Args:
        frame_s: hop of the features, s
        steps: DTW steps
        open_ends: a path may begin and end inside recording and score
    """

    def __init__(self, frame_s: float, steps: Steps, open_ends: bool = True) -> None:
        self.frame_s, self.steps, self.open_ends = frame_s, steps, open_ends

    def __call__(
        self,
        performance: np.ndarray,
        result: SearchResult,
        notes: NoteEvents,
        render: Callable[[RenderedNotes, float], np.ndarray],
        costs: Callable[[np.ndarray, np.ndarray], Costs],
        limits: Limits,
    ) -> list[PassageMap]:
        """Align the passages that were found with the features (frames, d) of a whole recording.

        Args:
            performance: features of the recording
            result: result of the search
            notes: notes of the score
            render: notes and duration (s) -> features (frames, d) of their synthesis
            costs: features of recording and score -> distances
            limits: of the alignment

        Raises:
            NoPath: the steps or limits allow no path.
        """
        if self.open_ends and not result.related:  # the whole score, as a guess
            closed = PassageAligner(self.frame_s, self.steps, open_ends=False)
            return closed(performance, result, notes, render, costs, limits)
        results = []
        for rendering in renderings(result.passages):
            extent = self._extent(rendering, len(performance), notes)
            lead = math.ceil(LEAD_S / self.frame_s)
            played = rendered_notes(rendering, notes, extent.begin_s - lead * self.frame_s)
            count = max(2, math.ceil((extent.end_s - extent.begin_s) / self.frame_s))
            score = render(played, (lead + count) * self.frame_s)[lead : lead + count]
            distances = costs(performance[extent.first : extent.last], score)
            del score  # the distances keep their own copy
            rendered_s = extent.begin_s + self.frame_s * np.arange(distances.shape[1])
            block = _Block(rendering, extent, distances, rendered_s)
            path = self._path(block, limits, len(performance) * self.frame_s, notes)
            results += self._maps(block, path, notes)
        check_anchors(results, limits, self.frame_s, result.stretch)
        return results

    def _extent(self, rendering: Rendering, frames: int, notes: NoteEvents) -> "Extent":
        """Rows and rendered time of a rendering with its margins."""
        start, end = rendering.edges[0], rendering.edges[-1]
        whole = rendering.passages[0].first == -np.inf, rendering.passages[-1].last == np.inf
        duration = frames * self.frame_s
        cut = start <= CUT_S or not self.open_ends, end >= duration - CUT_S or not self.open_ends
        first = 0 if cut[0] else round((start - MARGIN_S) / self.frame_s)
        last = frames if cut[1] else round((end + MARGIN_S) / self.frame_s) + 1
        begin_s, end_s = -MARGIN_S if cut[0] else start, duration + MARGIN_S if cut[1] else end
        if whole[0]:
            begin_s = float(rendering.maps[0](0.0))
        if whole[1]:
            end_s = float(rendering.maps[-1](notes.offset.max())) + RELEASE_S
        if self.open_ends:
            begin_s, end_s = max(begin_s, first * self.frame_s - RADIUS_S), min(end_s, last * self.frame_s + RADIUS_S)
        return Extent(first, last, begin_s, end_s, whole)

    def _path(self, block: "_Block", limits: Limits, duration: float, notes: NoteEvents) -> Path:
        """Cheapest path in the corridor, which is widened until there is one."""
        n, m = block.costs.shape
        row_s = self.frame_s * np.arange(block.extent.first, block.extent.last)
        score_s, score_duration = block.rendering.score_s(block.rendered_s), float(notes.offset.max())
        radius = RADIUS_S
        while True:
            lows, highs = corridor(row_s, block.rendered_s, radius)
            if not self.open_ends:
                lows[0], highs[-1] = 0, m
            lows, highs = limited(lows, highs, row_s, score_s, limits, duration, score_duration)
            try:
                return priced(block.costs, lows, highs, self.steps, *self._ends(block))
            except NoPath:
                if radius > self.frame_s * (n + m):
                    raise
                radius *= 4  # steps that bound the tempo may not fit through the corridor

    def _ends(self, block: "_Block") -> tuple[Ends, Ends]:
        """Prices of the beginning and of the end."""
        n, m = block.costs.shape
        if not self.open_ends:
            return corner(n, m, 0), corner(n, m, -1)
        level, edges = typical(block.costs), block.rendering.edges
        rows, columns = OUTSIDE * level * np.arange(n), OMITTED_END * level * np.arange(m)
        start, end = (OMITTED * level * np.abs(block.rendered_s - edge) / self.frame_s for edge in (edges[0], edges[-1]))
        whole = block.extent.whole
        return Ends(rows, columns if whole[0] else start), Ends(rows[::-1], columns[::-1] if whole[1] else end)

    def _maps(self, block: "_Block", path: Path, notes: NoteEvents) -> list[PassageMap]:
        """Parts of a path, one per passage."""
        rendering, extent, costs, rendered_s = block
        columns, rows = matched(path)
        sure, values = confidence(costs, path), costs_along(costs, path)
        at, cells = rendering.index(rendered_s[columns]), rendering.index(rendered_s[path.columns])
        row_s, results = self.frame_s * (rows + extent.first), []
        last, onsets = len(rendering.passages) - 1, notes.onset
        for index, (passage, time_map) in enumerate(zip(rendering.passages, rendering.maps, strict=True)):
            own, part = at == index, cells == index
            if own.sum() < 2:
                continue
            knots = np.maximum.accumulate(time_map.inverse(rendered_s[columns[own]])) + CLOSEST_S * np.arange(own.sum())
            to_recording = TimeMap(knots, row_s[own])
            edges = row_s[own][[0, -1]] + [-EDGE_S, EDGE_S]
            reach = to_recording.inverse(edges)
            # The outline of an excerpt may have reached the score's own end where the path does not.
            cut = not extent.whole[0] or reach[0] > onsets.min(), not extent.whole[1] or reach[1] < onsets.max()
            passage_map = PassageMap(
                score_start=float(reach[0]) if self.open_ends and cut[0] and not index else passage.first,
                score_end=float(reach[1]) if self.open_ends and cut[1] and index == last else passage.last,
                start=float(row_s[own][0]),
                end=float(row_s[own][-1] + self.frame_s),
                time_map=to_recording,
                rows=(path.rows[part] + extent.first).astype(np.int32),
                score_s=time_map.inverse(rendered_s[path.columns[part]]),
                confidence=sure[columns[own]],
                costs=values[part],
            )
            results.append(passage_map)
        return results


class Extent(NamedTuple):
    """Rows of a recording and rendered times that are aligned."""

    first: int
    last: int
    begin_s: float
    end_s: float
    whole: tuple[bool, bool]  # the score's own beginning and end are in it


class _Block(NamedTuple):
    """Rendering with its distances to a part of the recording."""

    rendering: Rendering
    extent: Extent
    costs: Costs
    rendered_s: np.ndarray  # (columns,) s


def corridor(row_s: np.ndarray, column_s: np.ndarray, radius_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Columns lows[i] .. highs[i] - 1 within a radius of each row, at least one."""
    lows = np.searchsorted(column_s, row_s - radius_s).clip(max=len(column_s) - 1)
    highs = np.searchsorted(column_s, row_s + radius_s, "right")
    return lows, np.maximum(highs, lows + 1)


def limited(
    lows: np.ndarray,
    highs: np.ndarray,
    row_s: np.ndarray,
    score_s: np.ndarray,
    limits: Limits,
    duration: float,
    score_duration: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Corridor narrowed by limits. Raises NoPath if nothing is left of a row."""
    lows, highs = lows.copy(), highs.copy()
    if limits.max_deviation is not None:
        line = row_s * (score_duration / duration)
        for i, (low, high) in enumerate(zip(lows.tolist(), highs.tolist(), strict=True)):
            near = np.flatnonzero(np.abs(score_s[low:high] - line[i]) <= limits.max_deviation)
            if not len(near):
                raise NoPath(f"nothing of the score is within {limits.max_deviation:g} s of a straight line at {row_s[i]:.1f} s")
            runs = np.split(near, np.flatnonzero(np.diff(near) > 1) + 1)  # a jump back in the corridor may part what is near
            run = min(runs, key=lambda run: np.abs(run - (high - low) / 2).min())
            lows[i], highs[i] = low + run[0], low + run[-1] + 1
    for time, places in limits.anchors:
        row = int(np.abs(row_s - time).argmin())
        if not row_s[0] <= time <= row_s[-1] + 1e-9:
            continue
        away = np.abs(score_s[lows[row] : highs[row], None] - np.array(places)).min(1)
        column = int(lows[row] + away.argmin())
        lows[row], highs[row] = max(lows[row], column - 1), min(highs[row], column + 2)
    lows = np.maximum.accumulate(lows)
    highs = np.minimum.accumulate(highs[::-1])[::-1]
    if (lows >= highs).any():
        raise NoPath("the limits contradict one another")
    return lows, highs


def check_anchors(maps: Sequence[PassageMap], limits: Limits, frame_s: float, stretch: float) -> None:
    """Raise NoPath if no passage meets an anchor, such as one in a passage too short to be trusted."""
    for time, places in limits.anchors:
        near = [part.score_s[np.abs(part.rows * frame_s - time) <= frame_s] for part in maps]
        away = np.abs(np.concatenate([*near, []])[:, None] - np.array(places))
        if not (away <= ANCHOR_S / stretch).any():
            raise NoPath(f"no passage of the score meets the anchor at {time:g} s")


def costs_along(costs: Costs, path: Path) -> np.ndarray:
    """Costs of a path's cells (cells,), computed in blocks of rows."""
    values = np.zeros(len(path.rows), np.float32)
    for first in range(0, len(path.rows), BLOCK):
        rows, columns = path.rows[first : first + BLOCK], path.columns[first : first + BLOCK]
        block = window(costs, rows[0], rows[-1] + 1, columns.min(), columns.max() + 1)
        values[first : first + BLOCK] = block[rows - rows[0], columns - columns.min()]
    return values
