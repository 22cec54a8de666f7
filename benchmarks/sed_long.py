"""Sound event detection of ten minutes and of an hour from file to events: time and peak memory."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch

from benchmarks.memory import memory_mb
from models.sed import DetectionCRNN, MelFrontEnd
from tasks.sed.inference import File2Events
from tasks.sed.module import SEDModule

RATE, MINUTES = 44_100, (10, 60)
CHILD = "import sys; from benchmarks.sed_long import measure; measure(sys.argv[1])"


def run() -> None:
    """Print CPU time and peak memory of each length, in separate processes."""
    print("the demo's network with random weights; stereo noise at 44.1 kHz, one thread")
    print(f"{'minutes':>8} {'CPU s':>9} {'x real time':>12} {'beside weights and libraries, MB':>34}")
    for minutes in MINUTES:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "long.flac"
            write(path, minutes)
            subprocess.run([sys.executable, "-c", CHILD, str(path)], check=True)


def write(path: Path, minutes: int) -> None:
    """Write noise with every tenth second louder."""
    random = np.random.default_rng(0)
    second = 0.05 * random.standard_normal((RATE, 2)).astype(np.float32)
    with soundfile.SoundFile(path, "w", RATE, 2) as file:
        for k in range(60 * minutes):
            file.write(np.roll(second, 997 * k, 0) * (3 if k % 10 == 0 else 1))


def measure(path: str) -> None:
    """Detect the events of a file and print a row."""
    torch.set_num_threads(1)
    pools = [[2, 2], [2, 2], [1, 2], [1, 2], [1, 4]]
    mel = MelFrontEnd(16_000, 1024, 320, 64, level="robust")
    classes = [f"class {k}" for k in range(10)]
    detector = SEDModule(
        classes, lambda n: DetectionCRNN(n, mel=mel, channels=[8, 16, 32, 64, 64], pools=pools, hidden=64, layers=1)
    ).eval()
    seconds = soundfile.info(path).duration
    events = File2Events(detector)
    events.scores.scores(0.1 * torch.randn(20 * 16_000), 16_000)
    before, start = memory_mb("VmRSS"), time.process_time()
    events(path)
    used = time.process_time() - start
    print(f"{seconds / 60:8.0f} {used:9.1f} {seconds / used:12.0f} {memory_mb() - before:34.0f}", flush=True)
