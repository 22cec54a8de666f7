"""Separation data of loops: sessions of bar-exact loops -> random synchronous mixtures with their stems."""

import os
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from datamodules.audio.reading import AUDIO_SUFFIXES
from datamodules.common.cache import build_folder, cached, fingerprint
from datamodules.common.errors import DataError
from datamodules.common.splits import SPLITS, assign_splits
from datamodules.separation.data import SeparationDataModule
from datamodules.separation.loop_sessions import (
    VERSION,
    Loop,
    LoopSession,
    leveled,
    read_index,
    read_sound,
    read_table,
    session_tables,
    store_sessions,
    write_wav,
)
from datamodules.separation.stems import Chunk
from datamodules.separation.tracks import TrackFiles, fill

# Vocal phrases of single sung notes

STEPS = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
BEATS, BARS, PHRASES = 4, 4, 3  # per bar, per phrase, per vowel of each voice
LENGTHS, REST = (1, 1, 2), 0.15  # of notes in beats; probability of a rest
LEAP = 7  # largest interval between notes, semitones, if the voice has such a note
ONSET = 0.05  # level of the onset relative to the peak of a note


def read_voices(folder: Path) -> dict[str, list[tuple[int, Path]]]:
    """List notes by voice and vowel: (MIDI pitch, file), from names such as femalevoice_aa_Db4.mp3. Raises DataError for none."""
    voices: dict[str, list[tuple[int, Path]]] = {}
    for path in sorted(folder.glob("*")):
        match = re.fullmatch(r"(.+?)_([A-Ga-g])([#b]?)(\d)", path.stem)
        if match and path.suffix.lower() in AUDIO_SUFFIXES:
            name, step, accidental, octave = match.groups()
            pitch = 12 * (int(octave) + 1) + STEPS[step.lower()] + {"#": 1, "b": -1, "": 0}[accidental]
            voices.setdefault(name, []).append((pitch, path))
    if not voices:
        raise DataError(f"{folder} holds no sung notes: --data.voices must name a folder of files such as female_aa_Db4.mp3.")
    return voices


def vocal_phrases(
    folder: Path, session: str, bar: int, rate: int, channels: int, level: float | None
) -> Iterator[tuple[Loop, str, str]]:
    """Synthesise loops of the role `vocals`, with group and split, for a session whose bar has `bar` samples.

    All notes of a singer (part of the file name before the first _) share a split; the session's name seeds the phrases.
    """
    voices = read_voices(folder)
    singers = sorted({name.split("_")[0] for name in voices})
    counts = [sum(len(voices[name]) for name in voices if name.split("_")[0] == singer) for singer in singers]
    splits = dict(zip(singers, assign_splits(singers, counts), strict=True))
    for name, notes in voices.items():
        sounds = [(pitch, _from_onset(read_sound(path, rate, channels))) for pitch, path in notes]
        random = np.random.default_rng([ord(letter) for letter in session + name])
        for number in range(PHRASES):
            sound = leveled(_phrase(sounds, bar, channels, rate, random), level, folder)
            singer = name.split("_")[0]
            yield Loop(f"{name}-{number}", "vocals", BARS, sound), singer, splits[singer]


def _from_onset(sound: np.ndarray) -> np.ndarray:
    loud = np.abs(sound).max(1)
    return sound[int(np.argmax(loud > ONSET * loud.max())) :]


def _phrase(sounds: list, bar: int, channels: int, rate: int, random: np.random.Generator) -> np.ndarray:
    """Random melody (BARS * bar, channels) of the notes."""
    line, beat = np.zeros((BARS * bar, channels), np.float32), 0
    pitch = int(random.choice([pitch for pitch, _ in sounds]))
    while beat < BARS * BEATS:
        length = min(int(random.choice(LENGTHS)), BARS * BEATS - beat)
        if random.random() >= REST:
            near = [candidate for candidate in sounds if abs(candidate[0] - pitch) <= LEAP] or sounds
            pitch, sound = near[int(random.integers(len(near)))]
            start, stop = beat * bar // BEATS, (beat + length) * bar // BEATS
            note = sound[: stop - start].copy()
            fade = min(len(note), round(0.05 * rate))
            note[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)[:, None]
            line[start : start + len(note)] += note
        beat += length
    return line


ROLES = ("drums", "bass", "other")


class LoopSessions(SeparationDataModule):
    """Folders of loops, ROOT/SESSION/stems.csv and the files beside it; all loops of a session are synchronous.

    stems.csv has a row per loop: `file`, `role` (one of the sources), `duration_s` and `bars` (a whole number). Training
    chunks are mixed at random; validation and test mixtures are written once below the cache folder. Near-variants share a
    split: the loops of a role and session are grouped by the similarity of their bars and by their names
    (`datamodules.separation.loop_sessions`). A role with a single group in a session is used in training only; in the
    session's other mixtures it is silent and not scored.

    Args:
        sources: roles to separate (default drums, bass, other)
        voices: folder of single sung notes (female_aa_Db4.mp3): phrases of them are the role `vocals`, split by singer
        layers: largest number of simultaneous loops in a stem
        level: level of each loop, dB of full scale; null: as recorded
        mixtures: fixed mixtures per session and split; those of the training split are used for statistics only
        mixture_seconds: length of the fixed mixtures, rounded up to whole bars
        random_tracks: also mix roles of different sessions, not synchronous
        channels: default 1; mono loops are accepted for any number
    """

    name = "loops"
    layout = "a folder with a folder per session, in it loops and stems.csv (columns file, role, duration_s, bars)"

    def __init__(
        self,
        root: str | None = None,
        sources: list[str] | None = None,
        voices: str | None = None,
        layers: int = 2,
        level: float | None = -26.0,
        mixtures: int = 12,
        mixture_seconds: float = 16.0,
        random_tracks: bool = False,
        channels: int = 1,
        **kwargs,
    ) -> None:
        chosen = sources or [*ROLES, *(["vocals"] if voices else [])]
        super().__init__(root, chosen, random_tracks=random_tracks, channels=channels, **kwargs)
        if layers < 1 or mixtures < 1 or mixture_seconds <= 0:
            raise ValueError(f"layers, mixtures and mixture_seconds must be positive: {layers}, {mixtures}, {mixture_seconds}.")
        self.voices, self.layers, self.level = voices, layers, level
        self.mixtures, self.mixture_seconds = mixtures, mixture_seconds

    @cached_property
    def folder(self) -> Path:
        """Folder of the decoded loops and fixed mixtures, filled on first use. Raises DataError for a wrong root."""
        root = self.find_root()
        tables = session_tables(root)
        if not tables:
            raise DataError(f"{root} holds no SESSION/stems.csv: --data.root must name {self.layout}. {self.advice()}")
        files = [table.parent / row["file"] for table in tables for row in read_table(table)]
        voices = sorted(Path(self.voices).expanduser().glob("*")) if self.voices else []
        settings = (self.sources, self.sample_rate, self.channels, self.level, self.layers, self.mixtures, self.mixture_seconds)
        inputs = [(path.relative_to(root), path) for path in (*tables, *files)] + [(Path(path.name), path) for path in voices]
        names = ((os.fsencode(name), os.fsencode(path)) for name, path in inputs if path.is_file())
        folder = cached(self.cache_dir, "loops", f"loops-{fingerprint(f'{VERSION} {settings} {self.strict}', names)}")
        return build_folder(folder, lambda part: self._fill(root, part), f"the loops in {folder}")

    def _fill(self, root: Path, folder: Path) -> None:
        def vocals(session: str, bar: int):
            if not self.voices:
                return ()
            return vocal_phrases(Path(self.voices).expanduser(), session, bar, self.sample_rate, self.channels, self.level)

        store_sessions(root, folder / "loops", self.sample_rate, self.channels, self.level, self.strict, vocals)
        for session in read_index(folder / "loops"):
            for split in SPLITS:
                self._write_mixtures(folder / "mixtures" / split, session, split)

    def _write_mixtures(self, folder: Path, session: LoopSession, split: str) -> None:
        """Write the fixed mixtures of a session; none if fewer than two roles have loops in this split."""
        if sum(bool(session.groups(role, split)) for role in self.sources) < 2:
            return
        mixer = LoopMixer(session, split, self.layers, self.channels)
        samples = session.bar * -(-round(self.mixture_seconds * self.sample_rate) // session.bar)
        for number in range(self.mixtures):
            random = np.random.default_rng([SPLITS.index(split), number, *session.name.encode()])
            track = folder / f"{session.name} {number:02d}"
            track.mkdir(parents=True)
            for role in self.sources:
                if session.groups(role, split):
                    write_wav(track / f"{role}.wav", mixer.mix(role, 0, samples, random), self.sample_rate)

    @cached_property
    def sessions(self) -> list[LoopSession]:
        """Sessions with their loops and splits."""
        return read_index(self.folder / "loops")

    def read_tracks(self, root: Path) -> list[TrackFiles]:
        """List the fixed mixtures of all splits."""
        del root
        return [
            TrackFiles(folder.name, split, {role: _existing(folder / f"{role}.wav") for role in self.sources}, None)
            for split in SPLITS
            for folder in sorted((self.folder / "mixtures" / split).glob("*"))
        ]

    def remarks(self) -> dict:
        """Number of loops per session, role and split, and the file with their groups."""
        loops = [(session.name, loop.role, loop.split) for session in self.sessions for loop in session.loops]
        counts = {" ".join(key): loops.count(key) for key in sorted(set(loops))}
        return {"loops": counts, "groups": str(self.folder / "loops" / "index.json")}

    @property
    def covers_mixture(self) -> bool:
        """True if no session has loops of further roles."""
        roles = {row["role"] for table in session_tables(self.find_root()) for row in read_table(table)}
        return roles <= set(self.sources)

    def absent(self, split: str) -> str:
        """Advice for a split without mixtures."""
        return f"For {split} mixtures a session needs two roles with at least three groups of dissimilar loops."

    def train_set(self) -> "RandomLoops":
        """Random mixtures, samples_per_track per fixed training mixture."""
        count = len(self.tracks("train")) * self.samples_per_track
        mixers = [LoopMixer(session, "train", self.layers, self.channels) for session in self.sessions]
        samples = round(self.seconds * self.sample_rate)
        return RandomLoops(mixers, self.sources, count, samples, self.sample_rate, self.random_tracks, self.gain, self.swap)


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None


class LoopMixer:
    """Mixer of a session's loops of one split."""

    def __init__(self, session: LoopSession, split: str, layers: int, channels: int) -> None:
        self.session, self.split, self.layers, self.channels = session, split, layers, channels

    def mix(self, role: str, start: int, samples: int, random: np.random.Generator) -> np.ndarray:
        """Mix random loops of a role, of different groups, each repeated from `start` samples after a random bar line.

        Returns (samples, channels) float32; zeros if the session has no loops of the role.
        """
        total = np.zeros((samples, self.channels), np.float32)
        groups = self.session.groups(role, self.split)
        if not groups:
            return total
        count = int(random.integers(1, min(self.layers, len(groups)) + 1))
        for index in random.permutation(len(groups))[:count]:
            loop = groups[index][int(random.integers(len(groups[index])))]
            position = int(random.integers(loop.bars)) * self.session.bar + start
            done = 0
            while done < samples:
                position %= loop.wav.frames
                block = np.empty((min(samples - done, loop.wav.frames - position), self.channels), np.float32)
                fill(block, loop.wav, position)
                total[done : done + len(block)] += block
                done, position = done + len(block), position + len(block)
        return total / np.float32(np.sqrt(count))


class RandomLoops(Dataset):
    """Chunks of `samples` frames, a function of (index, seed): roles of one session in sync, or each of a random session.

    Sessions alternate by index. Each source has a random gain within `gain` and reversed channels with probability `swap`.
    """

    def __init__(
        self,
        mixers: Sequence[LoopMixer],
        sources: Sequence[str],
        count: int,
        samples: int,
        rate: int,
        random_tracks: bool,
        gain: tuple[float, float],
        swap: float,
    ) -> None:
        self.mixers, self.sources, self.count, self.samples, self.rate = list(mixers), list(sources), count, samples, rate
        self.random_tracks, self.gain, self.swap = random_tracks, gain, swap

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, item: tuple[int, int]) -> Chunk:
        index, seed = item
        random = np.random.default_rng(seed)
        count = len(self.sources)
        together = [self.mixers[index % len(self.mixers)]] * count
        mixers = [self.mixers[i] for i in random.integers(len(self.mixers), size=count)] if self.random_tracks else together
        offsets = random.random(count) if self.random_tracks else np.full(count, random.random())  # in bars
        starts = [int(offset * mixer.session.bar) for offset, mixer in zip(offsets, mixers, strict=True)]
        parts = zip(mixers, self.sources, starts, strict=True)
        stems = np.stack([mixer.mix(source, start, self.samples, random) for mixer, source, start in parts])
        gain, swap = random.uniform(*self.gain, count), random.random(count) < self.swap
        names = dict.fromkeys(mixer.session.name for mixer in mixers)
        return Chunk(stems, stems[0, :0], gain.astype(np.float32), swap, " + ".join(names), starts[0] / self.rate)
