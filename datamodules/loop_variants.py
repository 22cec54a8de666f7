"""Which loops of a session are near-variants of each other, heard bar by bar."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

FRAMES = 16  # a bar: its sixteenths
LOWEST, BANDS = 40.0, 98  # Hz, semitones: up to 10.9 kHz
WINDOW_S = 0.186
FLOOR_DB = 50  # below the loudest band of the loop
QUIET_DB = 30  # a bar so far below the loudest says nothing
WAVE_RATE = 11_025  # Hz
ALIKE = 0.8  # correlation of levels
COPIED = 0.7  # correlation of waveforms: where one of two equally loud layers is the same


class BarPrints(NamedTuple):
    """What the bars of a loop that are not quiet are known by; every row has a norm of 1."""

    levels: np.ndarray  # (bars, features) float32 of mean 0: levels in dB of semitone bands at FRAMES places of the bar
    waves: np.ndarray  # (bars, samples) float32: the waveform at about WAVE_RATE, which samples and copies share


def bar_prints(sound: np.ndarray, bars: int, rate: int) -> BarPrints:
    """Of (samples,) that are whole bars, at `rate` Hz."""
    window = round(WINDOW_S * rate)
    padded = np.pad(sound, (window // 2, window))
    starts = (np.arange(bars * FRAMES) * len(sound) / (bars * FRAMES)).astype(int)
    bank = _semitones(window, rate)
    power = np.concatenate([_power(padded, part, window) @ bank for part in np.array_split(starts, max(1, bars // 8))])
    levels = 10 * np.log10(power + 10 ** (-FLOOR_DB / 10) * power.max() + 1e-20).reshape(bars, -1)
    waves = sound[: len(sound) // bars * bars].reshape(bars, -1)
    loud = np.square(waves).mean(1)
    loud = loud > 10 ** (-QUIET_DB / 10) * loud.max()
    step = max(1, rate // WAVE_RATE)
    waves = waves[loud, : waves.shape[1] // step * step].reshape(int(loud.sum()), -1, step).mean(2)
    return BarPrints(_unit(levels[loud] - levels[loud].mean(1, keepdims=True)), _unit(waves))


def _unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)).astype(np.float32)


def _power(sound: np.ndarray, starts: np.ndarray, window: int) -> np.ndarray:
    frames = np.stack([sound[start : start + window] for start in starts])
    return np.square(np.abs(np.fft.rfft(frames * np.hanning(window).astype(frames.dtype))))


def _semitones(window: int, rate: int) -> np.ndarray:
    """(frequencies, BANDS) triangles a semitone wide on each side, wider where the transform is coarser than that."""
    frequencies = np.fft.rfftfreq(window, 1 / rate)
    centres = LOWEST * 2 ** (np.arange(BANDS) / 12)
    widths = np.maximum(1, 12 * np.log2(1 + frequencies[1] / centres))
    distances = 12 * np.abs(np.log2(np.maximum(frequencies, 1)[:, None] / centres))
    return np.maximum(0, 1 - distances / widths)


def variant_groups(names: Sequence[str], prints: Sequence[BarPrints]) -> list[list[int]]:
    """Loops of one role and session in groups of near-variants, by index.

    Two are variants if any bar of one sounds like any bar of the other (its levels correlate by ALIKE or its waveform by
    COPIED, or more), or if they are called takes of one part: without the number at its end, one name is the other and a
    word on top (Bass03, BassDup05). Whatever is linked over others belongs together, too.
    """
    group = list(range(len(names)))
    for second in range(len(names)):
        for first in range(second):
            if group[first] != group[second] and (_takes(names[first], names[second]) or _alike(prints[first], prints[second])):
                old, new = sorted((group[first], group[second]), reverse=True)
                group = [new if one == old else one for one in group]
    return [[index for index, one in enumerate(group) if one == root] for root in sorted(set(group))]


def _alike(first: BarPrints, second: BarPrints) -> bool:
    if (first.levels @ second.levels.T).max(initial=-1) >= ALIKE:
        return True
    return np.abs(first.waves @ second.waves.T).max(initial=-1) >= COPIED


def _takes(first: str, second: str) -> bool:
    short, long = sorted((re.sub(r"[\d_ -]+$", "", name) for name in (first, second)), key=len)
    return 0 < len(short) < len(long) and re.fullmatch(re.escape(short) + r"[_ -]?[A-Z]\w*", long) is not None
