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
    """Something to be heard: an audio file, or a MIDI file rendered by a SoundFont; then made worse, if wanted."""

    path: Path
    font: str | None = None  # SoundFont file of a rendering, or "embedded"; None: `path` is audio
    worse: str | None = None  # name of a degradation in `datamodules.alignment.degrade`
    seed: int = 0  # of the degradation
    cents: float = 0.0  # detuned by so much, its times untouched
    program: int | None = None  # MIDI alone: General MIDI program instead of the file's
    velocity: int | None = None  # MIDI alone: how loud every note is instead of the file's velocities
    curve: int | None = None  # MIDI alone: played with a made tempo curve of this seed (`datamodules.alignment.degrade`)


class Pair(NamedTuple):
    """A performance, the score it is of, and what belongs together in both."""

    name: str  # unique in its set
    piece: str  # recordings of one piece are never split
    split: Split
    performance: Sound
    score: Sound
    truth: Callable[[], np.ndarray]  # () -> (events, 2) float64: s in the score, s in the performance; rising
    midi: Path | None  # MIDI in the performance's own time: by it training knows which frames match; None: not to train on


SOUNDS = (".wav", *(ending for ending in AUDIO_SUFFIXES if ending != ".wav"))
"""Endings of sound files, the one that loses nothing first."""

MANY = 10  # of so many groups a tenth can be held out
Drawn = Literal["piece", "recording"]


class Listing(NamedTuple):
    """What a folder holds, and sentences on what it lacks."""

    pairs: list[Pair]
    flaws: list[str]


def with_splits(pairs: Sequence[Pair], by: Drawn) -> list[Pair]:
    """The pairs with splits drawn by their names: all recordings of a `piece` together, or each `recording` for itself.

    A tenth validates and a tenth tests; of fewer than ten pieces a quarter tests and a sixth validates.
    """
    groups = [pair.piece if by == "piece" else pair.name for pair in pairs]
    names, sizes = np.unique(groups, return_counts=True)
    if len(names) >= MANY:
        drawn: dict[str, Split] = {group: SPLITS[place] for group, place in zip(groups, draw_splits(groups), strict=True)}
    else:
        drawn = dict(zip(names.tolist(), assign_splits(names.tolist(), sizes.tolist()), strict=True)) if len(names) else {}
    return [pair._replace(split=drawn[group]) for pair, group in zip(pairs, groups, strict=True)]


def own_midi_pair(name: str, piece: str, audio: Sound, midi: Path, score_font: str) -> Pair:
    """A recording whose only score is the MIDI that was recorded with it; of the training split until drawn."""
    return Pair(name, piece, "train", audio, Sound(midi, score_font), partial(same_times, midi), midi)


def same_times(midi: Path) -> np.ndarray:
    """Events of a recording and of the MIDI that was recorded with it: its onsets, twice."""
    onsets = np.unique(read_score(midi).notes.onset)
    return np.stack([onsets, onsets], 1)


def by_stem(root: Path, pattern: str, endings: Sequence[str]) -> dict[str, Path]:
    """Files below a folder by their names without the ending; of one name with several the first that `endings` lists."""
    known: dict[str, Path] = {}
    for ending in endings:
        for path in sorted(root.rglob(f"{pattern}{ending}")):
            if path.is_file() and not path.name.startswith("."):
                known.setdefault(path.stem, path)
    return known


def audio_beside(path: Path) -> Path | None:
    """The sound file of that name, whatever its ending, if there is one."""
    return next((path.with_suffix(ending) for ending in SOUNDS if path.with_suffix(ending).is_file()), None)
