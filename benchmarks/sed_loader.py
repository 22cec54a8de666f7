"""Loading of sound event clips: decoding, packs, and cached embeddings."""

import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import torch

from datamodules.audio.windows import FrameGrid
from datamodules.common.input_spec import SEDSpec
from datamodules.sed.dcase import DCASE2018
from models.sed import align

RATE, SECONDS, CLIPS = 44_100, 10.0, 192
GRID = FrameGrid(22_100, 366, 4)  # the paper's: 151 frames of a clip


class Kept:
    """Stub of a pretrained network with cached embeddings."""

    kind, sample_rate = "audio", 16_000

    def __init__(self, dim: int) -> None:
        self.dim, self.fingerprint = dim, f"noise-{dim}"

    def extract(self, signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Noise every 60 ms, the hop of VGGish."""
        times = 0.48 + 0.06 * np.arange(151)
        return np.random.default_rng(len(signal)).standard_normal((151, self.dim)).astype(np.float32), times


def run() -> None:
    """Print clips per CPU second and per second of one process, each clip of 10 s at 44.1 kHz, batches of 48."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = _write_set(Path(folder))
        print(f"{CLIPS} clips of {SECONDS:.0f} s, {RATE} to {GRID.sample_rate} Hz, batches of 48 with collate, one process\n")
        print(f"{'':44} {'clips/s CPU':>12} {'clips/s':>9}")
        for name, pack, dims, alignment in (
            ("files: decode and resample (peer)", "never", (), "index"),
            ("pack", "build", (), "index"),
            ("pack and VGGish, by index", "build", (128,), "index"),
            ("pack and VGGish, by time", "build", (128,), "time"),
            ("pack, VGGish and VGG16, by index", "build", (128, 4096), "index"),
            ("pack, VGGish and VGG16, by time", "build", (128, 4096), "time"),
        ):
            cpu, wall = _rate(_data(root, pack, dims, alignment))
            print(f"{name:44} {cpu:12.0f} {wall:9.0f}")


def _write_set(root: Path) -> Path:
    random = np.random.default_rng(0)
    names = [f"Y{k:011d}_0.000_10.000.wav" for k in range(CLIPS)]
    for kind, chosen in (("weak", names[: CLIPS // 2]), ("unlabel_in_domain", names[CLIPS // 2 :])):
        (root / "audio/train" / kind).mkdir(parents=True)
        for name in chosen:
            sound = 0.1 * random.standard_normal(round(SECONDS * RATE))
            soundfile.write(root / "audio/train" / kind / name, sound, RATE, subtype="PCM_16")
    tables = {"weak.csv": "filename\tevent_labels\n" + "".join(f"{name}\tDog\n" for name in names[: CLIPS // 2])}
    tables["unlabel_in_domain.csv"] = "filename\n" + "".join(f"{name}\n" for name in names[CLIPS // 2 :])
    for name, text in tables.items():
        (root / "metadata/train").mkdir(parents=True, exist_ok=True)
        (root / "metadata/train" / name).write_text(text)
    return root


def _data(root: Path, pack: str, dims: tuple[int, ...], alignment: str) -> DCASE2018:
    steps = 2 if pack == "never" else 20
    data = DCASE2018(str(root), batches_per_epoch=steps, pack=pack, cache_dir=str(root / "cache"))
    data.connect(SEDSpec(GRID, partial(align, method=alignment), {str(dim): Kept(dim) for dim in dims}))
    return data


def _rate(data: DCASE2018) -> tuple[float, float]:
    """Best of three epochs: (clips per CPU second, clips per second)."""
    loader, best = data.train_dataloader(), (0.0, 0.0)
    for _ in range(3):
        cpu, wall = time.process_time(), time.perf_counter()
        count = sum(len(batch.names) for batch in loader)
        best = max(best, (count / (time.process_time() - cpu), count / (time.perf_counter() - wall)))
    return best
