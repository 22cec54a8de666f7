"""Pairs of recordings and scores: records, splits, and events that need no annotation."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from datamodules.alignment.reading import read_score
from datamodules.audio.reading import AUDIO_SUFFIXES
from datamodules.common.splits import SPLITS, Split, assign_splits, draw_splits


class Sound(NamedTuple):
    """Audio source: a sound file, or MIDI rendered with a SoundFont, with optional degradation."""

    path: Path
    font: str | None = None  # SoundFont file of a rendering, or "embedded"; None: `path` is audio
    worse: str | None = None  # name of a degradation in `datamodules.alignment.degrade`
    seed: int = 0  # of the degradation
    cents: float = 0.0  # detuning that preserves times
    program: int | None = None  # MIDI alone: General MIDI program instead of the file's
    velocity: int | None = None  # MIDI alone: velocity of all notes instead of the file's
    curve: int | None = None  # MIDI alone: seed of a random tempo curve (`datamodules.alignment.degrade`)


class Pair(NamedTuple):
    """Performance, score and reference events."""

    name: str  # unique in its set
    piece: str  # unit of the split
    split: Split
    performance: Sound
    score: Sound
    truth: Callable[[], np.ndarray]  # () -> (events, 2) float64: s in the score, s in the performance; rising
    midi: Path | None  # MIDI with the timing of the performance, needed for training; None: not known


SOUNDS = (".wav", *(ending for ending in AUDIO_SUFFIXES if ending != ".wav"))
"""Suffixes of sound files, lossless first."""

MANY = 10  # groups, from which on a tenth is held out
Drawn = Literal["piece", "recording"]


class Listing(NamedTuple):
    """Pairs of a data set, and messages on unusable files."""

    pairs: list[Pair]
    flaws: list[str]


def with_splits(pairs: Sequence[Pair], by: Drawn) -> list[Pair]:
    """Assign splits by hashes of names, per `piece` or per `recording`.

    Validation and test get a tenth each; with fewer than ten pieces the test gets a quarter and validation a sixth.
    """
    groups = [pair.piece if by == "piece" else pair.name for pair in pairs]
    names, sizes = np.unique(groups, return_counts=True)
    if len(names) >= MANY:
        drawn: dict[str, Split] = {group: SPLITS[index] for group, index in zip(groups, draw_splits(groups), strict=True)}
    else:
        drawn = dict(zip(names.tolist(), assign_splits(names.tolist(), sizes.tolist()), strict=True)) if len(names) else {}
    return [pair._replace(split=drawn[group]) for pair, group in zip(pairs, groups, strict=True)]


def own_midi_pair(name: str, piece: str, audio: Sound, midi: Path, score_font: str) -> Pair:
    """Pair of a recording and the MIDI recorded with it, in the training split until drawn."""
    return Pair(name, piece, "train", audio, Sound(midi, score_font), partial(same_times, midi), midi)


def same_times(midi: Path) -> np.ndarray:
    """Events (onsets, 2) of a recording and the MIDI recorded with it, whose times are equal."""
    onsets = np.unique(read_score(midi).notes.onset)
    return np.stack([onsets, onsets], 1)


def by_stem(root: Path, pattern: str, endings: Sequence[str]) -> dict[str, Path]:
    """Files below a folder by stem; of several with the same stem the first in order of `endings`."""
    known: dict[str, Path] = {}
    for ending in endings:
        for path in sorted(root.rglob(f"{pattern}{ending}")):
            if path.is_file() and not path.name.startswith("."):
                known.setdefault(path.stem, path)
    return known


def audio_beside(path: Path) -> Path | None:
    """Sound file of the same stem with any known suffix, or None."""
    return next((path.with_suffix(ending) for ending in SOUNDS if path.with_suffix(ending).is_file()), None)
