"""MIDI synthesis: notes -> Standard MIDI File -> samples (samples, 2) at 48 kHz with one fixed gain.

Rendered by `midirenderer` (a wheel), or by a `fluidsynth` program if that cannot be imported. The default SoundFont is
TimGM6mb (GPL-2) of the `pretty_midi` wheel.
"""

import importlib.util
import io
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from datamodules.audio.midi_file import file_bytes
from datamodules.common.errors import DataError
from datamodules.common.progress import progress
from datamodules.common.workers import in_processes

RATE = 48_000
# Velocity 100 peaks near 0.05; four lines and drums at full velocity stay just under full scale. Clips are not
# normalised one by one, since loudness is a label.
GAIN = 2.0
# At its default of 0.2 fluidsynth 2.3 plays most programs 6.6 dB below midirenderer (a few 3.5 dB above).
FLUIDSYNTH_GAIN = 0.43
TICKS = 480
TICKS_PER_SECOND = 2 * TICKS  # at the default tempo of 120 quarter notes a minute
# The SoundFont's drum kits, as programs on channel 10.
KITS = {"standard": 0, "room": 8, "power": 16, "electronic": 24, "analog": 25, "jazz": 32, "brush": 40, "orchestra": 48}
VOLUME, EXPRESSION = 7, 11


class RenderedNote(NamedTuple):
    """MIDI note: start and end in s, channel 0-15 (9: drums), pitch and velocity 1-127."""

    start: float
    end: float
    channel: int
    pitch: int
    velocity: int


class Control(NamedTuple):
    """MIDI control change: time in s, channel 0-15, controller number and value 0-127."""

    time: float
    channel: int
    number: int
    value: int


def midi_file(notes: Iterable[RenderedNote], programs: Mapping[int, int], end: float, controls: Iterable[Control] = ()) -> bytes:
    """Encode a Standard MIDI File, format 0. `programs`: channel -> program; `end`: end of the file, s."""
    # Order within a tick: programs, controls, note-offs, note-ons, so that repeated notes sound again.
    events = [(0, 0, bytes((0xC0 | channel, program))) for channel, program in programs.items()]
    events += [(_ticks(c.time), 1, bytes((0xB0 | c.channel, c.number, c.value))) for c in controls]
    for note in notes:
        first = _ticks(note.start)
        events.append((first, 3, bytes((0x90 | note.channel, note.pitch, note.velocity))))
        events.append((max(first + 1, _ticks(note.end)), 2, bytes((0x80 | note.channel, note.pitch, 0))))
    return file_bytes([sorted(events)], TICKS, _ticks(end))


def _ticks(seconds: float) -> int:
    return round(seconds * TICKS_PER_SECOND)


def render(midi: bytes, seconds: float | None = None, font: Path | None = None) -> np.ndarray:
    """Render a MIDI file to (samples, 2) float32 at 48 kHz, times GAIN, trimmed or zero-padded to `seconds` if given.

    font: SoundFont (.sf2), default the embedded one. Raises DataError if there is no renderer or no SoundFont.
    """
    samples, _ = soundfile.read(io.BytesIO(_renderer()(midi, font or soundfont())), dtype="float32", always_2d=True)
    if seconds is not None:
        length = round(seconds * RATE)
        samples = np.pad(samples[:length], ((0, max(0, length - len(samples))), (0, 0)))
    return samples * np.float32(GAIN)


def render_mono(midi: bytes, rate: int, seconds: float | None = None, font: Path | None = None) -> np.ndarray:
    """Render a MIDI file to mono (samples,) float32 in [-1, 1) at `rate` Hz."""
    import soxr

    left, right = render(midi, seconds, font).T
    mono = soxr.resample((left + right) * np.float32(0.5), RATE, rate)
    return np.clip(mono, -1.0, 1.0 - 2.0**-15)


def parallel(function: Callable, calls: Sequence[tuple], processes: int | None, description: str) -> None:
    """Run `function(*call)` for every call in `processes` (default: one per core) with a progress bar; re-raises errors."""
    _renderer()  # raises here if there is none; the SoundFont is read once for all forked processes
    _font_bytes(soundfont())
    for _ in progress(in_processes(function, calls, processes), description, len(calls), "clip"):
        pass


@cache
def soundfont() -> Path:
    """SoundFont of the pretty_midi wheel, located without importing the package."""
    spec = importlib.util.find_spec("pretty_midi")
    path = Path(spec.origin).with_name("TimGM6mb.sf2") if spec and spec.origin else None
    if path is None or not path.is_file():
        raise DataError("the SoundFont TimGM6mb.sf2 of the package pretty_midi is missing: pip install pretty_midi")
    return path


@cache
def _renderer():
    """Renderer of this machine: (MIDI bytes, SoundFont) -> WAV bytes."""
    try:
        import midirenderer
    except ImportError:
        program = shutil.which("fluidsynth")
        if program is None:
            raise DataError("no MIDI renderer: `pip install midirenderer`, or put a `fluidsynth` program on PATH") from None
        return lambda midi, font: _fluidsynth(program, midi, font)
    return lambda midi, font: midirenderer.render_wave_from(_font_bytes(font), midi)


@lru_cache(maxsize=1)
def _font_bytes(font: Path) -> bytes:
    if not font.is_file():
        raise DataError(f"SoundFont {font} not found: give an .sf2 file, or omit the option for the embedded one")
    return font.read_bytes()


def _fluidsynth(program: str, midi: bytes, font: Path) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.mid"), Path(folder, "out.wav")
        source.write_bytes(midi)
        options = ["-ni", "-q", "-g", str(FLUIDSYNTH_GAIN), "-r", str(RATE), "-F", str(target)]
        done = subprocess.run([program, *options, str(font), str(source)], capture_output=True, text=True)
        if done.returncode or not target.is_file():
            raise DataError(f"{program} could not render: {done.stderr.strip() or 'no reason given'}")
        return target.read_bytes()
