"""Embedded separation set: band arrangements of tunes, rendered per stem, in the layout of MUSDB18-HQ.

A root has train/ and test/ with a folder `Artist - Title` per track: mixture, drums, bass, other and vocals as WAV (20 s,
44.1 kHz, stereo, 16 bit); the mixture is the exact sum of the stems. `validation.txt` lists the validation tracks in
train/. Training tunes have two arrangements. The default of 42 tunes takes 1.2 GB.
"""

import re
import string
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from datamodules.audio import render
from datamodules.demo import band, tagging
from datamodules.demo.band import STEMS
from datamodules.demo.cache import build_once
from datamodules.demo.music import DemoPiece

RATE = 44_100
TUNES = 42
# Percentage of each kind; the others are reels.
KINDS = {"chorale": 16, "waltz": 20, "jig": 24}
SHARES = {"train": 0.6, "validation": 0.12, "test": 0.28}
VALIDATION = "validation.txt"
PEAK = 0.9  # of a mixture, relative to full scale
SILENCE_DB = -60  # re full scale: blocks below do not count for the level of a stem
SOURCES = (*tagging.SOURCES, Path(band.__file__), Path(__file__))


class DemoTrack(NamedTuple):
    """Track: folder name, split and arrangement."""

    name: str
    split: str
    song: band.BandSong


def build(cache_dir: str | Path | None = None, tunes: int = TUNES, processes: int | None = None, seed: int = 0) -> Path:
    """Root of the embedded set, rendered on the first call; `tunes`: number of tunes.

    Raises:
        ValueError: fewer than 4 tunes.
        DataError: renderer, SoundFont or scores not installed.
    """
    if tunes < 4:
        raise ValueError(f"tunes must be at least 4, got {tunes}")

    def make(root: Path) -> None:
        result = tracks(tunes, seed)
        work = [(track.song, folder(root, track)) for track in result]
        for _, path in work:
            path.mkdir(parents=True)
        render.parallel(write_track, work, processes, f"rendering {len(result)} demo tracks of {band.SECONDS:.0f} s, once")
        names = sorted(track.name for track in result if track.split == "validation")
        (root / VALIDATION).write_text("\n".join(names) + "\n", encoding="utf-8")

    return build_once("separation", make, SOURCES, (tunes, seed), cache_dir)


def validation_tracks(root: Path) -> list[str]:
    """Names of the validation tracks in train/."""
    return (Path(root) / VALIDATION).read_text(encoding="utf-8").splitlines()


def tracks(tunes: int = TUNES, seed: int = 0) -> list[DemoTrack]:
    """Tracks of the set: tunes with splits and random arrangements.

    Training tunes have a second arrangement in another key and tempo, since a network memorises the instruments of 25 bands.
    """
    random = np.random.default_rng(seed)
    castings = {split: band.Casting(random) for split in SHARES}
    pieces = {kind: round(tunes * share / 100) for kind, share in KINDS.items()}
    pieces["reel"] = tunes - sum(pieces.values())
    results = []
    for piece, split in tagging.choose(pieces, random, SHARES):
        name = f"{tagging.COLLECTIONS[piece.name.split('/')[0]][0].title()} - {title(piece)}"
        results.append(DemoTrack(name, split, castings[split].song(piece)))
    training = [track for track in results if track.split == "train"]
    return results + [
        DemoTrack(f"{name} (second band)", split, castings[split].song(song.piece)) for name, split, song in training
    ]


def title(piece: DemoPiece) -> str:
    """Title of a piece as a folder name."""
    plain = re.sub(r"[^\w', ]+", " ", piece.title or piece.name.split("/")[1])
    plain = " ".join(plain.split()).replace(" ,", ",")
    return string.capwords(plain) if plain.isupper() else plain


def folder(root: Path, track: DemoTrack) -> Path:
    """Folder of a track; validation tracks are in train/, as in MUSDB18-HQ."""
    return root / ("test" if track.split == "test" else "train") / track.name


def write_track(song: band.BandSong, path: Path) -> None:
    """Render a track: mixture.wav and a file per stem."""
    sounds = mix(stems(song), song.levels)
    for name, sound in {"mixture": sum(sounds.values(), np.int32(0)), **sounds}.items():
        soundfile.write(path / f"{name}.wav", sound.astype(np.int16), RATE, subtype="PCM_16")


def stems(song: band.BandSong) -> dict[str, np.ndarray]:
    """Unscaled stems: (samples, 2) float32 at RATE."""
    import soxr

    samples = round(band.SECONDS * RATE)
    rendered = {name: render.render(midi, band.SECONDS) for name, midi in band.scores(song).items()}
    return {name: soxr.resample(sound, render.RATE, RATE)[:samples] for name, sound in rendered.items()}


def mix(sounds: dict[str, np.ndarray], levels: tuple[float, ...]) -> dict[str, np.ndarray]:
    """Scale stems to their levels and the mixture to PEAK; int32, rounded to 16 bit per stem for an exact sum."""
    faders = {name: 10 ** ((db - level(sounds[name])) / 20) for name, db in zip(STEMS, levels, strict=True)}
    scaled = {name: sounds[name].astype(np.float64) * faders[name] for name in STEMS}
    gain = PEAK * 32767 / max(np.abs(sum(scaled.values())).max(), *(np.abs(sound).max() for sound in scaled.values()))
    return {name: np.round(sound * gain).astype(np.int32) for name, sound in scaled.items()}


def level(sound: np.ndarray) -> float:
    """Level of a stem in dB re full scale over its non-silent blocks of 0.1 s."""
    blocks = sound[: len(sound) // (RATE // 10) * (RATE // 10)].reshape(-1, RATE // 10 * sound.shape[1])
    power = np.square(blocks, dtype=np.float64).mean(1)
    return float(10 * np.log10(power[power > 10 ** (SILENCE_DB / 10)].mean()))
