"""Reading of 1,000 MIDI files as piano rolls, and parsing vs. pretty_midi."""

import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.paired import HEADER, paired
from datamodules.generation.piece import Piece, in_order
from datamodules.generation.reading import read_piece
from datamodules.generation.views import PianoRoll
from datamodules.generation.writing.midi import midi_bytes

FILES, SHARED = 1000, 50
BARS, TICKS, STEPS = 64, 480, 4
LINES = (72, 65, 58, 48)  # middle pitch of each voice


def read_1000(folder: str | Path | None = None) -> None:
    """Print the time for 1,000 files of a folder (repeated if it has fewer), or of synthetic files without a folder.

    Each file is parsed and encoded as a piano roll on the 16th grid.
    """
    with tempfile.TemporaryDirectory() as temporary:
        files = sorted(Path(folder).glob("*.mid")) if folder else _synthetic(Path(temporary))
        files = [files[number % len(files)] for number in range(FILES)]
        view = PianoRoll(steps=STEPS)
        start, cpu, notes, frames = time.perf_counter(), time.process_time(), 0, 0
        for path in files:
            piece = read_piece(path)
            notes += len(piece.notes)
            frames += len(view.encode(piece).frames)
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
        print(f"{FILES} MIDI files, {notes} notes -> {frames} frames: {wall:.2f} s, {cpu:.2f} s of CPU, one thread")
        _against_pretty_midi(files[:SHARED])


def _against_pretty_midi(files: list[Path]) -> None:
    import pretty_midi

    print(HEADER)
    names = [str(path) for path in files]
    result = paired(lambda: [pretty_midi.PrettyMIDI(name) for name in names], lambda: [read_piece(name) for name in names], 3)
    print(result.row(f"{SHARED} files, pretty_midi / as pieces"))


def _synthetic(folder: Path) -> list[Path]:
    """Write synthetic files of four random voices."""
    random = np.random.default_rng(0)
    for number in range(FILES):
        rows = []
        for voice, middle in enumerate(LINES):
            onsets = np.cumsum(random.choice([1, 2, 2, 4], 8 * BARS)) * TICKS // STEPS
            onsets = onsets[onsets < BARS * 4 * TICKS]
            pitches = np.clip(middle + np.cumsum(random.integers(-2, 3, len(onsets))) // 2, middle - 12, middle + 12)
            lasting = np.append(np.diff(onsets), TICKS)
            rows.append(np.stack([onsets, lasting, pitches, np.full(len(onsets), 80), np.full(len(onsets), voice)], 1))
        piece = Piece(in_order(np.concatenate(rows)), TICKS, (4 * BARS + 1) * TICKS)
        (folder / f"{number:04d}.mid").write_bytes(midi_bytes(piece))
    return sorted(folder.glob("*.mid"))
