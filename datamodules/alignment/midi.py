"""Standard MIDI Files read as scores: notes in seconds of the tempo track, beats and bars of the time signatures."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from datamodules.alignment.metre import beat_length
from datamodules.alignment.score import Origin, Score, notes_of
from datamodules.common.errors import DataError, printable
from datamodules.generation.reading.midi import LYRIC, read_source

LONGEST = 24 * 3600  # s: a file that ends later is damaged
MOST_BEATS = 1e6  # likewise
SHORTEST = 1e-3  # s, of a note whose end is its start


def read_midi(path: str | Path) -> Score:
    """A MIDI file of format 0 or 1; its pedals are not heard of.

    Beats and bars follow the time signatures, 4/4 where there is none; that a piece starts with a pickup, MIDI does not
    say. Raises DataError for a file that is damaged, no MIDI or without notes.
    """
    import symusic

    try:
        score = symusic.Score(str(path))
    except (RuntimeError, ValueError, OSError) as error:
        raise DataError(f"{path} does not read as MIDI ({_reason(error)}): expected a Standard MIDI File (.mid).") from error
    rows = [(n.time, n.duration, n.pitch, n.velocity, -1 if t.is_drum else t.program) for t in score.tracks for n in t.notes]
    if not rows or score.ticks_per_quarter <= 0:
        raise DataError(f"{path} holds no notes: expected a MIDI file of a score or of a performance.")
    onset, duration, pitch, velocity, program = np.array(rows, float).T
    offset = onset + np.maximum(duration, 0)
    seconds = tick_clock([(tempo.time, tempo.mspq) for tempo in score.tempos], score.ticks_per_quarter)
    start, stop = seconds(onset), seconds(offset)
    if stop.max() > LONGEST:
        raise DataError(f"{path} is damaged: its last note ends after {stop.max() / 3600:.0f} hours.")
    notes = notes_of(start, np.maximum(stop, start + SHORTEST), pitch, np.clip(velocity, 1, 127), program)
    signatures = [(s.time, s.numerator, s.denominator) for s in score.time_signatures]
    beats, bars = _grid(signatures, score.ticks_per_quarter, offset.max(), path)
    origins = _origins(score, path)
    order = np.lexsort((pitch.astype(np.int16), start))  # of `notes_of`
    return Score(notes, seconds(beats), seconds(bars), str(path), origins=tuple(origins[i] for i in order))


def _origins(score, path: str | Path) -> list[Origin]:
    """Name of each note's track, and the lyric event of that track at its onset."""
    sung = _lyrics(Path(path).read_bytes())
    return [
        Origin(printable(track.name.strip()), lyric=sung.get((note.time, note.pitch), ""))
        for track in score.tracks
        for note in track.notes
    ]


def _lyrics(data: bytes) -> dict[tuple[int, int], str]:
    """Syllables by tick and pitch of the notes that they stand beside in a file."""
    if b"\xff\x05" not in data:
        return {}
    try:
        source = read_source(data)
    except (ValueError, IndexError):  # symusic reads more than the events that are in order
        return {}
    syllables = {
        (number, event.tick): _text(event.message)
        for number, events in enumerate(source.tracks)
        for event in events
        if event.meta == LYRIC
    }
    beside = ((note, syllables.get((note.track, note.onset), "")) for note in source.notes())
    return {(note.onset, note.pitch): syllable for note, syllable in beside if syllable}


def _text(message: bytes) -> str:
    """Text of a meta event, UTF-8 or else Latin-1, without the signs by which karaoke files begin lines."""
    length = next(index for index in range(2, len(message)) if message[index] < 0x80) + 1
    try:
        text = message[length:].decode()
    except UnicodeDecodeError:
        text = message[length:].decode("latin-1")
    return printable(text).strip().lstrip("/\\")


def _reason(error: Exception) -> str:
    said = (str(error).splitlines() or [""])[0].removeprefix("MiniMidi: ").rstrip(" .!")
    return said or type(error).__name__


def tick_clock(tempi: Sequence[tuple[int, int]], ticks: int) -> Callable[[np.ndarray], np.ndarray]:
    """The function from ticks to seconds. tempi: (tick, microseconds a quarter note); of several at one tick the last holds."""
    tempo = {0: 500_000, **{at: max(length, 1) for at, length in sorted(tempi, key=lambda row: row[0])}}
    at, length = np.array(list(tempo), float), np.array(list(tempo.values()), float) / (1e6 * ticks)
    passed = np.concatenate([[0.0], np.cumsum(np.diff(at) * length[:-1])])

    def seconds(tick: np.ndarray) -> np.ndarray:
        place = np.searchsorted(at, tick, side="right") - 1
        return passed[place] + (tick - at[place]) * length[place]

    return seconds


def _grid(signatures: list[tuple[int, int, int]], ticks: int, end: float, path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Ticks of the beats and of the bars before `end`; every time signature begins a bar."""
    valid = {at: (over, under) for at, over, under in sorted(signatures) if over > 0 and 0 < under <= 64 and at < end}
    changes = sorted(({0: (4, 4)} | valid).items())
    beats, bars = [], []
    for (at, (over, under)), until in zip(changes, [*(at for at, _ in changes[1:]), max(end, 1)], strict=True):
        step = beat_length(over, under) * ticks
        if (until - at) / step > MOST_BEATS:
            raise DataError(f"{path} is damaged: it lasts more than {MOST_BEATS:.0e} beats.")
        beats.append(np.arange(at, until, step))
        bars.append(np.arange(at, until, over * 4 / under * ticks))
    return np.concatenate(beats), np.concatenate(bars)
