"""Embedded sound event set: soundscapes of ten classes over noise, in the layout of DCASE 2018 task 4.

A root has metadata/ and audio/ with weakly labelled and unlabelled training clips, and strongly labelled clips for
validation (`test`) and test (`eval`); mono, 16 kHz, mostly 10 s. Splits share no variant of a sound or background.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from datamodules.audio import midi_file, render
from datamodules.audio.midi_file import DRUMS
from datamodules.audio.render import RenderedNote
from datamodules.demo.cache import build_once
from datamodules.sed import scenes
from datamodules.sed.scenes import Recipe

# Isolated sounds of ten classes from the SoundFont's effects and percussion, and backgrounds

SECONDS = 6.0  # longest sound
CRASHES, SHAKEN, WHISTLES = (49, 57, 55, 52), (54, 70, 69, 83), (71, 72)

Score = tuple[list[RenderedNote], dict[int, int]]


def _held(program: int, pitches: tuple[int, int], seconds: tuple[float, float]) -> Callable[[np.random.Generator], Score]:
    """One long note."""

    def score(random: np.random.Generator) -> Score:
        pitch, length = int(random.integers(*pitches)), random.uniform(*seconds)
        return [RenderedNote(0.0, length, 0, pitch, int(random.integers(80, 120)))], {0: program}

    return score


def _struck(
    program: int, pitches: tuple[int, int], hold: float, times: tuple[int, int], every: tuple[float, float]
) -> Callable[[np.random.Generator], Score]:
    """One pitch, struck several times at nearly regular intervals."""

    def score(random: np.random.Generator) -> Score:
        pitch, count, step = int(random.integers(*pitches)), int(random.integers(*times)), random.uniform(*every)
        starts = [k * step * random.uniform(0.95, 1.05) for k in range(count)]
        return [RenderedNote(s, s + hold, 0, pitch, int(random.integers(80, 120))) for s in starts], {0: program}

    return score


def _drum(pitches: tuple[int, ...], times: tuple[int, int], every: tuple[float, float]) -> Callable[[np.random.Generator], Score]:
    """One instrument of a drum kit, struck or shaken several times."""

    def score(random: np.random.Generator) -> Score:
        pitch, count, step = int(random.choice(pitches)), int(random.integers(*times)), random.uniform(*every)
        kit = int(random.choice(sorted(render.KITS.values())))
        return [
            RenderedNote(k * step, k * step + 0.5 * step, DRUMS, pitch, int(random.integers(70, 120))) for k in range(count)
        ], {DRUMS: kit}

    return score


# Program 123 has birds at low pitches only; program 124 rings for less than a second.
CLASSES: dict[str, Callable[[np.random.Generator], Score]] = {
    "Applause": _held(126, (40, 85), (1.5, 5.0)),
    "Bell": _struck(14, (48, 80), 1.0, (1, 3), (0.8, 1.6)),
    "Bird": _struck(123, (34, 50), 0.9, (1, 4), (0.5, 1.0)),
    "Crash": _drum(CRASHES, (1, 2), (1.0, 1.0)),
    "Gunshot": _struck(127, (40, 76), 0.3, (1, 4), (0.25, 0.6)),
    "Helicopter": _held(125, (36, 85), (2.0, 5.5)),
    "Knocking": _struck(115, (40, 80), 0.1, (2, 6), (0.12, 0.19)),
    "Rattle": _drum(SHAKEN, (4, 16), (0.1, 0.18)),
    "Telephone": _struck(124, (44, 66), 0.6, (1, 5), (0.5, 0.75)),
    "Whistle": _drum(WHISTLES, (1, 4), (0.5, 0.7)),
}


def sound_effect(name: str, variant: int, rate: int, seed: int = 0) -> np.ndarray:
    """Variant of a class: (samples,) float32 at `rate` Hz, without trailing silence."""
    random = np.random.default_rng([seed, sorted(CLASSES).index(name), variant])
    notes, programs = CLASSES[name](random)
    audio = render.render_mono(render.midi_file(notes, programs, SECONDS), rate, SECONDS)
    loud = np.flatnonzero(np.abs(audio) > 1e-4 * np.abs(audio).max())
    return audio[: loud[-1] + 1] if len(loud) else audio


def bed(variant: int, rate: int, seed: int = 0) -> np.ndarray:
    """Background of 12 s at -32 dB re full scale: surf (every third variant) or coloured noise."""
    random = np.random.default_rng([seed, len(CLASSES), variant])
    samples = round(12.0 * rate)
    if variant % 3 == 0:
        pitch = int(random.integers(40, 76))
        notes = [RenderedNote(2.0 * k, 2.0 * k + 2.5, 0, pitch, 100) for k in range(6)]
        audio = render.render_mono(render.midi_file(notes, {0: 122}, 12.0), rate, 12.0)
    else:
        spectrum = np.fft.rfft(random.standard_normal(samples))
        audio = np.fft.irfft(spectrum * np.maximum(np.arange(len(spectrum)), 30.0) ** -random.uniform(0.2, 1.2), samples)
    return (audio * (10 ** (-32 / 20) / np.sqrt(np.mean(np.square(audio))))).astype(np.float32)


CLIPS = {"weak": 192, "unlabeled": 448, "validation": 96, "test": 160}
VARIANTS = {"train": 16, "validation": 4, "test": 8}  # sounds of each class, and backgrounds
SOURCES = tuple(Path(path) for path in (midi_file.__file__, render.__file__, __file__))
RECIPE = Recipe(snr_db=(-3.0, 15.0), empty=1 / 12)


def build(
    cache_dir: str | Path | None = None,
    clips: Mapping[str, int] = CLIPS,
    variants: Mapping[str, int] = VARIANTS,
    processes: int | None = None,
    seed: int = 0,
) -> Path:
    """Root of the embedded set, rendered on the first call. Raises DataError without renderer or SoundFont.

    clips: number per subset; variants: number of sounds of each class, and of backgrounds, per split
    """

    def make(root: Path) -> None:
        banks = _banks(root, variants, processes, seed)
        for k, (subset, count) in enumerate(clips.items()):
            random = np.random.default_rng([seed, k, count])
            bank = banks[subset if subset in banks else "train"]
            scenes.write_list(root, subset, count, random, bank, sorted(CLASSES), RECIPE)

    settings = dict(clips), dict(variants), RECIPE, seed
    return build_once("soundscapes", make, (*SOURCES, Path(scenes.__file__)), settings, cache_dir)


def _banks(root: Path, variants: Mapping[str, int], processes: int | None, seed: int) -> dict[str, tuple[list, list]]:
    """Sounds by class, and backgrounds, of each split; rendered in parallel via temporary files."""
    work = root / "sounds"
    work.mkdir()
    names = [*sorted(CLASSES), ""]
    calls = [(name, variant, work, seed) for name in names for variant in range(sum(variants.values()))]
    render.parallel(_render, calls, processes, f"rendering {len(calls)} sounds for the demo, once")
    banks, first = {}, 0
    for split, count in variants.items():
        *classes, beds = ([np.load(_file(work, name, v)) for v in range(first, first + count)] for name in names)
        banks[split] = (classes, beds)
        first += count
    for path in work.iterdir():
        path.unlink()
    work.rmdir()
    return banks


def _file(work: Path, name: str, variant: int) -> Path:
    return work / f"{name or 'background'}-{variant}.npy"


def _render(name: str, variant: int, work: Path, seed: int) -> None:
    sound = sound_effect(name, variant, RECIPE.rate, seed) if name else bed(variant, RECIPE.rate, seed)
    np.save(_file(work, name, variant), sound)
