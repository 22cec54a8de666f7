"""Warped scores: score and events -> score with the timing of a recording, and its MIDI file with a tempo per beat."""

import hashlib
from pathlib import Path

import numpy as np

from datamodules.alignment.score import Notes, Score
from datamodules.audio.midi_file import CHANNELS, DRUMS, NAME, file_bytes, meta, metre, tempo
from datamodules.common.cache import cache_root, unwritable, write_atomically

PRECISION = 4e-4  # s: largest timing error of a note
RESOLUTIONS = (480, 960, 1920, 3840, 7680, 15_360, 30_720)  # ticks a quarter note
SLOWEST = 16.0  # s: MIDI has no longer quarter note than 16.8 s
PULSE = 0.5  # s: beat without beats of a score, the MIDI default


def warp(score: Score, events: np.ndarray) -> Score:
    """Warp a score by linear interpolation of events and extrapolation at the slopes of the first and last segment.

    events: (events, 2), rising, from s in the score to s in the other time. Times before the first event are compressed
    to start at 0 s or later. Raises ValueError for fewer than two events.
    """
    events = np.asarray(events, float)
    if len(events) < 2 or np.any(np.diff(events, axis=0) <= 0):
        raise ValueError("a warp needs two or more events, rising in both times")
    (a, b), (c, d) = events[0], events[1]
    (e, f), (g, h) = events[-2], events[-1]
    earliest = min([score.notes.onset.min(), *score.beats[:1], *score.bars[:1], a])
    before = min((d - b) / (c - a), b / (a - earliest) if a > earliest else np.inf)
    after = (h - f) / (g - e)

    def moved(time: np.ndarray) -> np.ndarray:
        inside = np.interp(time, events[:, 0], events[:, 1])
        return np.where(time < a, b - (a - time) * before, np.where(time > g, h + (time - g) * after, inside))

    notes = score.notes._replace(onset=moved(score.notes.onset), offset=moved(score.notes.offset))
    starts = moved(np.array([measure.start for measure in score.measures], float)).tolist()
    measures = tuple(measure._replace(start=start) for measure, start in zip(score.measures, starts, strict=True))
    return score._replace(notes=notes, beats=moved(score.beats), bars=moved(score.bars), measures=measures)


def kept_midi(score: Score, cache_dir: str | Path | None = None) -> Path:
    """Path of the MIDI file of a score in the cache, written if missing; note times are exact to 1 ms."""
    content = write_midi(score.notes, score.beats, score.bars)
    name = f"{Path(score.path).stem}-{hashlib.sha256(content).hexdigest()[:12]}.mid"
    path = cache_root(cache_dir) / "alignment" / "midi" / name
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, lambda file: file.write(content))
        except OSError as error:
            raise unwritable(path.parent, error) from error
    return path


def write_midi(notes: Notes, beats: np.ndarray | None = None, bars: np.ndarray | None = None) -> bytes:
    """Standard MIDI File (format 1, one track per program) of notes, exact to 1 ms.

    beats, bars: s, rising. Each beat is a quarter note with its own tempo, bars are time signatures over 4; None or empty:
    120 beats a minute. Raises ValueError if beats do not rise from 0 s on.
    """
    end = float(notes.offset.max())
    grid = _grid(np.arange(0.0, end + PULSE, PULSE) if beats is None or not len(beats) else np.asarray(beats, float), end)
    ticks = next((t for t in RESOLUTIONS if np.diff(grid).max() / (2 * t) <= PRECISION), RESOLUTIONS[-1])
    tempi, times = _tempi(grid)
    frame = [(beat * ticks, 0, tempo(int(tempi[beat]))) for beat in np.flatnonzero(np.diff(tempi, prepend=-1)).tolist()]
    frame += [(beat * ticks, 0, metre(count, 4)) for beat, count in _signatures(grid, bars)]
    at = np.arange(len(times)) * ticks
    onset, offset = (np.rint(np.interp(time, times, at)).astype(int) for time in (notes.onset, notes.offset))
    tracks = [frame]
    for number, program in enumerate(np.unique(notes.program).tolist()):
        channel = DRUMS if program < 0 else CHANNELS[number % len(CHANNELS)]
        tracks.append([(0, 0, bytes((0xC0 | channel, program)))] if program >= 0 else [(0, 0, meta(NAME, b"drums"))])
        for first, length, pitch, velocity in _sounding(notes, onset, offset, program):
            tracks[-1].append((first, 2, bytes((0x90 | channel, pitch, velocity))))
            tracks[-1].append((first + length, 1, bytes((0x80 | channel, pitch, 0))))
    return file_bytes(tracks, ticks, 0)


def _grid(beats: np.ndarray, end: float) -> np.ndarray:
    """Beats from 0 s until after `end`, none longer than SLOWEST."""
    if beats[0] < 0 or np.any(np.diff(beats) <= 0):
        raise ValueError("beats of a MIDI file must rise from 0 s on")
    usual = float(np.median(np.diff(beats))) if len(beats) > 1 else PULSE
    lead = max(round(beats[0] / usual), int(beats[0] > 0))
    rest = max(int(np.ceil((end - beats[-1]) / usual)), 0) + 1
    whole = np.concatenate([np.arange(lead) * beats[0] / max(lead, 1), beats, beats[-1] + usual * np.arange(1, rest + 1)])
    parts = np.ceil(np.diff(whole) / SLOWEST).astype(int)
    split = [np.linspace(a, b, n, endpoint=False) for a, b, n in zip(whole[:-1], whole[1:], parts, strict=True)]
    return np.concatenate([*split, whole[-1:]])


def _tempi(grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tempo of each beat in microseconds, and the resulting beat times in s, without accumulated rounding errors."""
    micros = np.rint(grid * 1e6).astype(np.int64)
    # An empty beat gets one microsecond, subtracted from later beats.
    micros = np.maximum.accumulate(micros - np.arange(len(micros))) + np.arange(len(micros))
    return np.diff(micros), micros / 1e6


def _signatures(grid: np.ndarray, bars: np.ndarray | None) -> list[tuple[int, int]]:
    """Time signature changes (beat, beats per bar); beats before the first bar form one bar."""
    if bars is None or not len(bars):
        return []
    starts = np.unique(np.abs(grid[:, None] - np.asarray(bars, float)).argmin(0))
    starts = starts if starts[0] == 0 else np.concatenate([[0], starts])
    counts = np.minimum(np.diff(starts), 255)
    counts = np.concatenate([counts, counts[-1:] if len(counts) else [4]])
    return [(int(starts[i]), int(counts[i])) for i in range(len(starts)) if i == 0 or counts[i] != counts[i - 1]]


def _sounding(notes: Notes, onset: np.ndarray, offset: np.ndarray, program: int) -> list[tuple[int, int, int, int]]:
    """Notes (tick, ticks, pitch, velocity) of one program; a repeated pitch ends the previous note."""
    rows: dict[tuple[int, int], tuple[int, int]] = {}
    for i in np.flatnonzero(notes.program == program):
        key = (int(notes.pitch[i]), int(onset[i]))
        length, velocity = max(int(offset[i] - onset[i]), 1), int(notes.velocity[i])
        rows[key] = max(rows.get(key, (0, 0)), (length, velocity))
    ordered, notes_on = sorted(rows), []
    for key, after in zip(ordered, [*ordered[1:], (-1, 0)], strict=True):
        length, velocity = rows[key]
        length = min(length, after[1] - key[1]) if after[0] == key[0] else length
        notes_on.append((key[1], length, key[0], velocity))
    return notes_on
