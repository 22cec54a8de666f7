"""Mixtures of bar-exact loops: what a band recorded loop by loop, put together in sync in ever new ways."""

import os
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from datamodules.audio.reading import EXTENSIONS
from datamodules.common.cache import build_folder, cached, fingerprint
from datamodules.common.errors import DataError
from datamodules.common.splits import SPLITS, deal
from datamodules.separation.data import SeparationDataModule
from datamodules.separation.loop_sessions import (
    VERSION,
    Loop,
    LoopSession,
    keep,
    leveled,
    read_index,
    read_sound,
    read_table,
    tables,
    write_wav,
)
from datamodules.separation.stems import Chunk
from datamodules.separation.tracks import TrackFiles, fill

# Phrases sung from single notes, placed on the beats of a session: vocals where a session has none.

STEPS = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
BEATS, BARS, PHRASES = 4, 4, 3  # of a bar, of a phrase, for every vowel of every voice
LENGTHS, REST = (1, 1, 2), 0.15  # in beats; share of beats that are paused
LEAP = 7  # semitones from note to note, where the voice has one so near
ONSET = 0.05  # of a note's peak: what comes before is breath and silence


def notes_in(folder: Path) -> dict[str, list[tuple[int, Path]]]:
    """Notes by voice and vowel: (MIDI pitch, file), from names such as femalevoice_aa_Db4.mp3. Raises DataError for none."""
    found: dict[str, list[tuple[int, Path]]] = {}
    for path in sorted(folder.glob("*")):
        match = re.fullmatch(r"(.+?)_([A-Ga-g])([#b]?)(\d)", path.stem)
        if match and path.suffix.lower() in EXTENSIONS:
            name, step, accidental, octave = match.groups()
            pitch = 12 * (int(octave) + 1) + STEPS[step.lower()] + {"#": 1, "b": -1, "": 0}[accidental]
            found.setdefault(name, []).append((pitch, path))
    if not found:
        raise DataError(f"{folder} holds no sung notes: --data.voices names a folder of files such as female_aa_Db4.mp3.")
    return found


def phrases(
    folder: Path, session: str, bar: int, rate: int, channels: int, level: float | None
) -> Iterator[tuple[Loop, str, str]]:
    """Loops of the role `vocals` with their group and split: a singer, all her vowels together, is on one side.

    bar: samples. The singer's name is what stands before the first _ of a file's name.
    """
    voices = notes_in(folder)
    singers = sorted({name.split("_")[0] for name in voices})
    counts = [sum(len(voices[name]) for name in voices if name.split("_")[0] == singer) for singer in singers]
    splits = dict(zip(singers, deal(singers, counts), strict=True))
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
    """(BARS * bar, channels): a walk from beat to beat."""
    line, beat = np.zeros((BARS * bar, channels), np.float32), 0
    pitch = int(random.choice([pitch for pitch, _ in sounds]))
    while beat < BARS * BEATS:
        length = min(int(random.choice(LENGTHS)), BARS * BEATS - beat)
        if random.random() >= REST:
            near = [one for one in sounds if abs(one[0] - pitch) <= LEAP] or sounds
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
    """Folders of loops, ROOT/SESSION/stems.csv and the files beside it; any loops of one session mix in sync.

    stems.csv has a row per loop: `file`, `role` (one of the sources), `duration_s` and `bars` (whole ones). What trains
    is mixed anew for every chunk; what validates and tests are fixed mixtures, written out once below the cache folder.
    No loop of theirs, nor any near-variant of one, is ever trained on: the loops of a role and session are grouped by
    how their bars sound and by their names (`datamodules.separation.loop_sessions`), and whole groups are dealt out. A role of
    which a session has but one group trains alone; in that session's other mixtures it is silent, and has no score.

    Args:
        sources: roles to separate (default drums, bass, other)
        voices: folder of single sung notes (female_aa_Db4.mp3): phrases of them are the role `vocals`, split by singer
        layers: at most so many loops at once make up a stem
        level: dB of full scale every loop is brought to; null leaves them as recorded
        mixtures: fixed mixtures of every session and split; those of the training split serve its statistics alone
        mixture_seconds: their length, rounded up to whole bars
        random_tracks: also mix roles of different sessions, out of time
        channels: default 1; loops of one channel serve any number
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
        """Where the decoded loops and the fixed mixtures lie; filled on first use. Raises DataError for a wrong root."""
        root = self.find_root()
        found = tables(root)
        if not found:
            raise DataError(f"{root} holds no SESSION/stems.csv: --data.root must name {self.layout}. {self.advice()}")
        files = [table.parent / row["file"] for table in found for row in read_table(table)]
        voices = sorted(Path(self.voices).expanduser().glob("*")) if self.voices else []
        settings = (self.sources, self.sample_rate, self.channels, self.level, self.layers, self.mixtures, self.mixture_seconds)
        there = [(path.relative_to(root), path) for path in (*found, *files)] + [(Path(path.name), path) for path in voices]
        names = ((os.fsencode(name), os.fsencode(path)) for name, path in there if path.is_file())
        folder = cached(self.cache_dir, "loops", f"loops-{fingerprint(f'{VERSION} {settings} {self.strict}', names)}")
        return build_folder(folder, lambda part: self._fill(root, part), f"the loops in {folder}")

    def _fill(self, root: Path, folder: Path) -> None:
        def vocals(session: str, bar: int):
            if not self.voices:
                return ()
            return phrases(Path(self.voices).expanduser(), session, bar, self.sample_rate, self.channels, self.level)

        keep(root, folder / "loops", self.sample_rate, self.channels, self.level, self.strict, vocals)
        for session in read_index(folder / "loops"):
            for split in SPLITS:
                self._write_mixtures(folder / "mixtures" / split, session, split)

    def _write_mixtures(self, folder: Path, session: LoopSession, split: str) -> None:
        """Fixed mixtures of a session; none where less than two roles have loops in this split."""
        if sum(bool(session.groups(role, split)) for role in self.sources) < 2:
            return
        player = LoopPlayer(session, split, self.layers, self.channels)
        samples = session.bar * -(-round(self.mixture_seconds * self.sample_rate) // session.bar)
        for number in range(self.mixtures):
            random = np.random.default_rng([SPLITS.index(split), number, *session.name.encode()])
            track = folder / f"{session.name} {number:02d}"
            track.mkdir(parents=True)
            for role in self.sources:
                if session.groups(role, split):
                    write_wav(track / f"{role}.wav", player.play(role, 0, samples, random), self.sample_rate)

    @cached_property
    def sessions(self) -> list[LoopSession]:
        """Every session with its loops and their splits."""
        return read_index(self.folder / "loops")

    def read_tracks(self, root: Path) -> list[TrackFiles]:
        """The fixed mixtures of all splits."""
        del root
        return [
            TrackFiles(folder.name, split, {role: _there(folder / f"{role}.wav") for role in self.sources}, None)
            for split in SPLITS
            for folder in sorted((self.folder / "mixtures" / split).glob("*"))
        ]

    def remarks(self) -> dict:
        """How the loops were dealt out, and where their groups are listed."""
        loops = [(session.name, loop.role, loop.split) for session in self.sessions for loop in session.loops]
        counts = {" ".join(key): loops.count(key) for key in sorted(set(loops))}
        return {"loops": counts, "groups": str(self.folder / "loops" / "index.json")}

    @property
    def covers_mixture(self) -> bool:
        """Whether no session has loops of a role beside the sources."""
        roles = {row["role"] for table in tables(self.find_root()) for row in read_table(table)}
        return roles <= set(self.sources)

    def absent(self, split: str) -> str:
        """What makes a mixture one of this split."""
        return f"A session needs two roles with three groups of loops or more, unlike each other, to have {split} mixtures."

    def train_set(self) -> "RandomLoops":
        """Random mixtures, samples_per_track for every fixed one of the training split."""
        count = len(self.tracks("train")) * self.samples_per_track
        players = [LoopPlayer(session, "train", self.layers, self.channels) for session in self.sessions]
        samples = round(self.seconds * self.sample_rate)
        return RandomLoops(players, self.sources, count, samples, self.sample_rate, self.random_tracks, self.gain, self.swap)


def _there(path: Path) -> Path | None:
    return path if path.is_file() else None


class LoopPlayer:
    """Plays a session's loops of one split."""

    def __init__(self, session: LoopSession, split: str, layers: int, channels: int) -> None:
        self.session, self.split, self.layers, self.channels = session, split, layers, channels

    def play(self, role: str, start: int, samples: int, random: np.random.Generator) -> np.ndarray:
        """(samples, channels) float32 of a role, `start` samples after a bar line: loops of different groups at once.

        Each goes round and round from a bar of its own; zeros where the session has no such loop.
        """
        total = np.zeros((samples, self.channels), np.float32)
        groups = self.session.groups(role, self.split)
        if not groups:
            return total
        count = int(random.integers(1, min(self.layers, len(groups)) + 1))
        for index in random.permutation(len(groups))[:count]:
            loop = groups[index][int(random.integers(len(groups[index])))]
            place = int(random.integers(loop.bars)) * self.session.bar + start
            done = 0
            while done < samples:
                place %= loop.wav.frames
                piece = np.empty((min(samples - done, loop.wav.frames - place), self.channels), np.float32)
                fill(piece, loop.wav, place)
                total[done : done + len(piece)] += piece
                done, place = done + len(piece), place + len(piece)
        return total / np.float32(np.sqrt(count))


class RandomLoops(Dataset):
    """Chunks of `samples` frames, a function of (index, seed): roles of one session in sync, or each of a session of its own.

    Sessions take turns by index. Per source a gain uniform in `gain` and reversed channels with probability `swap`.
    """

    def __init__(
        self,
        players: Sequence[LoopPlayer],
        sources: Sequence[str],
        count: int,
        samples: int,
        rate: int,
        random_tracks: bool,
        gain: tuple[float, float],
        swap: float,
    ) -> None:
        self.players, self.sources, self.count, self.samples, self.rate = list(players), list(sources), count, samples, rate
        self.random_tracks, self.gain, self.swap = random_tracks, gain, swap

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, item: tuple[int, int]) -> Chunk:
        index, seed = item
        random = np.random.default_rng(seed)
        count = len(self.sources)
        together = [self.players[index % len(self.players)]] * count
        players = [self.players[i] for i in random.integers(len(self.players), size=count)] if self.random_tracks else together
        places = random.random(count) if self.random_tracks else np.full(count, random.random())  # of a bar
        starts = [int(place * player.session.bar) for place, player in zip(places, players, strict=True)]
        parts = zip(players, self.sources, starts, strict=True)
        stems = np.stack([player.play(source, start, self.samples, random) for player, source, start in parts])
        gain, swap = random.uniform(*self.gain, count), random.random(count) < self.swap
        names = dict.fromkeys(player.session.name for player in players)
        return Chunk(stems, stems[0, :0], gain.astype(np.float32), swap, " + ".join(names), starts[0] / self.rate)
