"""Audio of a `Sound`: decoded files, or MIDI rendered, detuned and degraded; renderings are cached."""

import hashlib
from pathlib import Path

import numpy as np

from datamodules.alignment.degrade import Curve, degrade
from datamodules.alignment.listing import Sound
from datamodules.alignment.reading import read_score
from datamodules.alignment.score import Notes, Score
from datamodules.audio import reading, render
from datamodules.audio.midi_file import DRUMS
from datamodules.common import checksum
from datamodules.common.cache import cache_root, probe, write_atomically
from datamodules.common.errors import DataError
from datamodules.common.workers import in_processes

EMBEDDED = "embedded"
RELEASE_S = 2.0
CHUNK_S, LEAD_S = 120.0, 5.0
"""Duration of the chunks of a long synthesis, and of what is rendered before each, s."""
VERSION = 1
"""Version of the renderer; part of cache keys."""


def fingerprint(sound: Sound) -> str:
    """Hash (20 hex digits) of content and processing of a sound. Raises DataError if the file cannot be read."""
    # Defaults are left out, so that a new field of `Sound` preserves existing cache keys.
    usual = Sound._field_defaults
    changes = {name: value for name, value in sound._asdict().items() if name not in ("path", "font") and value != usual[name]}
    digest = hashlib.sha256(f"{VERSION} {changes!r}".encode())
    font = None if sound.font is None else _font(sound.font)
    try:
        if font is None:
            digest.update(probe(sound.path).encode())
        else:
            digest.update(sound.path.read_bytes() + f"{font.name}|{font.stat().st_size}".encode())
    except OSError as error:
        raise DataError(f"{sound.path} cannot be read ({error.strerror}): expected a recording or a MIDI file.") from error
    return digest.hexdigest()[:20]


def hear(sound: Sound, rate: int, cache_dir: str | Path | None = None) -> np.ndarray:
    """Samples (samples,) float32 at `rate` Hz. Raises DataError if the file cannot be read or rendered.

    The detuning of audio files is applied by the front end, which shifts its frequencies instead.
    """
    if sound.font is None:
        result = reading.read_file(sound.path, rate)
    else:
        result = _rendered(sound, rate, cache_root(cache_dir) / "alignment" / "sounds")
    return degrade(result, rate, sound.worse, sound.seed) if sound.worse else result


def played(score: Score, curve: int | None) -> Notes:
    """Notes of a score, with the random tempo curve of seed `curve` unless it is None."""
    notes = score.notes
    if curve is None:
        return notes
    warp = Curve(curve, float(notes.offset.max()))
    return notes._replace(onset=warp(notes.onset), offset=warp(notes.offset))


def synthesize(notes: Notes, rate: int, font: str = EMBEDDED, cents: float = 0.0, program: int | None = None) -> np.ndarray:
    """Render notes with their release: (samples,) float32; `program` replaces all programs except drums.

    Raises DataError if the SoundFont is missing or damaged.
    """
    stretch = 2.0 ** (cents / 1200.0)
    midi = _midi(notes, stretch, program)
    # Written slower and resampled faster by the same factor: only the pitch changes.
    try:
        result = render.render_mono(midi, rate, None, _font(font))
    except RuntimeError as error:
        raise DataError(f"the SoundFont {font} cannot be used ({error}): name another .sf2 file, or {EMBEDDED}.") from error
    if cents:
        import soxr

        result = soxr.resample(result, rate * stretch, rate)
    return result.astype(np.float32)


def synthesize_long(notes: Notes, rate: int) -> np.ndarray:
    """`synthesize` with the embedded SoundFont as int16, in chunks, several at once: no other memory grows with it."""
    duration = float(notes.offset.max()) + RELEASE_S
    if duration <= 2 * CHUNK_S:
        return reading.to_int16(synthesize(notes, rate))
    starts = CHUNK_S * np.arange(int(duration / CHUNK_S) + 1)
    result = np.zeros(round(duration * rate) + 1, np.int16)
    chunks = in_processes(_chunk, [(notes, rate, float(start)) for start in starts])
    for start, chunk in zip(starts, chunks, strict=True):
        target = result[round(start * rate) :][: len(chunk)]
        target[:] = chunk[: len(target)]
    return result


def _chunk(notes: Notes, rate: int, start: float) -> np.ndarray:
    """`CHUNK_S` of a synthesis from `start` s; notes that begin up to `LEAD_S` before sound into it."""
    begin = max(0.0, start - LEAD_S)
    inside = (notes.offset > begin) & (notes.onset < start + CHUNK_S)
    if not inside.any():
        return np.zeros(round(CHUNK_S * rate), np.int16)
    part = Notes(*(column[inside] for column in notes))
    part = part._replace(onset=np.maximum(part.onset - begin, 0.0), offset=part.offset - begin)
    return reading.to_int16(synthesize(part, rate)[round((start - begin) * rate) :][: round(CHUNK_S * rate)])


def _rendered(sound: Sound, rate: int, folder: Path) -> np.ndarray:
    clean = sound._replace(worse=None, seed=0)
    path = folder / f"{fingerprint(clean)}-{rate}.npy"
    if checksum.damaged([path]):  # or missing
        notes = played(read_score(sound.path), sound.curve)
        if sound.velocity is not None:
            notes = notes._replace(velocity=np.full_like(notes.velocity, sound.velocity))
        result = reading.to_int16(synthesize(notes, rate, sound.font, sound.cents, sound.program))
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file: np.save(file, result), sealed=True)
    return np.load(path).astype(np.float32) / 32768


def _font(name: str) -> Path:
    path = render.soundfont() if name == EMBEDDED else Path(name).expanduser()
    if not path.is_file():
        raise DataError(f"the SoundFont {path} does not exist: name an .sf2 file, or {EMBEDDED}.")
    return path


def _midi(notes: Notes, stretch: float, program: int | None) -> bytes:
    """MIDI file with a channel per program; from the 15th on programs share a channel."""
    programs = notes.program if program is None else np.where(notes.program < 0, -1, program)
    used = sorted({int(program) for program in programs if program >= 0})
    channels = [channel for channel in range(16) if channel != DRUMS]
    channel = {number: channels[min(index, len(channels) - 1)] for index, number in enumerate(used)} | {-1: DRUMS}
    lines = [
        render.RenderedNote(start * stretch, end * stretch, channel[int(number)], int(pitch), int(velocity))
        for start, end, pitch, velocity, number in zip(
            notes.onset, notes.offset, notes.pitch, notes.velocity, programs, strict=True
        )
    ]
    end = (float(notes.offset.max()) + RELEASE_S) * stretch
    return render.midi_file(lines, {channel[number]: number for number in used}, end)
