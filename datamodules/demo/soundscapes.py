"""The embedded sound event set: soundscapes of ten classes over noise, in DCASE 2018 task 4's layout on disk.

A root holds metadata/ and audio/ with weakly labelled and unlabelled clips to train on, and strongly labelled ones: `test`
to validate on, `eval` to test on, as the task names them. Clips are mono, 16 kHz, mostly of 10 s. No variant of a sound or of
a background is in two of training, validation and test.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from datamodules import render, scenes
from datamodules.demo import sounds
from datamodules.demo.cache import build_once
from datamodules.scenes import Recipe

CLIPS = {"weak": 192, "unlabeled": 448, "validation": 96, "test": 160}
VARIANTS = {"train": 16, "validation": 4, "test": 8}  # sounds of each class, and backgrounds
SOURCES = tuple(Path(path) for path in (render.__file__, sounds.__file__, __file__))
RECIPE = Recipe(snr_db=(-3.0, 15.0), empty=1 / 12)


def build(
    cache_dir: str | Path | None = None,
    clips: Mapping[str, int] = CLIPS,
    variants: Mapping[str, int] = VARIANTS,
    processes: int | None = None,
    seed: int = 0,
) -> Path:
    """The root of the embedded set, rendered on the first call.

    clips: how many of each subset; variants: how many of each class of sound, and of backgrounds, for each split.

    Raises DataError where no renderer or SoundFont is installed.
    """

    def make(root: Path) -> None:
        banks = _banks(root, variants, processes, seed)
        for k, (subset, count) in enumerate(clips.items()):
            random = np.random.default_rng([seed, k, count])
            bank = banks[subset if subset in banks else "train"]
            scenes.write_list(root, subset, count, random, bank, sorted(sounds.CLASSES), RECIPE)

    settings = dict(clips), dict(variants), RECIPE, seed
    return build_once("soundscapes", make, (*SOURCES, Path(scenes.__file__)), settings, cache_dir)


def _banks(root: Path, variants: Mapping[str, int], processes: int | None, seed: int) -> dict[str, tuple[list, list]]:
    """For each split the sounds of each class, and backgrounds; rendered in parallel into files that are then removed."""
    work = root / "sounds"
    work.mkdir()
    names = [*sorted(sounds.CLASSES), ""]
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
    sound = sounds.sound(name, variant, RECIPE.rate, seed) if name else sounds.bed(variant, RECIPE.rate, seed)
    np.save(_file(work, name, variant), sound)
