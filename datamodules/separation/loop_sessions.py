"""Loop sessions: tables of loops -> loops of whole bars, grouped by similarity, split, and stored as WAV files."""

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
from datamodules.common.splits import assign_splits

# Similarity of loops

FRAMES = 16  # per bar
LOWEST, BANDS = 40.0, 98  # Hz, semitones: up to 10.9 kHz
WINDOW_S = 0.186
FLOOR_DB = 50  # below the loudest band of the loop
QUIET_DB = 30  # bars this far below the loudest are not compared
WAVE_RATE = 11_025  # Hz
ALIKE = 0.8  # correlation of levels of near-variants
COPIED = 0.7  # correlation of waveforms of near-variants, such as that of one of two equally loud layers


class BarPrints(NamedTuple):
    """Fingerprints of the bars of a loop that are not quiet; every row has a norm of 1."""

    levels: np.ndarray  # (bars, features) float32 of mean 0: levels in dB of semitone bands at FRAMES times of the bar
    waves: np.ndarray  # (bars, samples) float32: waveform at about WAVE_RATE


def bar_prints(sound: np.ndarray, bars: int, rate: int) -> BarPrints:
    """Fingerprints of a loop (samples,) of whole bars at `rate` Hz."""
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
    """Triangular filters (frequencies, BANDS), a semitone wide on each side, wider if the frequency resolution is coarser."""
    frequencies = np.fft.rfftfreq(window, 1 / rate)
    centres = LOWEST * 2 ** (np.arange(BANDS) / 12)
    widths = np.maximum(1, 12 * np.log2(1 + frequencies[1] / centres))
    distances = 12 * np.abs(np.log2(np.maximum(frequencies, 1)[:, None] / centres))
    return np.maximum(0, 1 - distances / widths)


def variant_groups(names: Sequence[str], prints: Sequence[BarPrints]) -> list[list[int]]:
    """Groups of near-variants among the loops of one role and session, by index: connected components of similar loops.

    Loops are similar if any of their bars are (correlation of levels at least ALIKE or of waveforms at least COPIED), or if
    their names are those of takes: without the final number, one name is the other plus a word (Bass03, BassDup05).
    """
    group = list(range(len(names)))
    for second in range(len(names)):
        for first in range(second):
            if group[first] != group[second] and (_takes(names[first], names[second]) or _alike(prints[first], prints[second])):
                old, new = sorted((group[first], group[second]), reverse=True)
                group = [new if label == old else label for label in group]
    return [[index for index, label in enumerate(group) if label == root] for root in sorted(set(group))]


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
TOLERANCE_S = 0.15  # encoders add some ms at the ends of a loop
SILENT_DB = -45  # of full scale: quieter loops are left out
PEAK = 0.7  # largest peak, so that the sum of two layers does not clip


class Loop(NamedTuple):
    """Decoded loop."""

    name: str
    role: str
    bars: int
    sound: np.ndarray  # (samples, channels) float32 of whole bars


class StoredLoop(NamedTuple):
    """Loop on disk, with its split and group of near-variants."""

    role: str
    bars: int
    group: str
    split: str
    wav: Wav


class LoopSession(NamedTuple):
    """Loops of one tempo."""

    name: str
    bar: int  # samples
    loops: tuple[StoredLoop, ...]

    def groups(self, role: str, split: str) -> list[list[StoredLoop]]:
        """Loops of a role and split, as groups of near-variants."""
        chosen: dict[str, list[StoredLoop]] = {}
        for loop in self.loops:
            if (loop.role, loop.split) == (role, split):
                chosen.setdefault(loop.group, []).append(loop)
        return list(chosen.values())


def session_tables(root: Path) -> list[Path]:
    """Tables of all sessions, sorted."""
    return sorted(path for path in root.glob(f"*/{TABLE}") if not path.parent.name.startswith("."))


def read_table(path: Path) -> list[dict[str, str]]:
    """Read the table of a session. Raises DataError if it is invalid."""
    try:
        rows = records(path)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a CSV in UTF-8 ({error}): write it again.") from error
    if not rows or not set(COLUMNS) <= set(rows[0]):
        columns = ", ".join(map(str, rows[0])) if rows else "no rows"
        raise DataError(f"{path} must have a row per loop and the columns {', '.join(COLUMNS)}; it has {columns}.")
    for row in rows:
        try:
            bars, seconds = number(row["bars"]), number(row["duration_s"])
        except ValueError:
            bars = seconds = 0.0
        if seconds <= 0 or round(bars) < 1 or abs(bars - round(bars)) > 0.01:
            raise DataError(f"{path}: {row['file']} has {row['bars']} bars in {row['duration_s']} s, expected whole bars.")
    return rows


def bar_length(rows: Sequence[dict[str, str]], rate: int) -> int:
    """Length of a bar in samples, from the longest loop, whose rounded duration is the most precise."""
    longest = max(rows, key=lambda row: number(row["bars"]))
    return round(number(longest["duration_s"]) / round(number(longest["bars"])) * rate)


def read_loop(folder: Path, row: dict[str, str], bar: int, rate: int, channels: int, level: float | None) -> Loop:
    """Decode a loop, trimmed or padded to whole bars of `bar` samples and normalised to `level` dB of full scale (None: not).

    Raises:
        DataError: the loop does not decode, is silent, or has another length.
    """
    path, bars = folder / row["file"], round(number(row["bars"]))
    sound = read_sound(path, rate, channels)
    if abs(len(sound) - bars * bar) > TOLERANCE_S * rate:
        raise DataError(
            f"{path} lasts {len(sound) / rate:.2f} s, but {bars} bars of its session last {bars * bar / rate:.2f} s: "
            f"correct {TABLE} or leave it out."
        )
    sound = np.pad(sound[: bars * bar], ((0, max(0, bars * bar - len(sound))), (0, 0)))
    return Loop(Path(row["file"]).stem, row["role"], bars, leveled(sound, level, path))


def read_sound(path: Path, rate: int, channels: int) -> np.ndarray:
    """Read a whole file as (samples, channels) float32 at `rate`, downmixed for one channel. Raises DataError if damaged."""
    import soxr

    with AudioSource(path, mono=channels == 1) as source:
        sound = np.concatenate(list(source.blocks()))
    if source.damage:
        raise DataError(f"{path}: {source.damage}; replace it or leave it out.")
    sound = sound.reshape(len(sound), -1)
    if sound.shape[1] not in (1, channels):
        raise DataError(f"{path} has {sound.shape[1]} channels, expected {channels}: set --data.channels.")
    if source.rate != rate:
        sound = reading.require_finite(soxr.resample(sound, source.rate, rate, quality=reading.RESAMPLER), path)
    return np.repeat(sound, channels // sound.shape[1], axis=1)


def leveled(sound: np.ndarray, level: float | None, path: Path) -> np.ndarray:
    """Normalise to a level in dB of full scale with a peak of at most PEAK. Raises DataError for silent or constant audio."""
    sound = sound - sound.mean(0, dtype=np.float64).astype(np.float32)
    power = float(np.mean(np.square(sound, dtype=np.float64)))
    if power < 10 ** (SILENT_DB / 10):
        raise DataError(f"{path} is silent, {10 * np.log10(power + 1e-12):.0f} dB of full scale: leave it out.")
    gain = 1.0 if level is None else 10 ** (level / 20) / power**0.5
    return sound * np.float32(min(gain, PEAK / np.abs(sound).max()))


def store_sessions(root: Path, folder: Path, rate: int, channels: int, level: float | None, strict: bool, more: Callable) -> None:
    """Decode all sessions below `root` into WAV files and an index in `folder`; `more(name, bar)` returns further loops.

    Unusable loops are left out, or raise their DataError if strict.
    """
    sessions = []
    for table in progress(session_tables(root), "decoding sessions of loops, once", unit="session"):
        rows = read_table(table)
        bar = bar_length(rows, rate)
        with ThreadPoolExecutor(4) as pool:
            decoded = list(pool.map(lambda row: _try(strict, table.parent, row, bar, rate, channels, level), rows))  # noqa: B023
        loops = [loop for loop in decoded if loop is not None]
        kept = [entry for role in sorted({loop.role for loop in loops}) for entry in _split(loops, role, rate)]
        kept += more(table.parent.name, bar)
        (folder / table.parent.name).mkdir(parents=True)
        for loop, _, _ in kept:
            write_wav(folder / table.parent.name / f"{loop.role}-{loop.name}.wav", loop.sound, rate)
        lines = [[loop.name, loop.role, loop.bars, group, split] for loop, group, split in kept]
        sessions.append({"session": table.parent.name, "bar": bar, "loops": lines})
    (folder / "index.json").write_text(json.dumps(sessions, indent=1), encoding="utf-8")


def _try(strict: bool, *args) -> Loop | None:
    try:
        return read_loop(*args)
    except DataError as error:
        if strict:
            raise
        log.warning("Left out: %s", error)
        return None


def _split(loops: Sequence[Loop], role: str, rate: int) -> list[tuple[Loop, str, str]]:
    """Loops of a role with their group (its first name) and split."""
    loops = sorted((loop for loop in loops if loop.role == role), key=lambda loop: loop.name)
    prints = [bar_prints(downmix(loop.sound)[0], loop.bars, rate) for loop in loops]
    groups = variant_groups([loop.name for loop in loops], prints)
    names = [loops[group[0]].name for group in groups]
    splits = assign_splits(names, [sum(loops[index].bars for index in group) for group in groups])
    return [(loops[index], name, split) for group, name, split in zip(groups, names, splits, strict=True) for index in group]


def write_wav(path: Path, sound: np.ndarray, rate: int) -> None:
    """Write (samples, channels) float32 as 16 bit WAV."""
    soundfile.write(path, reading.to_int16(sound), rate, subtype="PCM_16")


def read_index(folder: Path) -> list[LoopSession]:
    """Read the index of `store_sessions`."""
    sessions = []
    for entry in json.loads((folder / "index.json").read_text(encoding="utf-8")):
        loops = (
            StoredLoop(role, bars, group, split, open_wav(folder / entry["session"] / f"{role}-{name}.wav"))
            for name, role, bars, group, split in entry["loops"]
        )
        sessions.append(LoopSession(entry["session"], entry["bar"], tuple(loops)))
    return sessions
