"""Scores in seconds: notes, beats, bars and printed measures."""

from typing import NamedTuple

import numpy as np

MIDI = (".mid", ".midi")
ENGRAVED = (".musicxml", ".xml", ".mxl", ".mei", ".krn")
TUNES = (".abc",)
SCORES = MIDI + ENGRAVED + TUNES


class Notes(NamedTuple):
    """Notes sorted by onset, then pitch; all arrays (notes,)."""

    onset: np.ndarray  # float64, s
    offset: np.ndarray  # float64, s, after the onset
    pitch: np.ndarray  # int16, MIDI number
    velocity: np.ndarray  # int16, 1 to 127
    program: np.ndarray  # int16, General MIDI program; -1: drums


class Origin(NamedTuple):
    """Part, staff, voice and lyric of a note; empty if unknown."""

    part: str = ""  # name of the part or track
    staff: str = ""
    voice: str = ""
    lyric: str = ""  # syllable, ending in a hyphen inside a word


class PlayedMeasure(NamedTuple):
    """One pass of a printed measure."""

    start: float  # s
    measure: str  # printed number; "": none
    playing: int  # number of the pass, from 1


class Score(NamedTuple):
    """Score data in score time (s), at sounding pitch."""

    notes: Notes
    beats: np.ndarray  # (beats,) float64, s: every beat of the metre
    bars: np.ndarray  # (bars,) float64, s: the first beat of each bar
    path: str
    ids: tuple[str, ...] = ()  # of the notes, if known
    origins: tuple[Origin, ...] = ()  # of the notes, if known
    measures: tuple[PlayedMeasure, ...] = ()  # in playing order; engraved scores only


def notes_of(onset, offset, pitch, velocity=None, program=None) -> Notes:
    """Sort columns of notes by onset and pitch; velocity 64 and program 0 by default."""
    onset, offset, pitch = np.asarray(onset, float), np.asarray(offset, float), np.asarray(pitch, np.int16)
    velocity = np.full(len(pitch), 64, np.int16) if velocity is None else np.asarray(velocity, np.int16)
    program = np.zeros(len(pitch), np.int16) if program is None else np.asarray(program, np.int16)
    order = np.lexsort((pitch, onset))
    return Notes(onset[order], offset[order], pitch[order], velocity[order], program[order])
