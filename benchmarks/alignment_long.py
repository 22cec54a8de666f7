"""Alignment of ten minutes from files to times: CPU time and memory per stage, beside Sync Toolbox."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

import tasks
from benchmarks.memory import memory_mb
from datamodules.alignment.degrade import Curve, degrade
from datamodules.alignment.reading import read_score
from datamodules.alignment.sounds import synthesize
from datamodules.audio import render
from datamodules.audio.reading import read_file as read
from datamodules.audio.render import RenderedNote
from datamodules.common.errors import DataError
from datamodules.demo import accompany, cutting, music
from tasks.alignment.metrics import TOLERANCES_MS

SECONDS, EXCERPT_S, RATE, SEED = 600, 30, 44_100, 7
THREADS, CORES, MOST_S, MOST_MB = (1, 2), 2, 60, 2048
ROOT = Path(__file__).parent.parent
TRAINING = ["--trainer.max_epochs", "1", "--trainer.limit_val_batches", "0"]  # a fifth of the demo's: 100 steps


def run(checkpoint: str | None = None) -> None:
    """Print CPU time, wall time and peak memory of an aligning process, per stage, and its accuracy."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        notes = write(folder)
        checkpoint = checkpoint or _trained(folder)
        print(f"{SECONDS // 60} min, stereo, {RATE} Hz, {notes} notes; FrameNet; imports included")
        print(f"{'':44} {'CPU s':>9} {'wall s':>9} {'peak MB':>9}")
        results = [_process(folder, checkpoint, threads) for threads in THREADS]
        for threads, ours in zip(THREADS, results, strict=True):
            _print_ours(ours, threads)
        _beside_peer(folder, results[0])


def write(folder: Path) -> int:
    """Write `score.mid` and a `recording.wav` with varying tempo, another piano and reverb; returns the number of notes."""
    notes = _medley()
    (folder / "score.mid").write_bytes(render.midi_file(notes, {0: 0}, SECONDS + 2))
    curve = Curve(SEED, SECONDS)
    scale = SECONDS / float(curve(np.array(SECONDS)))  # the recording lasts as long as the score
    random, played = np.random.default_rng(SEED), []
    for note in notes:
        start, end = scale * curve(np.array([note.start, note.end]))
        loud = int(np.clip(note.velocity + 12 * np.sin(note.start / 5) + random.normal(0, 6), 20, 120))
        played.append(note._replace(start=start, end=end, velocity=loud))
    audio = render.render_mono(render.midi_file(played, {0: 1}, SECONDS + 2), RATE, SECONDS + 2)
    audio = degrade(audio, RATE, "hall", SEED)
    soundfile.write(folder / "recording.wav", np.stack([audio, 0.8 * audio], 1), RATE, subtype="PCM_16")
    return len(notes)


def truth(score_s: np.ndarray) -> np.ndarray:
    """Times in the recording (s) of score times (s)."""
    curve = Curve(SEED, SECONDS)
    return curve(score_s) * (SECONDS / float(curve(np.array(SECONDS))))


def _medley() -> list[RenderedNote]:
    """Notes of alternating chorales and accompanied fiddle tunes, EXCERPT_S each, in strict tempo."""
    random = np.random.default_rng(SEED)
    tunes = [
        tune for tune in music.fiddle_tunes() if (tune.beats, tune.beat_type) in accompany.BEATS and tune.length > 6 * tune.bar
    ]
    chorales = [chorale for chorale in music.chorales() if chorale.beats == 4]
    notes: list[RenderedNote] = []
    for index in range(SECONDS // EXCERPT_S):
        pieces = (chorales, tunes)[index % 2]
        piece = pieces[int(random.integers(len(pieces)))]
        beat = piece.bar / accompany.BEATS[piece.beats, piece.beat_type]
        tempo = random.uniform(70, 110)
        excerpt = cutting.cut(piece, 60 / tempo / beat, 0.0, int(random.integers(-5, 7)), 70, EXCERPT_S)
        lines = list(excerpt.parts)
        if len(lines) == 1:
            style = str(random.choice(list(accompany.COMPING)))
            lines += [accompany.comping(excerpt.grid, style, 48, False), cutting.bass_line(excerpt, index)]
        start = index * EXCERPT_S
        for tone in (tone for line in lines for tone in line if 0 <= tone.start < EXCERPT_S - 0.3):
            first, last = tone.start, min(tone.start + 0.95 * tone.length, EXCERPT_S)
            notes.append(RenderedNote(start + first, start + last, 0, tone.pitch, 64))
    return sorted({(note.start, note.pitch): note for note in notes}.values())


def _trained(folder: Path) -> str:
    """Checkpoint of the demo's network after a fifth of its training."""
    command = [sys.executable, "-m", "tasks.alignment", "fit", "--runs", str(folder), "--name", "short", *TRAINING]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise DataError(f"training failed: {done.stderr.strip().splitlines()[-1]}")
    return str(folder / "alignment/short/checkpoints/last.ckpt")


def _process(folder: Path, checkpoint: str, threads: int) -> dict:
    names = [f"{name}_NUM_THREADS" for name in ("OMP", "MKL", "OPENBLAS", "NUMBA")]
    # Waiting threads spin as under `python -m tasks.alignment`.
    environment = os.environ | {"GOMP_SPINCOUNT": "500"} | dict.fromkeys(names, str(threads))
    code = f"from benchmarks.alignment_long import measure; measure({str(folder)!r}, {checkpoint!r}, {threads})"
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout.splitlines()[-1]) | {"wall": time.perf_counter() - start}


def measure(name: str, checkpoint: str, threads: int) -> None:
    """Print as JSON the time and memory of aligning the files of a folder in this process, and the accuracy."""
    import torch

    from tasks.alignment import inference

    torch.set_num_threads(threads)
    stages = {"imports": (time.process_time(), memory_mb())}

    def clocked(stage: str, work: Callable) -> Callable:
        def timed(*words):
            start = time.process_time()
            result = work(*words)
            stages[stage] = time.process_time() - start, memory_mb()
            return result

        return timed

    align = clocked("checkpoint", lambda: inference.File2Alignment(tasks.load(checkpoint)))()
    inference.decode, inference.timed = clocked("decoding", inference.decode), clocked("times and pictures", inference.timed)
    align.search = clocked("key, tuning, repeats, jumps", align.search)
    align.warp = clocked("features and path", align.warp)
    result = align(Path(name) / "recording.wav", Path(name) / "score.mid")
    error = result.notes_s[:, 0] - truth(result.score.notes.onset)
    summary = (
        f"segments {len(result.segments)}, {result.transposition} semitones, {result.tuning_cents:+.0f} cents; {_shares(error)}"
    )
    print(json.dumps({"cpu": time.process_time(), "peak_mb": memory_mb(), "stages": stages, "summary": summary}))


def _shares(error: np.ndarray) -> str:
    far = np.nan_to_num(np.abs(error), nan=np.inf)  # omitted notes count as errors
    shares = (f"{ms} ms: {100 * np.mean(far < ms / 1000):.1f}" for ms in TOLERANCES_MS)
    return "% of notes within " + ", ".join(shares)


def _print_ours(ours: dict, threads: int) -> None:
    name = f"files to times, {threads} thread{'s' * (threads > 1)}"
    print(f"{name:44} {ours['cpu']:9.1f} {ours['wall']:9.1f} {ours['peak_mb']:9.0f}")
    for stage, (seconds, memory) in ours["stages"].items():
        print(f"  {stage:42} {seconds:9.1f} {'so far':>9} {memory:9.0f}")
    share, memory = ours["cpu"] / MOST_S / CORES, ours["peak_mb"] / MOST_MB
    print(f"  {share:.2f} of {MOST_S} s of {CORES} cores, {memory:.2f} of {MOST_MB} MB; {ours['summary']}")


def _beside_peer(folder: Path, ours: dict) -> None:
    from benchmarks.peers import synctoolbox

    notes = read_score(folder / "score.mid").notes
    try:
        python = synctoolbox.interpreter()
        recording = read(folder / "recording.wav", synctoolbox.RATE)
        synctoolbox.write_pair(folder, "long", recording, synthesize(notes, synctoolbox.RATE))
        peer = synctoolbox.align(folder, python)["long"]
    except DataError as error:
        print(error)
        return
    name = f"{synctoolbox.NAME}, sounds to path, 1 thread"
    print(f"{name:44} {peer['cpu_s']:9.1f} {'':9} {peer['peak_mb']:9.0f}")
    error = np.interp(notes.onset, peer["score_s"], peer["performance_s"]) - truth(notes.onset)
    ratios = peer["cpu_s"] / ours["cpu"], peer["peak_mb"] / ours["peak_mb"]
    print(f"  peer / ours: {ratios[0]:.2f} of the CPU time, {ratios[1]:.2f} of the memory; {_shares(error)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.alignment_long", description=__doc__)
    parser.add_argument("--ckpt", help="run folder or checkpoint of an aligner; else the demo's network is trained briefly")
    run(parser.parse_args().ckpt)
