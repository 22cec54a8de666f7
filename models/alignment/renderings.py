"""Renderings of passages: the score as it was played, passage after passage in the recording's time -> notes to synthesize."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from models.alignment.outline import NoteEvents
from models.alignment.search import Passage
from models.alignment.time_map import TimeMap

MARGIN_S = 1.0
"""Duration before and after an open end in which the path may begin or end, s."""
LEAD_S = 3.0
"""Duration rendered before a passage, for notes that sound into it, s."""


class Rendering(NamedTuple):
    """Passages that follow one another, in the recording's time."""

    passages: list[Passage]
    maps: list[TimeMap]  # score s -> rendered s
    edges: list[float]  # rendered s at which passages begin, and the end of the last one

    def score_s(self, rendered_s: np.ndarray) -> np.ndarray:
        """Score times of rendered times (k,)."""
        index = self.index(rendered_s)
        result = np.empty(len(rendered_s))
        for k, time_map in enumerate(self.maps):
            result[index == k] = time_map.inverse(rendered_s[index == k])
        return result

    def index(self, rendered_s: np.ndarray) -> np.ndarray:
        """Passage of each rendered time (k,)."""
        return np.searchsorted(self.edges[1:-1], rendered_s, side="right")


def renderings(passages: Sequence[Passage]) -> list[Rendering]:
    """Passages grouped into those that follow one another in the recording."""
    starts = [index for index, passage in enumerate(passages) if not passage.joined]
    groups = [list(passages[a:b]) for a, b in zip(starts, [*starts[1:], len(passages)], strict=True)]
    return [_rendering(group) for group in groups]


def _rendering(passages: list[Passage]) -> Rendering:
    edges = [passages[0].recording_s[0]]
    for before, after in pairwise(passages):
        edges.append(0.5 * (before.recording_s[-1] + after.recording_s[0]))
    edges.append(passages[-1].recording_s[-1])
    maps = []
    for index, passage in enumerate(passages):
        knots = np.stack([passage.score_s, passage.recording_s])
        if passage.joined:
            knots = _from(knots, passage.first, edges[index])
        if index + 1 < len(passages):
            knots = -_from(-knots[:, ::-1], -passage.last, -edges[index + 1])[:, ::-1]
        maps.append(TimeMap(*knots))
    return Rendering(passages, maps, edges)


def _from(knots: np.ndarray, first: float, edge: float) -> np.ndarray:
    """Knots (2, k) that begin at a score time and a recording time."""
    return np.concatenate([[[first], [edge]], knots[:, (knots > [[first], [edge]]).all(0)]], 1)


class RenderedNotes(NamedTuple):
    """Notes of a rendering: indices of the score's notes (k,), and their times from the start of the audio, s."""

    index: np.ndarray
    onset: np.ndarray
    offset: np.ndarray


def rendered_notes(rendering: Rendering, notes: NoteEvents, begin_s: float) -> RenderedNotes:
    """Notes of a rendering whose audio begins at `begin_s` in its time."""
    parts = []
    for index, (passage, time_map) in enumerate(zip(rendering.passages, rendering.maps, strict=True)):
        onset, offset = time_map(notes.onset), time_map(notes.offset)
        inside = (notes.onset < passage.last) | (index + 1 == len(rendering.passages))
        inside &= (notes.onset >= passage.first) if index else (onset >= begin_s)
        offset = np.minimum(offset, rendering.edges[index + 1]) if index + 1 < len(rendering.passages) else offset
        kept = np.flatnonzero(inside & (onset < rendering.edges[-1] + MARGIN_S + LEAD_S))
        parts.append((kept, onset[kept] - begin_s, np.maximum(offset[kept], onset[kept] + 1e-3) - begin_s))
    return RenderedNotes(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
