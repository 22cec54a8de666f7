"""Helpers of all readers: chord symbols <-> (root, quality), limits of lengths, ticks -> seconds, order of repeats."""

import re
from collections.abc import Iterable, Sequence
from math import lcm
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datamodules.common.errors import DataError, counted, printable
from datamodules.generation.piece import QUALITIES, STEPS
from datamodules.generation.reading.repeats import Signs, play_order, played_once

ROOTS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "G#", "A", "Bb", "B")
SUFFIXES = ("", "m", "dim", "aug", "7", "maj7", "m7", "sus")
"""Suffixes of written symbols, in the order of QUALITIES."""
LONGEST_SYMBOL = 40
"""Characters of a symbol; `_TAIL` tries every way to part longer ones into its words."""
_SYMBOL = re.compile(r"\(?([A-Ga-g])(##|#|bb|b|♯|♭)?([^/]*)(?:/.*)?")
# Text that may follow the root; other text is a word, such as Fine.
_TAIL = re.compile(r"(maj|ma|min|mi|m|dim|aug|sus|add|dom|alt|no|o|°|ø|Δ|[\^+\-#b()*,\d ])*")
# Patterns in order of priority for the suffix in lower case; M is spelled out as maj.
_SUFFIX = (
    (r"(m|min|-)(\(?maj|\^|Δ)", "minor"),
    (r"(maj|ma|j|\^|Δ)(7|9|11|13)|(\^|Δ)", "major seventh"),
    (r"dim|o|°|ø|(m|min|-)(7|9)?\(?(b5|-5)", "diminished"),
    (r"(maj|ma)?(6|add|2$|69)|(maj|ma)?$|\(", "major"),
    (r"(m|min|mi|-)(7|9|11|13)", "minor seventh"),
    (r"(m|min|mi|-)(6|add|2$|b6|\(|\*|$)", "minor"),
    (r"(aug|\+)", "augmented"),
    (r"(7|9|11|13)(#5|\+|aug)", "augmented"),
    (r"(dom)?(7|9|11|13)(?!.*sus)", "dominant"),
)


def read_symbol(text: str) -> tuple[int, int] | None:
    """Root (pitch class) and quality (index into QUALITIES) of a chord symbol; None for other text.

    A bass note behind a slash is left out; an extension counts as the seventh chord below it, a half-diminished chord as
    diminished, a sixth as the triad.
    """
    match = _SYMBOL.fullmatch(text.strip().rstrip(")")) if len(text) <= LONGEST_SYMBOL else None
    if not match:
        return None
    accidental = (match[2] or "").replace("♯", "#").replace("♭", "b")
    root = (STEPS[match[1].upper()] + accidental.count("#") - accidental.count("b")) % 12
    quality = _quality(match[3].strip())
    return None if quality is None else (root, QUALITIES.index(quality))


def write_symbol(root: int, quality: int) -> str:
    """A symbol that `read_symbol` reads as this root and quality."""
    return ROOTS[root] + SUFFIXES[quality]


def _quality(suffix: str) -> str | None:
    plain = re.sub(r"M(?!in)", "maj", re.sub(r"M(?=aj|a\d|a$)", "m", suffix)).lower()
    if not _TAIL.fullmatch(plain):
        return None
    return next((quality for pattern, quality in _SUFFIX if re.match(pattern, plain)), "other")


LONGEST = 24 * 3600  # s: a file that ends later is damaged
MOST_QUARTERS = 500_000  # likewise
FEWEST_TICKS = 12  # of a quarter note: sixteenths and their triplets
MOST_TICKS = 2**15 - 1  # of a quarter note, which MIDI can write
MANY_TICKS = (
    10_080  # hold 128ths, and 3, 5, 7 and 9 notes in the time of others, for files whose own fractions need more than MOST_TICKS
)


def ticks_for(parts: Iterable[int]) -> int:
    """Ticks per quarter note that represent every fraction 1 / part of it exactly."""
    ticks = lcm(FEWEST_TICKS, *parts)
    return ticks if ticks <= MOST_TICKS else MANY_TICKS


def seconds(tempi: NDArray[np.int32], ticks: int, at: ArrayLike) -> NDArray[np.float64]:
    """Times in s of the ticks `at`. tempi: as of a piece, from tick 0 on; ticks: of a quarter note."""
    at, begins, lasts = np.asarray(at, float), tempi[:, 0].astype(float), tempi[:, 1] / (1e6 * ticks)
    passed = np.concatenate([[0.0], np.cumsum(np.diff(begins) * lasts[:-1])])
    tempo = np.searchsorted(begins, at, side="right") - 1
    return passed[tempo] + (at - begins[tempo]) * lasts[tempo]


def check_length(tempi: NDArray[np.int32], ticks: int, end: int, path: Path) -> None:
    """Raises DataError if the last note ends after more than a day, or after more than half a million quarter notes."""
    last = float(seconds(tempi, ticks, end))
    if last > LONGEST or end > min(MOST_QUARTERS * ticks, 2**31 - 1):
        when = f"{last / 3600:.0f} hours and {end / ticks:.0f} quarter notes"
        raise DataError(f"{printable(str(path))} is damaged: its last note ends after {when}, more than a day's music.")


def is_metre(beats: int, beat_type: int, ticks: int) -> bool:
    """Return whether a time signature is valid, with bars of at least one tick."""
    return 0 < beats < 256 and beat_type in (1, 2, 4, 8, 16, 32, 64) and 4 * ticks * beats >= beat_type


Repeats = Literal["written", "once", "played"]
"""written: every measure once; once: of several endings the last alone; played: repeats, endings and jumps followed."""
MOST_NOTES = 1_000_000
"""Notes of a piece: repeats that ask for more are damaged."""


def order_of(signs: Sequence[Signs], repeats: Repeats) -> list[int]:
    """Indices of measures in the order in which they are read. Raises ValueError for signs without an end."""
    if repeats == "written":
        return list(range(len(signs)))
    return play_order(signs) if repeats == "played" else played_once(signs)


def order_remarks(written: int, order: Sequence[int], unit: str) -> list[str]:
    """Sentences on repeated or skipped measures, compared to the `written` number."""
    if len(order) > written:
        return [f"its repeats are played: {counted(written, unit)} written, {len(order)} read"]
    return [left_out(f"{unit} of an earlier ending", written - len(set(order)))] if len(set(order)) < written else []


def changes(events: Sequence[tuple]) -> list[tuple]:
    """Events (time, ...), each in force until the next, without those that change nothing."""
    return [event for index, event in enumerate(events) if not index or event[1:] != events[index - 1][1:]]


def left_out(thing: str, number: int) -> str:
    """A sentence such as `2 grace notes are left out`."""
    return f"{counted(number, thing)} {'is' if number == 1 else 'are'} left out"
