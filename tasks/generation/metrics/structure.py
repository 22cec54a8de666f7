"""Structure and density: pieces -> self-similarity of beats, repeated bars, density measures and unusual pieces."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from datamodules.generation.piece import DURATION, ONSET, PITCH, Piece
from tasks.generation.metrics.arrays import chords, roll_array
from tasks.metrics.bootstrap import Interval, mean

LAGS = 32  # beats


def self_similarity(piece: Piece, steps: int = 4) -> NDArray[np.float64]:
    """Similarity in [0, 1] between all beats (beats, beats): intersection over union of sounding pitches.

    Pitches are weighted by their duration in a beat. Two silent beats are equal. A pickup is padded to whole beats.
    """
    beat = max(1, 4 * steps // piece.beat_type)
    roll = roll_array(piece, steps)
    ahead = -piece.at(steps).pickup % beat
    roll = np.pad(roll, ((ahead, -(len(roll) + ahead) % beat), (0, 0))).astype(np.float64)
    held = roll.reshape(-1, beat, 128).sum(1)
    held = held[:, held.any(0)]
    total = held.sum(1)
    # The sum of minimum and maximum is the sum of both values: maxima need no third dimension.
    both = np.zeros((len(held), len(held)))
    for pitch in held.T:
        both += np.minimum(pitch[:, None], pitch)
    either = total[:, None] + total - both
    return np.where(either > 0, both / np.maximum(either, 1e-9), 1.0)


def lag_profile(piece: Piece, lags: int = LAGS, steps: int = 4) -> NDArray[np.float64]:
    """Mean similarity of beats at lags 1 to `lags` (lags,); NaN beyond the piece's length."""
    similarity = self_similarity(piece, steps)
    return np.array([np.diagonal(similarity, lag).mean() if lag < len(similarity) else np.nan for lag in range(1, lags + 1)])


def profile(pieces: Sequence[Piece], lags: int = LAGS, steps: int = 4) -> list[Interval]:
    """Lag profile of a set, one estimate per lag."""
    rows = np.array([lag_profile(piece, lags, steps) for piece in pieces]).reshape(-1, lags)
    return [mean(column) for column in rows.T]


def repeated_bars(piece: Piece, steps: int = 4) -> float:
    """Share of bars after the first with the same notes as an earlier bar; NaN for a single bar.

    A note belongs to the bar of its onset; bars without notes are not counted.
    """
    piece = piece.at(steps)
    onset = piece.notes[:, ONSET] - piece.pickup
    bar = onset // max(piece.bar, 1)
    notes = np.stack([onset - bar * piece.bar, piece.notes[:, DURATION], piece.notes[:, PITCH]], 1)
    order = np.lexsort((*notes.T, bar))
    bars, starts = np.unique(bar[order], return_index=True)
    known = {part.tobytes() for part in np.split(notes[order], starts[1:])} if len(bars) else set()
    return 1 - (len(known) - 1) / (len(bars) - 1) if len(bars) > 1 else float("nan")


def repetition(pieces: Sequence[Piece], steps: int = 4) -> Interval:
    """Mean share of repeated bars of a set."""
    return mean([repeated_bars(piece, steps) for piece in pieces])


# Density

MEASURES = {
    "empty_rate": "share of silent frames",
    "longest_silence": "quarters",
    "longest_chord": "longest unchanged set of pitches, quarters",
    "notes_per_bar": "notes",
    "pitch_entropy": "entropy of pitches, bits",
    "repeated_notes": "share of notes with the previous pitch of their voice",
}
_BOTH = ("notes_per_bar", "pitch_entropy")
"""Measures that are unusual if they are small, too."""


def density(pieces: Sequence[Piece], steps: int = 4, resamples: int = 1000) -> dict[str, Interval]:
    """Means of `MEASURES` over pieces, with 95 % bootstrap intervals."""
    return {name: mean(values, resamples) for name, values in measured(pieces, steps).items()}


def measured(pieces: Sequence[Piece], steps: int = 4) -> dict[str, NDArray[np.float64]]:
    """All `MEASURES` (pieces,); an empty piece is all silence."""
    rows = [_measured(piece, steps) for piece in pieces]
    return {name: np.array([row[name] for row in rows], np.float64) for name in MEASURES}


def out_of_bounds(
    generated: dict[str, NDArray[np.float64]], human: dict[str, NDArray[np.float64]]
) -> dict[str, NDArray[np.bool_]]:
    """Boolean mask (pieces,) of generated pieces outside the range of the corpus, per measure; arguments from `measured`."""
    masks = {}
    for name, values in generated.items():
        corpus = human[name]
        above = values > corpus.max(initial=-np.inf) if len(corpus) else np.zeros(len(values), bool)
        below = values < corpus.min(initial=np.inf) if len(corpus) and name in _BOTH else np.zeros(len(values), bool)
        masks[name] = above | below
    return masks


def warnings(pieces: Sequence[Piece], training: Sequence[Piece], steps: int = 4) -> list[str]:
    """Messages about pieces outside the range of the training pieces."""
    generated, human = measured(pieces, steps), measured(training, steps)
    masks, messages = out_of_bounds(generated, human), []
    for number, piece in enumerate(pieces):
        unusual = [
            f"{name} {generated[name][number]:.2f} ({_bounds(name, human[name])})" for name in MEASURES if masks[name][number]
        ]
        if unusual:
            messages.append(f"{piece.name or number + 1} is outside the range of the training pieces: {', '.join(unusual)}")
    return messages


def _measured(piece: Piece, steps: int) -> dict[str, float]:
    piece, roll = piece.at(steps), roll_array(piece, steps)
    rows, starts = chords(roll)
    lasting = np.diff(np.append(starts, len(roll))) / steps
    silent = ~rows.any(1)
    pitches = piece.notes[:, PITCH]
    counts = np.unique(pitches, return_counts=True)[1] / max(len(pitches), 1)
    again = sum(int((np.diff(piece.voice(voice)[:, PITCH]) == 0).sum()) for voice in range(piece.voices))
    return {
        "empty_rate": float((~roll.any(1)).mean()) if len(roll) else 1.0,
        "longest_silence": lasting[silent].max(initial=0),
        "longest_chord": lasting[~silent].max(initial=0),
        "notes_per_bar": len(pitches) * piece.bar / max(len(roll), 1),
        "pitch_entropy": -float((counts * np.log2(counts)).sum()) + 0.0,
        "repeated_notes": again / max(len(pitches) - piece.voices, 1),
    }


def _bounds(name: str, human: NDArray[np.float64]) -> str:
    return f"{human.min():.2f} to {human.max():.2f}" if name in _BOTH else f"at most {human.max():.2f}"
