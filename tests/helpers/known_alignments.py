"""Recordings laid on scores whose every time is known: played through, with a passage left out, with one played twice."""

import numpy as np

from datamodules.alignment.score import Score, notes_of
from tasks.alignment.aligned import Aligned, ScoreSegment

RATE, FRAME_S = 16_000, 0.02
SECONDS = 7.0
ONSETS = 0.5 * np.arange(12)
BARS = np.array([1.0, 2.5, 4.0])
"""Three beats each, after a pickup of two."""


def through(score_s):
    """When the recording that is played through plays a moment of the score."""
    return 0.4 + score_s + 0.15 * np.sin(score_s)


def a_score(**changes):
    notes = notes_of(ONSETS, ONSETS + 0.45, 60 + np.arange(12), 40 + np.arange(12))
    return Score(notes, ONSETS, BARS, "pieces/waltz.mid", tuple(f"n{k}" for k in range(12)))._replace(**changes)


def path_along(*legs):
    """Cells (rows, columns) of a path that follows maps from score to recording: (map, score start, score end)."""
    cells = [(np.rint(leg(columns * FRAME_S) / FRAME_S), columns) for leg, columns in ((m, _columns(a, b)) for m, a, b in legs)]
    return tuple(np.concatenate(axis).astype(int) for axis in zip(*cells, strict=True))


def _columns(start, end):
    return np.arange(round(start / FRAME_S), round(end / FRAME_S))


def aligned(path="songs/waltz.wav", **changes):
    """A recording of silence that plays the score through."""
    score = changes.get("score", a_score())
    notes, count = score.notes, len(score.notes.onset)
    rows, columns = path_along((through, 0.0, 6.0))
    made = Aligned(
        path=path,
        score=score,
        time_map=through,
        notes_s=np.stack([through(notes.onset), through(notes.offset)], 1),
        beats_s=through(score.beats),
        bars_s=through(score.bars),
        note_confidence=np.linspace(0.2, 1.0, count),
        beat_confidence=np.linspace(0.5, 0.9, len(score.beats)),
        bar_confidence=np.full(len(score.bars), 0.75),
        segments=[ScoreSegment(0.0, 6.0, 0.4, through(6.0))],
        rows=rows,
        columns=columns,
        frame_s=FRAME_S,
        distance=np.abs(np.subtract.outer(np.arange(70.0), np.arange(60.0))),
        extent=(SECONDS, 6.0),
        audio=np.zeros(round(SECONDS * RATE), np.float32),
        sample_rate=RATE,
        transposition=0,
        tuning_cents=0.0,
        unfolding="",
        cost=0.125,
        span=(0.4, 6.5),
        remarks=[],
    )
    return made._replace(**changes)


def played_through(score, **changes):
    """As `aligned`, but of another score."""
    ones = {f"{name}_confidence": np.ones(len(events)) for name, events in _events(score).items()}
    times = {f"{name}s_s": through(events) for name, events in _events(score).items()}
    return aligned(score=score, **ones | times | {"notes_s": through(np.stack(score.notes[:2], 1))} | changes)


def _events(score):
    return {"note": score.notes.onset, "beat": score.beats, "bar": score.bars}


def without_second_bar(**changes):
    """As `aligned`, but the recording leaves out what lies from 2.5 s to 4 s in the score."""
    whole = aligned()
    out = {}
    for name, at in (("notes_s", ONSETS), ("beats_s", ONSETS), ("bars_s", BARS)):
        times = getattr(whole, name).copy()
        times[(at >= 2.5) & (at < 4.0)] = np.nan
        out[name] = times
    return aligned(**out | changes)


def first(score_s):
    return 0.4 + score_s


def second(score_s):
    return 4.4 + 1.1 * (score_s - 1.0)


def twice(**changes):
    """The recording plays the score up to 4 s, goes back to 1 s and plays to the end: bars 1 and 2 come twice."""

    def own(at):
        return np.where(at < 4.0, first(at), second(at))

    score = a_score()
    rows, columns = path_along((first, 0.0, 4.0), (second, 1.0, 6.0))
    offsets = np.where(ONSETS < 4.0, first(score.notes.offset), second(score.notes.offset))
    own_times = {
        "time_map": own,
        "notes_s": np.stack([own(ONSETS), offsets], 1),
        "beats_s": own(ONSETS),
        "bars_s": own(BARS),
        "segments": [ScoreSegment(0.0, 4.0, 0.4, 4.4), ScoreSegment(1.0, 6.0, 4.4, 9.9)],
        "rows": rows,
        "columns": columns,
        "audio": np.zeros(11 * RATE, np.float32),
        "span": (0.4, 9.9),
    }
    return aligned(**own_times | changes)
