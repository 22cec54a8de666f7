"""Which voice a note belongs to, where the source has tracks or nothing at all; and what voices are called."""

import re

import numpy as np
from numpy.typing import NDArray

from datamodules.symbolic.piece import DURATION, ONSET, PITCH, VOICE, in_order

CHOIR = ("Soprano", "Alto", "Tenor", "Bass")


def voice_names(voices: int) -> list[str]:
    """What the writers call the voices of a piece; `named_voice` reads it."""
    return list(CHOIR) if voices == len(CHOIR) else [f"Voice {number + 1}" for number in range(voices)]


def named_voice(name: str) -> int | None:
    """The voice that a name by `voice_names` stands for; None for any other name."""
    if name in CHOIR:
        return CHOIR.index(name)
    found = re.fullmatch(r"Voice ([1-9]\d{0,3})", name)
    return int(found[1]) - 1 if found else None


def monophonic(notes: NDArray[np.int32], slack: int = 0) -> bool:
    """Whether no two notes (n, 5) sound at once for more than `slack` ticks."""
    return not part(notes, slack)[:, VOICE].any()


def part(notes: NDArray[np.int32], slack: int = 0) -> NDArray[np.int32]:
    """Notes (n, 5) with voices by pitch: each gets the number of higher notes that sound at its onset, or the next free one.

    So the first voice is the skyline, and no voice sounds two notes at once, but for `slack` ticks (played legato overlaps)
    or half of the earlier note, whichever is less.
    """
    notes = np.array(notes, np.int32).reshape(-1, 5)
    notes = notes[np.lexsort((-notes[:, PITCH], notes[:, ONSET]))]
    sounding: list[tuple[int, int, int]] = []  # until when it counts as sounding, pitch, voice
    voices = []
    for onset, duration, pitch in notes[:, [ONSET, DURATION, PITCH]].tolist():
        sounding = [row for row in sounding if row[0] > onset]
        taken = {row[2] for row in sounding}
        voice = sum(row[1] > pitch for row in sounding)
        while voice in taken:
            voice += 1
        sounding.append((onset + duration - min(slack, duration // 2), pitch, voice))
        voices.append(voice)
    notes[:, VOICE] = voices
    return in_order(notes)


def from_high_to_low(notes: NDArray[np.int32]) -> NDArray[np.int32]:
    """The order in which the voices of notes (n, 5) stand by mean pitch: `order[k]` is the k-th highest one's number."""
    voices = np.unique(notes[:, VOICE])
    means = np.array([notes[notes[:, VOICE] == voice, PITCH].mean() for voice in voices])
    return voices[np.argsort(-means, kind="stable")]
