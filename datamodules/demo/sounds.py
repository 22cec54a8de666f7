"""Isolated sounds from the SoundFont's effects and percussion, ten classes of them, and backgrounds."""

from collections.abc import Callable

import numpy as np

from datamodules import render
from datamodules.render import DRUMS, Note

SECONDS = 6.0  # at most, of one sound
CRASHES, SHAKEN, WHISTLES = (49, 57, 55, 52), (54, 70, 69, 83), (71, 72)

Score = tuple[list[Note], dict[int, int]]


def _held(program: int, pitches: tuple[int, int], seconds: tuple[float, float]) -> Callable[[np.random.Generator], Score]:
    """One long note."""

    def score(random: np.random.Generator) -> Score:
        pitch, length = int(random.integers(*pitches)), random.uniform(*seconds)
        return [Note(0.0, length, 0, pitch, int(random.integers(80, 120)))], {0: program}

    return score


def _struck(
    program: int, pitches: tuple[int, int], hold: float, times: tuple[int, int], every: tuple[float, float]
) -> Callable[[np.random.Generator], Score]:
    """One pitch, struck several times at about equal distances."""

    def score(random: np.random.Generator) -> Score:
        pitch, count, step = int(random.integers(*pitches)), int(random.integers(*times)), random.uniform(*every)
        starts = [k * step * random.uniform(0.95, 1.05) for k in range(count)]
        return [Note(s, s + hold, 0, pitch, int(random.integers(80, 120))) for s in starts], {0: program}

    return score


def _drum(pitches: tuple[int, ...], times: tuple[int, int], every: tuple[float, float]) -> Callable[[np.random.Generator], Score]:
    """One instrument of a drum kit, struck or shaken several times."""

    def score(random: np.random.Generator) -> Score:
        pitch, count, step = int(random.choice(pitches)), int(random.integers(*times)), random.uniform(*every)
        kit = int(random.choice(sorted(render.KITS.values())))
        return [Note(k * step, k * step + 0.5 * step, DRUMS, pitch, int(random.integers(70, 120))) for k in range(count)], {
            DRUMS: kit
        }

    return score


# The bird sings at low notes alone, the telephone for less than a second however long it is held.
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


def sound(name: str, variant: int, rate: int, seed: int = 0) -> np.ndarray:
    """One variant of a class: (samples,) float32 at `rate` Hz, as the renderer leaves it, without its silent end."""
    random = np.random.default_rng([seed, sorted(CLASSES).index(name), variant])
    notes, programs = CLASSES[name](random)
    audio = render.render_mono(render.midi_file(notes, programs, SECONDS), rate, SECONDS)
    loud = np.flatnonzero(np.abs(audio) > 1e-4 * np.abs(audio).max())
    return audio[: loud[-1] + 1] if len(loud) else audio


def bed(variant: int, rate: int, seed: int = 0) -> np.ndarray:
    """A background of 12 s at -32 dB of full scale: surf for every third variant, noise of some colour for the others."""
    random = np.random.default_rng([seed, len(CLASSES), variant])
    samples = round(12.0 * rate)
    if variant % 3 == 0:
        pitch = int(random.integers(40, 76))
        notes = [Note(2.0 * k, 2.0 * k + 2.5, 0, pitch, 100) for k in range(6)]
        audio = render.render_mono(render.midi_file(notes, {0: 122}, 12.0), rate, 12.0)
    else:
        spectrum = np.fft.rfft(random.standard_normal(samples))
        audio = np.fft.irfft(spectrum * np.maximum(np.arange(len(spectrum)), 30.0) ** -random.uniform(0.2, 1.2), samples)
    return (audio * (10 ** (-32 / 20) / np.sqrt(np.mean(np.square(audio))))).astype(np.float32)
