"""Sessions of bar-exact loops: read, cut to whole bars, grouped and split, and kept as WAV files."""

import json
import logging
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from datamodules.audio import reading
from datamodules.audio.decoding import AudioSource
from datamodules.audio.level import downmix
from datamodules.audio.wav import Wav, open_wav
from datamodules.common.delimited import number, records
from datamodules.common.errors import DataError
from datamodules.common.progress import progress
from datamodules.common.splits import deal

# Which loops of a session are near-variants of each other, heard bar by bar.

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


log = logging.getLogger(__name__)

VERSION = 2
COLUMNS = ("file", "role", "duration_s", "bars")
TABLE = "stems.csv"
TOLERANCE_S = 0.15  # encoders leave some ms at the ends of a loop
SILENT_DB = -45  # a loop below it, of full scale, is no example of its role
PEAK = 0.7  # at most: two layers, and their sum, do not clip


class Loop(NamedTuple):
    """One decoded loop."""

    name: str
    role: str
    bars: int
    sound: np.ndarray  # (samples, channels) float32 of whole bars


class Kept(NamedTuple):
    """A loop on disk, with the group of near-variants and the split it belongs to."""

    role: str
    bars: int
    group: str
    split: str
    wav: Wav


class LoopSession(NamedTuple):
    """A tempo, given by a bar in samples, and the loops that mix in it."""

    name: str
    bar: int
    loops: tuple[Kept, ...]

    def groups(self, role: str, split: str) -> list[list[Kept]]:
        """A role's loops of one split, near-variants in lists of their own."""
        chosen: dict[str, list[Kept]] = {}
        for loop in self.loops:
            if (loop.role, loop.split) == (role, split):
                chosen.setdefault(loop.group, []).append(loop)
        return list(chosen.values())


def tables(root: Path) -> list[Path]:
    """The table of every session, sorted."""
    return sorted(path for path in root.glob(f"*/{TABLE}") if not path.parent.name.startswith("."))


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows of a session's table. Raises DataError where it is not as expected."""
    try:
        rows = records(path)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a CSV in UTF-8 ({error}): write it again.") from error
    if not rows or not set(COLUMNS) <= set(rows[0]):
        found = ", ".join(map(str, rows[0])) if rows else "nothing"
        raise DataError(f"{path} must have a row per loop and the columns {', '.join(COLUMNS)}; it has {found}.")
    for row in rows:
        try:
            bars, seconds = number(row["bars"]), number(row["duration_s"])
        except ValueError:
            bars = seconds = 0.0
        if seconds <= 0 or round(bars) < 1 or abs(bars - round(bars)) > 0.01:
            raise DataError(f"{path} says {row['file']} has {row['bars']} bars in {row['duration_s']} s: a loop has whole bars.")
    return rows


def bar_length(rows: Sequence[dict[str, str]], rate: int) -> int:
    """A bar in samples, from the longest loop, whose rounded duration tells it best."""
    longest = max(rows, key=lambda row: number(row["bars"]))
    return round(number(longest["duration_s"]) / round(number(longest["bars"])) * rate)


def read_loop(folder: Path, row: dict[str, str], bar: int, rate: int, channels: int, level: float | None) -> Loop:
    """Decode a loop, cut to whole bars and brought to `level` dB of full scale if given. Raises DataError, by name."""
    path, bars = folder / row["file"], round(number(row["bars"]))
    sound = read_sound(path, rate, channels)
    if abs(len(sound) - bars * bar) > TOLERANCE_S * rate:
        raise DataError(
            f"{path} lasts {len(sound) / rate:.2f} s where {bars} bars of its session last {bars * bar / rate:.2f} s: "
            f"mend {TABLE} or leave it out."
        )
    sound = np.pad(sound[: bars * bar], ((0, max(0, bars * bar - len(sound))), (0, 0)))
    return Loop(Path(row["file"]).stem, row["role"], bars, leveled(sound, level, path))


def read_sound(path: Path, rate: int, channels: int) -> np.ndarray:
    """A whole file, (samples, channels) float32 at `rate`; mono for one channel. Raises DataError."""
    import soxr

    with AudioSource(path, mono=channels == 1) as source:
        sound = np.concatenate(list(source.blocks()))
    if source.damage:
        raise DataError(f"{path}: {source.damage}; replace it or leave it out.")
    sound = sound.reshape(len(sound), -1)
    if sound.shape[1] not in (1, channels):
        raise DataError(f"{path} has {sound.shape[1]} channels where {channels} are expected: say --data.channels.")
    if source.rate != rate:
        sound = reading.require_finite(soxr.resample(sound, source.rate, rate, quality=reading.RESAMPLER), path)
    return np.repeat(sound, channels // sound.shape[1], axis=1)


def leveled(sound: np.ndarray, level: float | None, path: Path) -> np.ndarray:
    """Sound at a level in dB of full scale, its peak not over PEAK. Raises DataError for silence, a constant included."""
    sound = sound - sound.mean(0, dtype=np.float64).astype(np.float32)
    power = float(np.mean(np.square(sound, dtype=np.float64)))
    if power < 10 ** (SILENT_DB / 10):
        raise DataError(f"{path} is silent, {10 * np.log10(power + 1e-12):.0f} dB of full scale: leave it out.")
    gain = 1.0 if level is None else 10 ** (level / 20) / power**0.5
    return sound * np.float32(min(gain, PEAK / np.abs(sound).max()))


def keep(root: Path, folder: Path, rate: int, channels: int, level: float | None, strict: bool, more: Callable) -> None:
    """Decode all sessions below `root` into `folder` and write its index; `more(name, bar)` gives further loops of a session.

    Loops that do not decode or do not fit are left out by name, or stop it if strict.
    """

    sessions = []
    for table in progress(tables(root), "decoding sessions of loops, once", unit="session"):
        rows = read_table(table)
        bar = bar_length(rows, rate)
        with ThreadPoolExecutor(4) as pool:
            made = list(pool.map(lambda row: _try(strict, table.parent, row, bar, rate, channels, level), rows))  # noqa: B023
        loops = [loop for loop in made if loop is not None]
        kept = [entry for role in sorted({loop.role for loop in loops}) for entry in _split(loops, role, rate)]
        kept += more(table.parent.name, bar)
        (folder / table.parent.name).mkdir(parents=True)
        for loop, _, _ in kept:
            write_wav(folder / table.parent.name / f"{loop.role}-{loop.name}.wav", loop.sound, rate)
        lines = [[loop.name, loop.role, loop.bars, group, split] for loop, group, split in kept]
        sessions.append({"session": table.parent.name, "bar": bar, "loops": lines})
    (folder / "index.json").write_text(json.dumps(sessions, indent=1), encoding="utf-8")


def _try(strict: bool, *what) -> Loop | None:
    try:
        return read_loop(*what)
    except DataError as error:
        if strict:
            raise
        log.warning("Left out: %s", error)
        return None


def _split(loops: Sequence[Loop], role: str, rate: int) -> list[tuple[Loop, str, str]]:
    """A role's loops with the first name of their group and its split."""
    loops = sorted((loop for loop in loops if loop.role == role), key=lambda loop: loop.name)
    prints = [bar_prints(downmix(loop.sound)[0], loop.bars, rate) for loop in loops]
    groups = variant_groups([loop.name for loop in loops], prints)
    names = [loops[group[0]].name for group in groups]
    splits = deal(names, [sum(loops[index].bars for index in group) for group in groups])
    return [(loops[index], name, split) for group, name, split in zip(groups, names, splits, strict=True) for index in group]


def write_wav(path: Path, sound: np.ndarray, rate: int) -> None:
    """(samples, channels) float32 as 16 bit."""
    soundfile.write(path, reading.to_int16(sound), rate, subtype="PCM_16")


def read_index(folder: Path) -> list[LoopSession]:
    """The sessions that `keep` left."""
    sessions = []
    for entry in json.loads((folder / "index.json").read_text(encoding="utf-8")):
        where = folder / entry["session"]
        loops = (
            Kept(role, bars, group, split, open_wav(where / f"{role}-{name}.wav"))
            for name, role, bars, group, split in entry["loops"]
        )
        sessions.append(LoopSession(entry["session"], entry["bar"], tuple(loops)))
    return sessions
