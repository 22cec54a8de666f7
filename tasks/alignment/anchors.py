"""Anchors of an alignment: texts such as `bar 12 = 34.5` -> times of recording and score."""

import re
from collections.abc import Sequence

from datamodules.alignment.score import Score
from datamodules.common.errors import DataError

ANCHOR = re.compile(r"(bar|note) +(\S+?)(?: +pass +(\d+))? *= *(\d+(?:\.\d+)?)")
EXPECTED = "expected 'bar 12 = 34.5', 'bar 12 pass 2 = 61' or 'note ID = 34.5' (s of the recording)"


def anchor_times(anchors: Sequence[str], score: Score) -> tuple[tuple[float, tuple[float, ...]], ...]:
    """Times of anchors: (recording s, possible s in the score).

    Bars are printed numbers, or counted from 1 in scores without; notes are the score's ids, or numbers from 1 as in notes.csv.

    Raises:
        DataError: a bar or note is not in the score.
    """
    times = []
    for anchor in anchors:
        match = ANCHOR.fullmatch(anchor.strip())
        if not match:
            raise DataError(f"anchor {anchor!r}: {EXPECTED}.")
        kind, name, playing, seconds = match.groups()
        places = bar_times(score, name, playing) if kind == "bar" else note_times(score, name)
        if not places:
            raise DataError(f"anchor {anchor!r}: {score.path} has no such {kind}{' and pass' if playing else ''}.")
        times.append((float(seconds), places))
    return tuple(sorted(times))


def bar_times(score: Score, number: str, playing: str | None = None) -> tuple[float, ...]:
    """Times (s) of the beginnings of a bar, of one pass or of all."""
    if score.measures:
        return tuple(
            float(measure.start)
            for measure in score.measures
            if measure.measure == number and playing in (None, str(measure.playing))
        )
    index = int(number) - 1 if number.isdecimal() else -1
    return (float(score.bars[index]),) if 0 <= index < len(score.bars) and playing in (None, "1") else ()


def note_times(score: Score, name: str) -> tuple[float, ...]:
    """Times (s) of a note's onsets, one per pass."""
    onsets = score.notes.onset
    if any(score.ids):
        return tuple(float(onset) for onset, own in zip(onsets, score.ids, strict=True) if own == name)
    index = int(name) - 1 if name.isdecimal() else -1
    return (float(onsets[index]),) if 0 <= index < len(onsets) else ()
