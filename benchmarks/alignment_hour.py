"""Alignment of an hour with an hour of score with three jumps, and ten minutes of stereo: time, memory and median error.

Files to times in a process of its own, imports included, on two threads. The recordings are synthesized once, in the temporary
folder of the machine. `python -m benchmarks.alignment_hour --minutes 15` measures a shorter piece.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from benchmarks import alignment_long
from benchmarks.alignment_engine import LIMIT_MB
from benchmarks.alignment_material import RATE
from datamodules.alignment.degrade import Curve
from datamodules.alignment.reading import read_score
from datamodules.alignment.score import Notes, Score, notes_of
from datamodules.alignment.sounds import synthesize
from datamodules.alignment.warped import write_midi

MINUTES, THREADS, SEED = 60, 2, 16
MOST_MB, MOST_S, STEREO_S = 1500, 60, 15
"""Goals: memory and wall time of the hour, wall time of ten minutes of stereo."""
BEAT_S, BEATS = 0.5, 4
PLAYED = ((0.0, 0.333), (0.383, 0.667), (0.611, 0.833), (0.867, 1.0))
"""Shares of the score in the recording's order: a skip, a repeat, a skip."""
CHUNK_S = 300.0
ROOT = Path(__file__).parent.parent


class Files(NamedTuple):
    """Recording, its score, and true times."""

    recording: Path
    score: Path
    truth: Path  # (events, 2) in the recording's order: s in the score, s in the recording


def run(minutes: int = MINUTES) -> None:
    """Print time, memory and error of both."""
    hour, stereo = prepared(f"piece_{minutes}", lambda folder: write(folder, minutes)), prepared("stereo", write_stereo)
    print(f"{'':34} {'wall s':>8} {'CPU s':>8} {'peak MB':>8} {'median ms':>10} {'<50 ms':>8}")
    for name, files, goal in (
        (f"{minutes} min, three jumps", hour, f"{MOST_S} s, {MOST_MB} MB for an hour"),
        (f"{alignment_long.SECONDS // 60} min, stereo, no jump", stereo, f"{STEREO_S} s"),
    ):
        _print(name, _process(files), goal)
    print(f"true: {_spans([(first * minutes * 60, last * minutes * 60) for first, last in PLAYED])}")


def _print(name: str, result: dict, goal: str) -> None:
    if "error" in result:
        print(f"{name:34} {result['error']}; goal: {goal}", flush=True)
        return
    numbers = f"{result['wall']:8.1f} {result['cpu']:8.1f} {result['peak_mb']:8.0f}"
    print(f"{name:34} {numbers} {result['median_ms']:10.0f} {result['within']:8.1f}  goal: {goal}")
    print(f"  {result['call_s']:.1f} s without imports; segments: {_spans(result['segments'])}", flush=True)


def _spans(spans: list) -> str:
    return ", ".join(f"{first:.0f}-{last:.0f} s" for first, last in spans)


# Measured process


def _process(files: Files) -> dict:
    names = [f"{name}_NUM_THREADS" for name in ("OMP", "MKL", "OPENBLAS", "NUMBA")]
    environment = os.environ | {"GOMP_SPINCOUNT": "500"} | dict.fromkeys(names, str(THREADS))
    code = f"from benchmarks.alignment_engine import measure; measure(*{[str(path) for path in files]!r}, {THREADS})"
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        return {"error": f"failed after {time.perf_counter() - start:.0f} s (limit {LIMIT_MB} MB): {reason}"}
    return json.loads(done.stdout.splitlines()[-1]) | {"wall": time.perf_counter() - start}


# Files


def prepared(name: str, make: Callable[[Path], None]) -> Files:
    """Files in the temporary folder of the machine, written by `make(folder)` if missing or of another version of this file."""
    version = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    folder = Path(tempfile.gettempdir()) / f"quintet_{Path(__file__).stem}_{name}_{version}"
    if not folder.is_dir():
        with tempfile.TemporaryDirectory(dir=folder.parent) as partial:
            make(Path(partial))
            shutil.copytree(partial, folder)
    return Files(folder / "recording.wav", folder / "score.mid", folder / "truth.npy")


def write_stereo(folder: Path) -> None:
    """Write the recording of `benchmarks.alignment_long` and its score."""
    alignment_long.write(folder)
    onset = np.unique(read_score(folder / "score.mid").notes.onset)
    np.save(folder / "truth.npy", np.stack([onset, alignment_long.truth(onset)], 1))


def write(folder: Path, minutes: int) -> None:
    """Write a long score and a recording of it with jumps between bars."""
    score = long_score(round(60 * minutes / BEAT_S / BEATS))
    (folder / "score.mid").write_bytes(write_midi(score.notes, score.beats, score.bars))
    parts, start, truth = [], 0.0, []
    for span in PLAYED:
        first, last = score.bars[[min(round(share * len(score.bars)), len(score.bars) - 1) for share in span]]
        inside = (first <= score.notes.onset) & (score.notes.onset < last)
        part = [column[inside] for column in score.notes[:3]]
        truth.append(np.stack([np.unique(part[0]), np.unique(part[0]) - first + start], 1))
        parts.append((part[0] - first + start, np.minimum(part[1], last) - first + start, part[2]))
        start += last - first
    curve = Curve(SEED, start)
    onset, offset, pitch = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    soundfile.write(folder / "recording.wav", synthesized(notes_of(curve(onset), curve(offset), pitch)), RATE, subtype="PCM_16")
    events = np.concatenate(truth)
    np.save(folder / "truth.npy", np.stack([events[:, 0], curve(events[:, 1])], 1))


def long_score(bars: int) -> Score:
    """Chords on every beat of random roots and a melody in eighths, which never come back."""
    random, beats = np.random.default_rng(SEED), BEAT_S * np.arange(bars * BEATS)
    roots = 48 + random.choice((0, 2, 4, 5, 7, 9, 11), len(beats))
    chords = [(beats, beats + BEAT_S, roots + step) for step in (0, 4, 7)]
    steps = random.choice((-4, -2, -1, 1, 2, 3, 5), 2 * len(beats))
    eighths = BEAT_S / 2 * np.arange(len(steps))
    melody = 64 + np.abs((np.cumsum(steps) + 20) % 40 - 20)  # reflected at both ends of its range
    columns = zip(*chords, (eighths, eighths + BEAT_S / 2, melody), strict=True)
    return Score(notes_of(*(np.concatenate(column) for column in columns)), beats, beats[::BEATS], "long.mid")


def synthesized(notes: Notes) -> np.ndarray:
    """Sound of notes (samples,), rendered in parts of CHUNK_S to save memory."""
    end = float(notes.offset.max())
    sound = np.zeros(round((end + 10.0) * RATE), np.float32)
    for start in np.arange(0.0, end, CHUNK_S):
        inside = (start <= notes.onset) & (notes.onset < start + CHUNK_S)
        part = notes_of(notes.onset[inside] - start, notes.offset[inside] - start, notes.pitch[inside])
        audio = synthesize(part, RATE, program=1)
        first = round(start * RATE)
        sound[first : first + len(audio)] += audio[: len(sound) - first]
    return np.clip(sound, -1.0, 1.0 - 2.0**-15)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.alignment_hour", description=__doc__)
    parser.add_argument("--minutes", type=int, default=MINUTES, help="duration of the score")
    run(parser.parse_args().minutes)
