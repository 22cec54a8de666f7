"""Soundscapes with strong labels, mixed by rule from isolated sounds over a background, in DCASE 2018 task 4's layout on disk.

Where a sound begins and ends is read off its own energy, so that a label never covers what cannot be heard.
"""

import string
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from datamodules.sed.events import table, to_tsv

FRAME_S = 0.01
RANGE_DB = 30.0  # a sound is on where it is less than this under its loudest moment,
SILENT_DB = -80.0  # of full scale: a sound that is never louder is none
MASKED_DB = 6.0  # and less than this under the background it lies in
GAP_S = 0.2  # shorter pauses belong to the event
SHORTEST_S = 0.05
CLASSES_AT_ONCE = (0.04, 0.56, 0.31, 0.09)  # how many scenes have none, one, two, three classes
PEAK = 0.9
FAINT_DB = (-40.0, -20.0)  # level of a faint background without events, relative to an ordinary one

LISTS = {  # subset -> its table in metadata/, its folder in audio/, whether it names events, classes or neither
    "weak": ("train/weak.csv", "train/weak", "weak"),
    "unlabeled": ("train/unlabel_in_domain.csv", "train/unlabel_in_domain", "none"),
    "validation": ("test/test.csv", "test", "strong"),
    "test": ("eval/eval.csv", "eval", "strong"),
}


class Scene(NamedTuple):
    """A soundscape: samples (samples,) int16, and its events (events,) sorted by onset."""

    samples: np.ndarray
    label: np.ndarray  # int64
    onset: np.ndarray  # s
    offset: np.ndarray  # s


class Recipe(NamedTuple):
    """How scenes are mixed."""

    rate: int = 16_000
    seconds: float = 10.0
    snr_db: tuple[float, float] = (3.0, 20.0)  # of a sound where it is on, over the background
    events: tuple[int, int] = (1, 3)  # of a class that occurs
    shorter: float = 0.03  # how many scenes last but 30 to 90 % of `seconds`
    empty: float = 0.0  # further weakly labelled scenes without any event, as a share of the others


def level(samples: np.ndarray, rate: int) -> np.ndarray:
    """Level (frames,) in dB of full scale, every 10 ms."""
    size = round(FRAME_S * rate)
    frames = samples[: len(samples) // size * size].reshape(-1, size)
    return 10 * np.log10(np.square(frames, dtype=np.float64).mean(1) + 1e-12)


def active(samples: np.ndarray, rate: int, floor_db: float = -np.inf) -> np.ndarray:
    """Active segments of a sound by its energy above `floor_db`: (segments, 2) s.

    Segments under SHORTEST_S are left out, but for a sound that has no longer ones, such as a click.
    """
    levels = level(samples, rate)
    if not len(levels) or levels.max() < SILENT_DB:
        return np.zeros((0, 2))
    audible = levels > levels.max() - RANGE_DB
    segments = _segments(audible & (levels > floor_db))
    return segments[_lasting(segments)] if _lasting(_segments(audible)).any() else segments


def _segments(on: np.ndarray) -> np.ndarray:
    """(segments, 2) s of frames that are on, over pauses under GAP_S."""
    edges = np.diff(np.concatenate([[0], on, [0]]).astype(np.int8))
    begin, stop = (np.flatnonzero(edges == sign) * FRAME_S for sign in (1, -1))
    apart = begin[1:] - stop[:-1] >= GAP_S
    first, last = np.concatenate([[True], apart]), np.concatenate([apart, [True]])
    return np.stack([begin[first[: len(begin)]], stop[last[: len(stop)]]], axis=1)


def _lasting(segments: np.ndarray) -> np.ndarray:
    return segments[:, 1] - segments[:, 0] >= SHORTEST_S


def compose(
    random: np.random.Generator, sounds: Sequence[Sequence[np.ndarray]], beds: Sequence[np.ndarray], recipe: Recipe
) -> Scene:
    """One scene.

    sounds: for each class its isolated sounds (samples,) float32 at recipe.rate; beds: backgrounds, repeated if too short.
    """
    seconds = recipe.seconds * (random.uniform(0.3, 0.9) if random.random() < recipe.shorter else 1.0)
    scene = _bed(random, beds[random.integers(len(beds))], round(seconds * recipe.rate))
    floor = 10 * np.log10(np.square(scene, dtype=np.float64).mean() + 1e-12)
    events: list[tuple[float, float, int]] = []
    count = min(random.choice(4, p=CLASSES_AT_ONCE), len(sounds))
    for label in random.choice(len(sounds), count, replace=False):
        for _ in range(random.integers(recipe.events[0], recipe.events[1] + 1)):
            sound = sounds[label][random.integers(len(sounds[label]))]
            _place(random, scene, sound, int(label), floor, recipe, events)
    scene *= PEAK / max(np.abs(scene).max(), PEAK)
    label, onset, offset = (np.array([event[k] for event in sorted(events)]) for k in (2, 0, 1))
    return Scene(np.round(scene * 32767).astype(np.int16), label.astype(np.int64), onset.astype(float), offset.astype(float))


def compose_empty(random: np.random.Generator, beds: Sequence[np.ndarray], recipe: Recipe) -> Scene:
    """A scene without events: a background, a background that is hardly there, dither of the last bit, or digital silence."""
    scene = _bed(random, beds[random.integers(len(beds))], round(recipe.seconds * recipe.rate))
    kind = random.integers(4)
    if kind == 1:
        scene *= 10 ** (random.uniform(*FAINT_DB) / 20)
    samples = random.integers(-1, 2, len(scene)) if kind == 2 else np.round(scene * 32767) * (kind < 2)
    none = np.zeros(0)
    return Scene(samples.astype(np.int16), none.astype(np.int64), none, none)


def _bed(random: np.random.Generator, bed: np.ndarray, length: int) -> np.ndarray:
    """`length` samples from anywhere of a background that goes round without a seam, 0 to 6 dB softer."""
    over = min(len(bed) // 4, length)
    fade = np.sqrt(np.linspace(0, 1, over, dtype=np.float32))
    round_bed = bed[: len(bed) - over].copy()
    round_bed[:over] = round_bed[:over] * fade + bed[len(bed) - over :] * fade[::-1]
    place = (np.arange(length) + random.integers(len(round_bed))) % len(round_bed)
    return (round_bed[place] * 10 ** (random.uniform(-6, 0) / 20)).astype(np.float32)


def _place(
    random: np.random.Generator, scene: np.ndarray, sound: np.ndarray, label: int, floor: float, recipe: Recipe, events: list
) -> None:
    """Mix a sound in where no event of its class is; where none of ten places will do, leave it out."""
    levels = level(sound, recipe.rate)
    loudness = 10 * np.log10(np.mean(10 ** (levels[levels > levels.max() - RANGE_DB] / 10)))
    sound = sound * np.float32(10 ** ((floor + random.uniform(*recipe.snr_db) - loudness) / 20))
    for _ in range(10):
        start = int(random.integers(max(1, len(scene) - min(len(sound), len(scene) // 2))))
        piece = sound[: len(scene) - start]
        heard = active(piece, recipe.rate, floor - MASKED_DB) + start / recipe.rate
        clear = all(b + GAP_S <= onset or a - GAP_S >= offset for onset, offset, k in events if k == label for a, b in heard)
        if len(heard) and clear:
            scene[start : start + len(piece)] += piece * _fade(len(piece), len(piece) < len(sound), recipe.rate)
            events += [(float(a), float(b), label) for a, b in heard]
            return


def _fade(length: int, cut: bool, rate: int) -> np.ndarray:
    """Ones, falling over the last 10 ms of a sound that was cut off."""
    envelope = np.ones(length, np.float32)
    if cut:
        last = min(length, round(0.01 * rate))
        envelope[length - last :] = np.linspace(1, 0, last, dtype=np.float32)
    return envelope


def name(random: np.random.Generator, seconds: float) -> str:
    """A file name as the data set has them: Y, eleven characters, and where in some recording the clip lay."""
    letters = np.array(list(string.ascii_letters + string.digits + "-_"))
    start = float(random.integers(0, 300))
    return f"Y{''.join(random.choice(letters, 11))}_{start:.3f}_{start + seconds:.3f}.wav"


def write_scene(path: Path, scene: Scene, rate: int) -> None:
    """Its sound as mono WAV, 16 bit."""
    soundfile.write(path, scene.samples, rate, subtype="PCM_16")


def write_table(root: Path, subset: str, scenes: Mapping[str, Scene], classes: Sequence[str]) -> None:
    """metadata/ of one subset: names alone, names with classes, or one row an event."""
    name, _, kind = LISTS[subset]
    path = root / "metadata" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_text(kind, scenes, classes), encoding="utf-8")


def _text(kind: str, scenes: Mapping[str, Scene], classes: Sequence[str]) -> str:
    if kind == "none":
        return "filename\n" + "".join(f"{clip}\n" for clip in scenes)
    if kind == "weak":
        named = {clip: ",".join(classes[k] for k in np.unique(scene.label)) for clip, scene in scenes.items()}
        return "filename\tevent_labels\n" + "".join(f"{clip}\t{labels}\n" for clip, labels in named.items())
    parts = list(scenes.values())
    clip = np.repeat(np.arange(len(parts)), [len(scene.label) for scene in parts])
    label, onset, offset = (np.concatenate([getattr(scene, key) for scene in parts]) for key in ("label", "onset", "offset"))
    onset, offset = ([round(seconds, 3) for seconds in times.tolist()] for times in (onset, offset))
    return to_tsv(list(scenes), classes, table(clip, label, onset, offset))


def write_list(
    root: Path,
    subset: str,
    count: int,
    random: np.random.Generator,
    bank: tuple[Sequence[Sequence[np.ndarray]], Sequence[np.ndarray]],
    classes: Sequence[str],
    recipe: Recipe,
    progress: Callable[[], object] = lambda: None,
) -> None:
    """Compose, name and write `count` scenes of one subset and its table. bank: sounds of each class, and backgrounds."""
    folder = root / "audio" / LISTS[subset][1]
    folder.mkdir(parents=True)
    written: dict[str, Scene] = {}
    weak = LISTS[subset][2] == "weak"
    empty = round(count * recipe.empty) if weak else 0
    while len(written) < count + empty:
        scene = compose(random, *bank, recipe) if len(written) < count else compose_empty(random, bank[1], recipe)
        if len(written) < count and weak and not len(scene.label):
            continue  # the real list of weak labels has no clip without a class
        clip = name(random, len(scene.samples) / recipe.rate)
        write_scene(folder / clip, scene, recipe.rate)
        written[clip] = scene._replace(samples=scene.samples[:0])
        progress()
    write_table(root, subset, dict(sorted(written.items())), classes)
