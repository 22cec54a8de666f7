"""Soundscape synthesis: isolated sounds and backgrounds -> scenes with strong labels, in the layout of DCASE 2018 task 4.

Onsets and offsets are those of a sound's energy above the background, so that labels do not cover inaudible parts.
"""

import string
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from datamodules.sed.events import table, to_tsv

FRAME_S = 0.01
RANGE_DB = 30.0  # a sound is active above its loudest frame minus this
SILENT_DB = -80.0  # of full scale: level of the loudest frame below which a sound is silent
MASKED_DB = 6.0  # a sound is active above the background level minus this
GAP_S = 0.2  # shorter pauses belong to the event
SHORTEST_S = 0.05
CLASSES_AT_ONCE = (0.04, 0.56, 0.31, 0.09)  # shares of scenes with 0, 1, 2, 3 classes
PEAK = 0.9
FAINT_DB = (-40.0, -20.0)  # gain of a faint background without events

LISTS = {  # subset -> table in metadata/, folder in audio/, kind of labels
    "weak": ("train/weak.csv", "train/weak", "weak"),
    "unlabeled": ("train/unlabel_in_domain.csv", "train/unlabel_in_domain", "none"),
    "validation": ("test/test.csv", "test", "strong"),
    "test": ("eval/eval.csv", "eval", "strong"),
}


class Scene(NamedTuple):
    """Soundscape: samples (samples,) int16 and events (events,) sorted by onset."""

    samples: np.ndarray
    label: np.ndarray  # int64
    onset: np.ndarray  # s
    offset: np.ndarray  # s


class Recipe(NamedTuple):
    """Parameters of the mixtures."""

    rate: int = 16_000
    seconds: float = 10.0
    snr_db: tuple[float, float] = (3.0, 20.0)  # level of an active sound over the background
    events: tuple[int, int] = (1, 3)  # of a class that occurs
    shorter: float = 0.03  # share of scenes that last 30 to 90 % of `seconds`
    empty: float = 0.0  # additional weakly labelled scenes without events, as a share of the others


def level(samples: np.ndarray, rate: int) -> np.ndarray:
    """Level (frames,) in dB of full scale, every 10 ms."""
    size = round(FRAME_S * rate)
    frames = samples[: len(samples) // size * size].reshape(-1, size)
    return 10 * np.log10(np.square(frames, dtype=np.float64).mean(1) + 1e-12)


def active(samples: np.ndarray, rate: int, floor_db: float = -np.inf) -> np.ndarray:
    """Active segments (segments, 2) s of a sound, by its energy above `floor_db`.

    Segments shorter than SHORTEST_S are dropped, unless the sound has no longer ones, such as a click.
    """
    levels = level(samples, rate)
    if not len(levels) or levels.max() < SILENT_DB:
        return np.zeros((0, 2))
    audible = levels > levels.max() - RANGE_DB
    segments = _segments(audible & (levels > floor_db))
    return segments[_lasting(segments)] if _lasting(_segments(audible)).any() else segments


def _segments(on: np.ndarray) -> np.ndarray:
    """Segments (segments, 2) s of active frames, joined over pauses shorter than GAP_S."""
    edges = np.diff(np.concatenate([[0], on, [0]]).astype(np.int8))
    begin, stop = (np.flatnonzero(edges == sign) * FRAME_S for sign in (1, -1))
    apart = begin[1:] - stop[:-1] >= GAP_S
    first, last = np.concatenate([[True], apart]), np.concatenate([apart, [True]])
    return np.stack([begin[first[: len(begin)]], stop[last[: len(stop)]]], axis=1)


def _lasting(segments: np.ndarray) -> np.ndarray:
    return segments[:, 1] - segments[:, 0] >= SHORTEST_S


def compose(
    random: np.random.Generator, sounds: Sequence[Sequence[np.ndarray]], backgrounds: Sequence[np.ndarray], recipe: Recipe
) -> Scene:
    """Mix one scene of isolated sounds by class and backgrounds, all (samples,) float32 at recipe.rate."""
    seconds = recipe.seconds * (random.uniform(0.3, 0.9) if random.random() < recipe.shorter else 1.0)
    scene = _background(random, backgrounds[random.integers(len(backgrounds))], round(seconds * recipe.rate))
    floor = 10 * np.log10(np.square(scene, dtype=np.float64).mean() + 1e-12)
    events: list[tuple[float, float, int]] = []
    count = min(random.choice(4, p=CLASSES_AT_ONCE), len(sounds))
    for label in random.choice(len(sounds), count, replace=False):
        for _ in range(random.integers(recipe.events[0], recipe.events[1] + 1)):
            sound = sounds[label][random.integers(len(sounds[label]))]
            _mix_in(random, scene, sound, int(label), floor, recipe, events)
    scene *= PEAK / max(np.abs(scene).max(), PEAK)
    label, onset, offset = (np.array([event[k] for event in sorted(events)]) for k in (2, 0, 1))
    return Scene(np.round(scene * 32767).astype(np.int16), label.astype(np.int64), onset.astype(float), offset.astype(float))


def compose_empty(random: np.random.Generator, backgrounds: Sequence[np.ndarray], recipe: Recipe) -> Scene:
    """Mix a scene without events: a background, a faint background, dither of the last bit, or digital silence."""
    scene = _background(random, backgrounds[random.integers(len(backgrounds))], round(recipe.seconds * recipe.rate))
    kind = random.integers(4)
    if kind == 1:
        scene *= 10 ** (random.uniform(*FAINT_DB) / 20)
    samples = random.integers(-1, 2, len(scene)) if kind == 2 else np.round(scene * 32767) * (kind < 2)
    none = np.zeros(0)
    return Scene(samples.astype(np.int16), none.astype(np.int64), none, none)


def _background(random: np.random.Generator, background: np.ndarray, length: int) -> np.ndarray:
    """`length` samples of a seamlessly looped background from a random position, attenuated by 0 to 6 dB."""
    over = min(len(background) // 4, length)
    fade = np.sqrt(np.linspace(0, 1, over, dtype=np.float32))
    loop = background[: len(background) - over].copy()
    loop[:over] = loop[:over] * fade + background[len(background) - over :] * fade[::-1]
    position = (np.arange(length) + random.integers(len(loop))) % len(loop)
    return (loop[position] * 10 ** (random.uniform(-6, 0) / 20)).astype(np.float32)


def _mix_in(
    random: np.random.Generator, scene: np.ndarray, sound: np.ndarray, label: int, floor: float, recipe: Recipe, events: list
) -> None:
    """Mix a sound in at a random time without an event of its class; dropped after ten attempts."""
    levels = level(sound, recipe.rate)
    loudness = 10 * np.log10(np.mean(10 ** (levels[levels > levels.max() - RANGE_DB] / 10)))
    sound = sound * np.float32(10 ** ((floor + random.uniform(*recipe.snr_db) - loudness) / 20))
    for _ in range(10):
        start = int(random.integers(max(1, len(scene) - min(len(sound), len(scene) // 2))))
        part = sound[: len(scene) - start]
        segments = active(part, recipe.rate, floor - MASKED_DB) + start / recipe.rate
        clear = all(b + GAP_S <= onset or a - GAP_S >= offset for onset, offset, k in events if k == label for a, b in segments)
        if len(segments) and clear:
            scene[start : start + len(part)] += part * _fade(len(part), len(part) < len(sound), recipe.rate)
            events += [(float(a), float(b), label) for a, b in segments]
            return


def _fade(length: int, cut: bool, rate: int) -> np.ndarray:
    """Envelope of ones with a fade over the last 10 ms of a truncated sound."""
    envelope = np.ones(length, np.float32)
    if cut:
        last = min(length, round(0.01 * rate))
        envelope[length - last :] = np.linspace(1, 0, last, dtype=np.float32)
    return envelope


def name(random: np.random.Generator, seconds: float) -> str:
    """Random file name like those of the data set: Y, eleven characters, start and end in s."""
    letters = np.array(list(string.ascii_letters + string.digits + "-_"))
    start = float(random.integers(0, 300))
    return f"Y{''.join(random.choice(letters, 11))}_{start:.3f}_{start + seconds:.3f}.wav"


def write_scene(path: Path, scene: Scene, rate: int) -> None:
    """Write a scene as mono 16 bit WAV."""
    soundfile.write(path, scene.samples, rate, subtype="PCM_16")


def write_table(root: Path, subset: str, scenes: Mapping[str, Scene], classes: Sequence[str]) -> None:
    """Write the table of one subset: names alone, names with classes, or one row per event."""
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
    """Mix and write `count` scenes of one subset (key of LISTS) and its table; bank: sounds of each class, and backgrounds."""
    folder = root / "audio" / LISTS[subset][1]
    folder.mkdir(parents=True)
    written: dict[str, Scene] = {}
    weak = LISTS[subset][2] == "weak"
    empty = round(count * recipe.empty) if weak else 0
    while len(written) < count + empty:
        scene = compose(random, *bank, recipe) if len(written) < count else compose_empty(random, bank[1], recipe)
        if len(written) < count and weak and not len(scene.label):
            continue  # the real list of weak labels has no clips without a class
        clip = name(random, len(scene.samples) / recipe.rate)
        write_scene(folder / clip, scene, recipe.rate)
        written[clip] = scene._replace(samples=scene.samples[:0])
        progress()
    write_table(root, subset, dict(sorted(written.items())), classes)
