"""Tiny multitrack data sets written as the real ones lie on disk; every stem is tones and noise in a band of its own."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

RATE = 44_100
STEMS = ("drums", "bass", "other", "vocals")


def stem(name: str, seconds: float, seed: int, rate: int = RATE, channels: int = 2) -> np.ndarray:
    """(samples, channels) float32 within [-0.25, 0.25]: noise bursts for drums, else a warbling tone of the stem's octave."""
    random = np.random.default_rng([seed, STEMS.index(name) if name in STEMS else 9])
    time = np.arange(round(seconds * rate)) / rate
    if name == "drums":
        mono = random.standard_normal(len(time)) * np.exp(-8 * (time % 0.5)) * 0.08
    else:
        pitch = {"bass": 60, "other": 260, "vocals": 520}.get(name, 1000) * 2 ** (random.integers(0, 12) / 12)
        wobble = 1 + 0.5 * np.sin(2 * np.pi * (0.5 + random.random()) * time)
        mono = 0.1 * wobble * np.sin(2 * np.pi * pitch * time) + 0.002 * random.standard_normal(len(time))
    pan = 0.7 + 0.3 * random.random(channels)
    return np.clip(mono[:, None] * pan, -0.25, 0.25).astype(np.float32)


def write_track(folder: Path, seconds: float, seed: int, stems: Sequence[str] = STEMS, rate: int = RATE, channels: int = 2):
    """One track of MUSDB18-HQ: a 16 bit WAV per stem, and `mixture.wav`, their sum."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {name: stem(name, seconds, seed, rate, channels) for name in stems}
    for name, sound in {**parts, "mixture": sum(parts.values())}.items():
        soundfile.write(folder / f"{name}.wav", sound, rate, subtype="PCM_16")
    return folder


def write_musdb_hq(
    root: Path,
    train: Sequence[str] = ("Artist A - One", "Artist B - Two", "Artist C - Three"),
    validation: Sequence[str] = ("Leaf - Summerghost",),
    test: Sequence[str] = ("Artist D - Four", "Artist E - Five"),
    seconds: float = 4.0,
    **how,
) -> Path:
    """MUSDB18-HQ: train/ and test/ with a folder per track; `validation` are names of the 14 tracks that mus.yaml lists."""
    root = Path(root)
    for split, names in (("train", (*train, *validation)), ("test", test)):
        for name in names:
            seed = sum(map(ord, name))
            write_track(root / split / name, seconds, seed, **how)
    return root
