"""One recording and its score, whatever set they come from: what sounds, and which times belong together."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datamodules.splits import Split


class Sound(NamedTuple):
    """Something to be heard: an audio file, or a MIDI file rendered by a SoundFont; then made worse, if wanted."""

    path: Path
    font: str | None = None  # SoundFont file of a rendering, or "embedded"; None: `path` is audio
    worse: str | None = None  # name of a degradation in `datamodules.alignment.degrade`
    seed: int = 0  # of the degradation
    cents: float = 0.0  # detuned by so much, its times untouched
    program: int | None = None  # MIDI alone: General MIDI program instead of the file's
    velocity: int | None = None  # MIDI alone: how loud every note is instead of the file's velocities
    curve: int | None = None  # MIDI alone: played with a made tempo curve of this seed (`datamodules.alignment.curves`)


class Pair(NamedTuple):
    """A performance, the score it is of, and what belongs together in both."""

    name: str  # unique in its set
    piece: str  # recordings of one piece are never split
    split: Split
    performance: Sound
    score: Sound
    truth: Callable[[], np.ndarray]  # () -> (events, 2) float64: s in the score, s in the performance; rising
    midi: Path | None  # MIDI in the performance's own time: by it training knows which frames match; None: not to train on
