"""Passages: renderings in the recording's time, and their frame-wise alignment on features with one dimension per note."""

import numpy as np
import pytest

from datamodules.alignment.score import notes_of
from models.alignment.costs import FeatureCosts, window
from models.alignment.dtw import STEPS, NoPath, priced
from models.alignment.passages import RADIUS_S, PassageAligner, check_anchors, corridor, limited
from models.alignment.renderings import LEAD_S, MARGIN_S, rendered_notes, renderings
from models.alignment.search import Limits, Passage, SearchResult

FRAME_S, NOTE_S = 0.05, 0.4
COUNT = 60
NOTES = notes_of(NOTE_S * np.arange(COUNT), NOTE_S * np.arange(1, COUNT + 1), 30 + np.arange(COUNT))
END_S = NOTE_S * COUNT  # 24 s
UNIT = STEPS["unit"]


def tempo(score_s):
    """Recording time (s) of a score time, played faster and slower."""
    return 1.1 * score_s + 0.4 * np.sin(0.7 * score_s)


SCORE_S = np.linspace(-1.0, END_S + 5.0, 3000)


def score_time(recording_s):
    """Inverse of `tempo`."""
    return np.interp(recording_s, tempo(SCORE_S), SCORE_S)


DIMENSIONS = 80


def frames_of(note, share):
    """Features of frames that are a share of the way from a note to the next: (frames, DIMENSIONS + 2).

    Note -1 is a rest, note -2 a sound outside the score.
    """
    dimensions = np.eye(DIMENSIONS + 2)
    next_note = np.where(note < 0, note, (note + 1) % DIMENSIONS)
    here, there = (dimensions[np.where(index < 0, index, index % DIMENSIONS)] for index in (note, next_note))
    return (1 - share)[:, None] * here + share[:, None] * there


def features(score_s, count):
    """Features of a recording with these score times; NaN outside the score."""
    outside = np.isnan(score_s)
    position = np.where(outside, -1.0, score_s) / NOTE_S + 1e-9
    note = np.floor(position).astype(int)
    share = position - note
    return frames_of(np.where(outside, -2, np.where((note >= 0) & (note < count), note, -1)), share)


def played(*parts):
    """Score times of a recording's frames, of parts (score start, score end) or seconds of other sound; the parts' spans."""
    frames, spans = [], []
    for part in parts:
        start = FRAME_S * sum(map(len, frames))
        if isinstance(part, tuple):
            first, last = tempo(np.array(part))
            frames.append(score_time(first + FRAME_S * np.arange(round((last - first) / FRAME_S))))
        else:
            frames.append(np.full(round(part / FRAME_S), np.nan))
        spans.append((start, FRAME_S * sum(map(len, frames))))
    return np.concatenate(frames), spans


def passage(part, span, first=None, last=None, joined=False, error=0.0):
    """Passage of a part of the score that begins at a recording time, off by at most `error` s in between."""
    recording_s = np.linspace(span[0] + 0.05, span[1] - 0.05, max(2, round(2 * (span[1] - span[0]))))
    score_s = score_time(recording_s - span[0] + tempo(np.array(part[0])))
    score_s = score_s + error * np.sin(np.linspace(0, 3 * np.pi, len(score_s)))
    first, last = (edge if own is None else own for own, edge in ((first, part[0]), (last, part[1])))
    return Passage(recording_s, np.maximum.accumulate(score_s) + 1e-6 * np.arange(len(score_s)), first, last, joined)


def search_result(*passages):
    stretch = 1.1
    return SearchResult(0, 0, "struck", stretch, passages, 0.5, 2.0, None, 0.1)


class Aligned:
    """Result of `align`, with counts of what the aligner asked for."""

    def __init__(self):
        self.maps, self.cells, self.largest, self.renderings, self.rendered_s = [], 0, 0, 0, 0.0


class Counted:
    """Costs that count the cells asked for."""

    def __init__(self, costs, result):
        self.costs, self.shape, self.result = costs, costs.shape, result

    def block(self, first, last):
        return self.window(first, last, 0, self.shape[1])

    def window(self, first, last, left, right):
        cells = (last - first) * (right - left)
        self.result.cells, self.result.largest = self.result.cells + cells, max(self.result.largest, cells)
        return window(self.costs, first, last, left, right)


def align(score_s, passages, limits=None, steps=UNIT, notes=NOTES, **options):
    """Align a recording with these score times by passages that were found."""
    result, count = Aligned(), len(notes.onset)

    def render(part, seconds):
        result.renderings, result.rendered_s = result.renderings + 1, result.rendered_s + seconds
        times = FRAME_S * np.arange(round(seconds / FRAME_S))
        note, share = np.full(len(times), -1), np.zeros(len(times))
        for index, onset, offset in zip(*part, strict=True):
            inside = slice(*np.searchsorted(times, (onset, offset)))
            note[inside], share[inside] = index, (times[inside] - onset) / (offset - onset)
        return frames_of(note, share)

    def costs(x, y):
        return Counted(FeatureCosts(x, y, "cosine"), result)

    aligner = PassageAligner(FRAME_S, steps, **options)
    result.maps = aligner(features(score_s, count), search_result(*passages), notes, render, costs, limits or Limits())
    return result


def error_s(passage_map, part, start):
    """Largest error (s) of the onsets of a part's notes, which is played from a recording time."""
    onsets = NOTES.onset[(NOTES.onset >= part[0] - 1e-6) & (NOTES.onset < part[1] - 1e-6)]
    return np.abs(passage_map.time_map(onsets) - (tempo(onsets) - tempo(np.array(part[0])) + start)).max()


# Renderings

FIRST, SECOND, THIRD = (0.0, 8.0), (12.0, END_S), (4.0, 12.0)


def test_passages_that_follow_one_another_share_a_rendering():
    parts = [
        passage(FIRST, (0.0, 9.0), -np.inf),
        passage(THIRD, (9.0, 18.0), joined=True),
        passage(SECOND, (25.0, 38.0), last=np.inf),
    ]
    first, second = renderings(parts)
    assert [len(first.passages), len(second.passages)] == [2, 1]
    assert first.edges == pytest.approx([0.05, 9.0, 17.95]) and second.edges == pytest.approx([25.05, 37.95])
    # At an edge the score jumps from the end of a passage to the beginning of the next.
    assert first.score_s(np.array([9.0 - 1e-6, 9.0 + 1e-6])) == pytest.approx([8.0, 4.0], abs=1e-4)
    assert first.index(np.array([-3.0, 8.9, 9.1, 30.0])).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("back", [0.0, 4.0])
def test_a_jump_back_plays_notes_twice_and_cuts_them_at_the_jump(back):
    held = notes_of([0.0, 2.0, 3.0, 4.0, 6.0, 7.5], [0.5, 3.0, 11.0, 5.0, 7.0, 12.0], range(60, 66))
    parts = [passage((0.0, 8.0), (0.0, 9.0), -np.inf), passage((back, 12.0), (9.0, 18.0), last=np.inf, joined=True)]
    (rendering,) = renderings(parts)
    notes = rendered_notes(rendering, held, -2.0)
    again = np.flatnonzero(held.onset >= back)
    assert notes.index.tolist() == [*range(6), *again]
    assert notes.offset[:6].max() == pytest.approx(9.0 + 2.0)  # notes held over the jump end there
    assert notes.onset[6] == pytest.approx(rendering.maps[1](held.onset[again[0]]) + 2.0) and notes.onset[6] >= 11.0 - 1e-9
    assert (notes.offset > notes.onset).all()


def test_notes_beyond_the_audio_are_left_out():
    (rendering,) = renderings([passage((8.0, 12.0), (3.0, 7.0))])
    notes = rendered_notes(rendering, NOTES, 1.0)
    onsets = NOTES.onset[notes.index]
    assert notes.onset.min() >= 0 and notes.onset.max() < 7.0 - 1.0 + MARGIN_S + LEAD_S
    assert onsets.min() < 8.0 and onsets.max() > 12.0  # those of the margins are rendered


# Alignment


def confidence_at_ends(passage_map):
    """Least of the median raw confidences of the first and the last second, relative to that of the passage."""
    times, sure = passage_map.time_map.performance_s, passage_map.confidence
    ends = times < times[0] + 1, times > times[-1] - 1
    return min(np.median(sure[end]) for end in ends) / np.median(sure)


EXACT_S = 1.5 * FRAME_S


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("error", [0.0, 0.9])
def test_a_whole_recording(steps, error):
    part = (0.0, END_S)
    score_s, (span,) = played(part)
    result = align(score_s, [passage(part, span, -np.inf, np.inf, error=error)], steps=steps)
    (passage_map,) = result.maps
    assert error_s(passage_map, part, 0.0) < EXACT_S
    assert (passage_map.score_start, passage_map.score_end) == (-np.inf, np.inf)
    assert (passage_map.start, passage_map.end) == pytest.approx(span, abs=2 * FRAME_S)
    assert len(passage_map.rows) == len(passage_map.score_s) == len(passage_map.costs) and passage_map.costs.mean() < 0.05
    assert len(passage_map.confidence) == len(passage_map.time_map.score_s)


def test_an_excerpt_between_other_sounds():
    part = (6.0, 16.0)
    score_s, (_, span, _) = played(4.0, part, 5.0)
    (passage_map,) = align(score_s, [passage(part, span, error=0.5)]).maps
    assert error_s(passage_map, part, span[0]) < EXACT_S
    assert (passage_map.start, passage_map.end) == pytest.approx(span, abs=3 * FRAME_S)
    assert (passage_map.score_start, passage_map.score_end) == pytest.approx(part, abs=3 * FRAME_S)


@pytest.mark.parametrize("cut", [(5.3, 14.7), (0.5, 9.1), (12.3, 23.5)])
def test_an_excerpt_that_fills_the_recording(cut):
    score_s, (span,) = played(cut)
    (passage_map,) = align(score_s, [passage(cut, span, error=0.5)]).maps
    first = NOTE_S * np.ceil(cut[0] / NOTE_S)  # whole note
    assert error_s(passage_map, (first, cut[1]), float(tempo(first) - tempo(np.array(cut[0])))) < EXACT_S
    assert confidence_at_ends(passage_map) > 0.7
    assert (passage_map.score_start, passage_map.score_end) == pytest.approx(cut, abs=NOTE_S / 2)
    assert passage_map.rows[0] == 0 and passage_map.rows[-1] == len(score_s) - 1


@pytest.mark.parametrize("parts", [(FIRST, SECOND), (FIRST, THIRD), ((0.0, 16.0), (0.0, 16.0))], ids=["skip", "repeat", "twice"])
def test_a_jump(parts):
    score_s, spans = played(*parts)
    ends = passage(parts[0], spans[0], -np.inf, error=0.4), passage(parts[1], spans[1], joined=True, error=0.4)
    result = align(score_s, ends)
    assert result.renderings == 1 and len(result.maps) == 2
    for passage_map, part, span in zip(result.maps, parts, spans, strict=True):
        assert error_s(passage_map, part, span[0]) < EXACT_S
        assert (passage_map.start, passage_map.end) == pytest.approx(span, abs=3 * FRAME_S)
        assert confidence_at_ends(passage_map) > 0.7
    assert (result.maps[0].score_end, result.maps[1].score_start) == (parts[0][1], parts[1][0])


def test_two_renderings():
    score_s, spans = played(FIRST, 6.0, SECOND)
    result = align(score_s, [passage(FIRST, spans[0], -np.inf), passage(SECOND, spans[2], last=np.inf)])
    assert result.renderings == 2
    for passage_map, part, span in zip(result.maps, (FIRST, SECOND), (spans[0], spans[2]), strict=True):
        assert error_s(passage_map, part, span[0]) < EXACT_S


def test_closed_ends_take_all_of_both():
    score_s, (_, span) = played(3.0, (0.0, 16.0))
    whole = passage((0.0, 16.0), (0.0, span[1]), -np.inf, np.inf)
    (passage_map,) = align(score_s, [whole], open_ends=False).maps
    assert (passage_map.rows[0], passage_map.rows[-1]) == (0, len(score_s) - 1)
    assert passage_map.score_s[0] == pytest.approx(0.0, abs=EXACT_S) and passage_map.score_s[-1] > END_S - EXACT_S


def test_steps_that_do_not_fit_the_corridor_widen_it():
    part = (0.0, END_S)
    score_s, (span,) = played(part)
    wrong = Passage(np.array([0.05, span[1]]), np.array([0.05, 5.0]), -np.inf, np.inf, False)
    (passage_map,) = align(score_s, [wrong], steps=STEPS["constrained"]).maps
    assert (np.diff(passage_map.rows) <= 2).all()


def test_memory_and_costs_grow_with_the_duration(monkeypatch):
    """DTW asks for no more cells than a corridor has, up to the corners of blocks, and no block grows with the duration."""
    asked = []

    def counting(costs, *rest):
        before = costs.result.cells
        path = priced(costs, *rest)
        asked.append(costs.result.cells - before)
        return path

    monkeypatch.setattr("models.alignment.passages.priced", counting)
    results = []
    for seconds in (100.0, 200.0):
        onset = NOTE_S * np.arange(round(seconds / NOTE_S))
        recording_s = FRAME_S * np.arange(round(seconds / FRAME_S))
        whole = Passage(recording_s[::10], recording_s[::10], -np.inf, np.inf, False)
        notes = notes_of(onset, onset + NOTE_S, np.full(len(onset), 60))
        results.append(align(recording_s + 0.3 * np.sin(recording_s), [whole], notes=notes))
    (short, long), rows = results, round(200.0 / FRAME_S)
    cells = rows * 2 * RADIUS_S / FRAME_S
    assert asked[1] < 2.2 * cells and long.cells < 12 * cells < 0.3 * rows**2
    assert 1.8 < long.cells / short.cells < 2.2 and long.largest <= 1.1 * short.largest


# Limits


def deviation(maps, frames):
    """Largest distance (s) of a path from the straight line between the corners."""
    return max(np.abs(part.score_s - FRAME_S * part.rows * END_S / (frames * FRAME_S)).max() for part in maps)


@pytest.mark.parametrize(
    "parts", [((0.0, END_S),), (FIRST, SECOND), ((0.0, 16.0), (8.0, END_S))], ids=["whole", "skip", "repeat"]
)
@pytest.mark.parametrize("open_ends", [True, False])
@pytest.mark.parametrize("steps", [UNIT, STEPS["constrained"]])
def test_max_deviation_is_honoured_or_refused(parts, open_ends, steps):
    score_s, spans = played(*parts)
    passages = [
        passage(part, span, -np.inf if k == 0 else None, np.inf if k + 1 == len(parts) else None, k > 0, error=0.5)
        for k, (part, span) in enumerate(zip(parts, spans, strict=True))
    ]
    outcomes = []
    for limit in (0.3, 0.7, 1.5, 2.5, 3.2, 4.0, 5.0, 30.0):
        try:
            maps = align(score_s, passages, Limits(limit), steps, open_ends=open_ends).maps
        except NoPath:
            outcomes.append("refused")
            continue
        assert deviation(maps, len(score_s)) <= limit + 1e-6, limit
        outcomes.append("honoured")
    assert outcomes[-1] == "honoured"


def test_a_corridor_is_narrowed_to_the_limits():
    row_s = 0.1 * np.arange(200)
    lows, highs = corridor(row_s, row_s, 2.0)
    assert lows[100] == 80 and highs[100] in (120, 121) and (highs > lows).all()
    score_s = np.where(row_s < 10.0, row_s, row_s - 4.0)  # back by 4 s at 10 s
    lows, highs = limited(lows, highs, row_s, score_s, Limits(3.0), 20.0, 16.0)
    line = row_s * 0.8
    for i, (low, high) in enumerate(zip(lows, highs, strict=True)):
        assert (np.abs(score_s[low:high] - line[i]) <= 3.0 + 1e-9).all()


@pytest.mark.parametrize("late", [0.0, 0.6, -0.8])
def test_a_path_meets_its_anchors(late):
    part, note = (0.0, END_S), 25
    score_s, (span,) = played(part)
    time = float(tempo(NOTES.onset[note])) + late
    limits = Limits(anchors=((time, (NOTES.onset[note],)),))
    (passage_map,) = align(score_s, [passage(part, span, -np.inf, np.inf)], limits).maps
    near = np.abs(passage_map.rows * FRAME_S - time) <= FRAME_S
    assert np.abs(passage_map.score_s[near] - NOTES.onset[note]).min() <= 2 * FRAME_S
    if not late:
        assert error_s(passage_map, part, 0.0) < EXACT_S


def test_an_anchor_of_several_places_takes_the_nearest():
    part = (0.0, END_S)
    score_s, (span,) = played(part)
    time = float(tempo(NOTES.onset[25]))
    (passage_map,) = align(score_s, [passage(part, span, -np.inf, np.inf)], Limits(anchors=((time, (2.0, 10.0, 22.0)),))).maps
    assert error_s(passage_map, part, 0.0) < EXACT_S


@pytest.mark.parametrize("anchor", [(10.0, (20.0,)), (900.0, (20.0,)), (26.0, (1.0,))])
def test_an_anchor_that_no_passage_meets_is_refused(anchor):
    part = (0.0, END_S)
    score_s, (span,) = played(part)
    with pytest.raises(NoPath, match=f"no passage of the score meets the anchor at {anchor[0]:g} s"):
        align(score_s, [passage(part, span, -np.inf, np.inf)], Limits(anchors=(anchor,)))


def test_anchors_that_contradict_one_another_are_refused():
    part = (0.0, END_S)
    score_s, (span,) = played(part)
    anchors = ((10.0, (10.4,)), (11.0, (8.4,)))
    with pytest.raises(NoPath, match="the limits contradict one another"):
        align(score_s, [passage(part, span, -np.inf, np.inf)], Limits(anchors=anchors))


def test_anchors_without_a_passage_are_refused():
    with pytest.raises(NoPath, match="meets the anchor at 1 s"):
        check_anchors([], Limits(anchors=((1.0, (2.0,)),)), FRAME_S, 1.0)
