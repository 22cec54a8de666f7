"""The embedded separation set: tunes for a rule-made band, rendered stem by stem, in MUSDB18-HQ's layout on disk.

A root holds train/ and test/, in them a folder `Artist - Title` per tune with mixture, drums, bass, other and vocals of
20 s as WAV: 44.1 kHz, stereo, 16 bit; the mixture is the exact sum of the four. `validation.txt` names the tracks of
train/ that validate. Training tunes are played by two bands each. The default of 42 tunes takes 1.2 GB.
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
# Of every hundred tunes so many of each kind; the rest are reels.
KINDS = {"chorale": 16, "waltz": 20, "jig": 24}
SHARES = {"train": 0.6, "validation": 0.12, "test": 0.28}
VALIDATION = "validation.txt"
PEAK = 0.9  # of a mixture, of full scale
SILENCE_DB = -60  # below it, of full scale, a block of a stem does not count for its level
SOURCES = (*tagging.SOURCES, Path(band.__file__), Path(__file__))


class DemoTrack(NamedTuple):
    """A tune to be made: its folder's name, its split, and its band."""

    name: str
    split: str
    song: band.BandSong


def build(cache_dir: str | Path | None = None, tunes: int = TUNES, processes: int | None = None, seed: int = 0) -> Path:
    """The root of the embedded set, rendered on the first call. `tunes`: how many, four or more.

    Raises ValueError for fewer, DataError where no renderer, SoundFont or score is installed.
    """
    if tunes < 4:
        raise ValueError(f"tunes must be at least 4, some for each split: {tunes}.")

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
    """Names of the tracks in train/ that validate."""
    return (Path(root) / VALIDATION).read_text(encoding="utf-8").splitlines()


def tracks(tunes: int = TUNES, seed: int = 0) -> list[DemoTrack]:
    """Every track of the set: tunes are de-duplicated and split, then a band is drawn for each.

    Each training tune has a second track, by another band in another key and tempo: of 25 bands alone a network learns the
    instruments by heart.
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
    """A piece's title as a folder may be called."""
    plain = re.sub(r"[^\w', ]+", " ", piece.title or piece.name.split("/")[1])
    plain = " ".join(plain.split()).replace(" ,", ",")
    return string.capwords(plain) if plain.isupper() else plain


def folder(root: Path, track: DemoTrack) -> Path:
    """Where a track lies; validation tracks are among those of train/, as in MUSDB18-HQ."""
    return root / ("test" if track.split == "test" else "train") / track.name


def write_track(song: band.BandSong, path: Path) -> None:
    """Render one tune: mixture.wav and a file per stem."""
    sounds = mix(stems(song), song.levels)
    for name, sound in {"mixture": sum(sounds.values(), np.int32(0)), **sounds}.items():
        soundfile.write(path / f"{name}.wav", sound.astype(np.int16), RATE, subtype="PCM_16")


def stems(song: band.BandSong) -> dict[str, np.ndarray]:
    """What each stem sounds like, as the renderer leaves it: (samples, 2) float32 at RATE."""
    import soxr

    samples = round(band.SECONDS * RATE)
    rendered = {name: render.render(midi, band.SECONDS) for name, midi in band.scores(song).items()}
    return {name: soxr.resample(sound, render.RATE, RATE)[:samples] for name, sound in rendered.items()}


def mix(sounds: dict[str, np.ndarray], levels: tuple[float, ...]) -> dict[str, np.ndarray]:
    """Stems brought to their levels in the mix, then all turned up alike until the mixture peaks at PEAK: int32.

    Every stem is rounded to 16 bit for itself, so that the sum of the files is the file of the sum.
    """
    faders = {name: 10 ** ((db - level(sounds[name])) / 20) for name, db in zip(STEMS, levels, strict=True)}
    placed = {name: sounds[name].astype(np.float64) * faders[name] for name in STEMS}
    gain = PEAK * 32767 / max(np.abs(sum(placed.values())).max(), *(np.abs(sound).max() for sound in placed.values()))
    return {name: np.round(sound * gain).astype(np.int32) for name, sound in placed.items()}


def level(sound: np.ndarray) -> float:
    """Level of a stem in dB of full scale where it sounds: over its blocks of 0.1 s that are not silent."""
    blocks = sound[: len(sound) // (RATE // 10) * (RATE // 10)].reshape(-1, RATE // 10 * sound.shape[1])
    power = np.square(blocks, dtype=np.float64).mean(1)
    return float(10 * np.log10(power[power > 10 ** (SILENCE_DB / 10)].mean()))
