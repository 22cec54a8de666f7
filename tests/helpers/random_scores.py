"""Scores of random chords and melodies, whose bars are all different."""

import numpy as np

from datamodules.alignment.score import Score, notes_of

BEAT_S = 0.5


def random_score(bars: int, seed: int = 5) -> Score:
    """Bars of four beats: a triad on a random root on each beat, below a melody in eighths."""
    random = np.random.default_rng(seed)
    rows, pitch = [], 72
    for beat in range(4 * bars):
        root = 48 + int(random.choice((0, 2, 4, 5, 7, 9, 11)))
        rows += [(beat * BEAT_S, (beat + 1) * BEAT_S, root + step) for step in (0, 4, 7)]
        for half in (0.0, 0.5):
            pitch = int(np.clip(pitch + random.choice((-4, -2, -1, 1, 2, 3, 5)), 64, 84))
            rows.append(((beat + half) * BEAT_S, (beat + half + 0.5) * BEAT_S, pitch))
    beats = np.arange(4 * bars) * BEAT_S
    return Score(notes_of(*np.array(rows).T), beats, beats[::4], "chorale.mid")


def changed(score, semitones=0, stretch=1.0):
    """A score transposed and slower by the factor `stretch`."""
    notes = score.notes
    notes = notes._replace(pitch=notes.pitch + semitones, onset=stretch * notes.onset, offset=stretch * notes.offset)
    return score._replace(notes=notes, beats=stretch * score.beats, bars=stretch * score.bars)
