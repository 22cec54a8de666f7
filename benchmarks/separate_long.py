"""Separation of ten minutes with X-UMX: time and peak memory, beside Open-Unmix's Separator."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import soundfile
import torch
from torch import Tensor

from benchmarks.memory import memory_mb
from benchmarks.paired import HEADER, paired
from models.separation import UMX
from tasks.separation.inference import Audio2Stems, File2Stems, SeparationOptions

RATE, SOURCES = 44_100, ["drums", "bass", "other", "vocals"]
LONG_S, SHORT_S, PAIRED_S = 600, 120, 60
CHILD = "import sys; from benchmarks.separate_long import measure; measure(sys.argv[1], int(sys.argv[2]))"


def run() -> None:
    """Print CPU time and peak memory for 2 and 10 minutes in separate processes, then ratios."""
    torch.set_num_threads(1)
    print("X-UMX, 35,573,392 random parameters; stereo noise at 44.1 kHz, wav to four wavs, one Wiener iteration; one thread")
    print(f"{'':44} {'CPU s':>9} {'x real time':>12} {'peak MB':>9} {'beside weights and libraries':>30}")
    for seconds in (SHORT_S, LONG_S):
        _child("ours", seconds)
    if find_spec("openunmix") is None:
        print("Open-Unmix's Separator: not installed here (pip install openunmix), so not compared")
        return
    _child("openunmix", SHORT_S)
    audio = 0.1 * torch.randn(2, PAIRED_S * RATE)
    ours, peer = separator(), open_unmix()
    print(f"\n{PAIRED_S} s in memory, CPU time, in turns\n{HEADER}")
    print(paired(lambda: peer(audio), lambda: ours(audio), 3).row("four stems, one Wiener iteration"))


def separator() -> Callable[[Tensor], Tensor]:
    """X-UMX of the paper's size: (channels, samples) -> (sources, channels, samples)."""
    return Audio2Stems(UMX(len(SOURCES)).eval(), SeparationOptions()).native


def open_unmix() -> Callable[[Tensor], Tensor]:
    """Open-Unmix's Separator with four networks of that size."""
    from openunmix.model import OpenUnmix, Separator

    nets = {name: OpenUnmix(nb_bins=2049, max_bin=1487).eval() for name in SOURCES}
    peer = Separator(nets, niter=1, sample_rate=float(RATE)).eval()
    with torch.no_grad():
        peer.freeze()

    @torch.no_grad()
    def separate(audio: Tensor) -> Tensor:
        return peer(audio[None])[0]

    return separate


def measure(who: str, seconds: int) -> None:
    """Print the row of one implementation on a file of `seconds`; run in a new process."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "noise.wav"
        _write(path, seconds)
        work = _files(path) if who == "ours" else _whole(path)
        before = memory_mb("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        start = time.process_time()
        work()
        cpu, peak = time.process_time() - start, memory_mb("VmHWM")
    name = f"{who}: {seconds // 60} min"
    print(f"{name:44} {cpu:9.1f} {cpu / seconds:12.3f} {peak:9.0f} {peak - before:30.0f}", flush=True)


def _files(path: Path) -> Callable[[], None]:
    from tasks.separation.stem_files import StemFiles

    net = UMX(len(SOURCES)).eval()
    module = SimpleNamespace(net=net, sources=SOURCES, inference=SeparationOptions())

    def work() -> None:
        song = File2Stems(module)(path)
        with StemFiles(path.parent / "stems", SOURCES, song.sample_rate, song.channels, song.frames, "wav", "PCM_16") as files:
            for stems in song:
                files.write(stems)

    return work


def _whole(path: Path) -> Callable[[], None]:
    separate = open_unmix()

    def work() -> None:
        audio, _ = soundfile.read(path, dtype="float32")
        for name, stem in zip(SOURCES, separate(torch.from_numpy(audio.T)), strict=True):
            soundfile.write(path.parent / f"{name}.wav", stem.T.numpy(), RATE)

    return work


def _write(path: Path, seconds: int) -> None:
    random = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", RATE, 2, subtype="PCM_16") as file:
        for _ in range(seconds):
            file.write((0.1 * random.standard_normal((RATE, 2))).astype(np.float32))


def _child(who: str, seconds: int) -> None:
    subprocess.run([sys.executable, "-c", CHILD, who, str(seconds)], cwd=Path(__file__).parent.parent, check=True)
