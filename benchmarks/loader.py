"""Loading of crops: mp3 by seeking, packed memory map, and memory of workers over 20 epochs."""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch.utils.data import DataLoader

from datamodules.audio import reading
from datamodules.audio.windows import Window
from datamodules.common.base import EpochSampler
from datamodules.common.input_spec import TaggingSpec
from datamodules.tagging.mtat import MTAT
from datamodules.tagging.tags import published

RATE, SECONDS, CLIPS, EPOCHS = 16_000, 29.1, 384, 20
WINDOW = Window(RATE, 65_792, 256, 256)  # the paper's chunk of 256 frames


def run() -> None:
    """Print crops per second of each way to read MTAT-like clips (29.1 s, 16 kHz, 32 kbps mp3), and memory per epoch."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = _write_set(Path(folder))
        print(f"{CLIPS} clips of {SECONDS} s, crops of {WINDOW.samples} samples; CPU s of one process unless said otherwise\n")
        print(f"{'':44} {'crops/s':>9} {'ms':>8}  (per CPU second; wall clock in brackets)")
        direct, packed = (_data(root, pack) for pack in ("never", "build"))
        whole = _rate(lambda clip: reading.read_file(direct.index.audio / str(direct.index.paths[clip]), RATE), 60)
        print(_row("mp3: decode the whole clip (peer)", whole))
        print(_row("mp3: seek and decode the crop", _rate(_crops(direct), 600)))
        print(_row("pack: crop", _rate(_crops(packed), 10_000)))
        for workers in (0, 1, 2):
            print(_row(f"pack: batches of 16, {workers} workers, wall clock", _batches(_data(root, "require"), workers)))
        _memory(_data(root, "require", num_workers=2))
        _memory(_data(root, "never", num_workers=2), epochs=5)


def _write_set(root: Path) -> Path:
    """Write a set in MTAT's layout, with 16 different sounds."""
    random = np.random.default_rng(0)
    time_s = np.arange(round(SECONDS * RATE)) / RATE
    sounds = []
    for i in range(16):
        sound = 0.3 * np.sin(2 * np.pi * (110 + 40 * i) * time_s) * (0.6 + 0.4 * np.sin(2 * np.pi * (0.5 + i / 8) * time_s))
        path = root / "sound.mp3"
        soundfile.write(
            path, sound + 0.02 * random.standard_normal(len(sound)), RATE, bitrate_mode="CONSTANT", compression_level=0.85
        )
        sounds.append(path.read_bytes())
    tags = published("mtat")
    lines = ["\t".join(["clip_id", *tags, "mp3_path"])]
    for i in range(CLIPS):
        path = f"{i % 12:x}/clip_{i:04}.mp3"
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_bytes(sounds[i % 16])
        lines.append("\t".join([str(i), *(str(int(on)) for on in random.random(50) < 0.1), path]))
    (root / "annotations_final.csv").write_text("\n".join(lines) + "\n")
    return root


def _data(root: Path, pack: str, **options) -> MTAT:
    data = MTAT(str(root), subset="full", pack=pack, cache_dir=str(root / "cache"), **options)
    data.connect(TaggingSpec(WINDOW))
    return data


def _crops(data: MTAT) -> Callable[[int], object]:
    crops = data.train_set()
    return lambda item: crops[item % len(crops), item]


def _rate(read: Callable[[int], object], count: int) -> tuple[float, float]:
    """Best of three: (items per CPU second, items per second)."""
    best = (0.0, 0.0)
    for turn in range(3):
        cpu, wall = time.process_time(), time.perf_counter()
        for item in range(count):
            read((turn * count + item) % CLIPS)
        best = max(best, (count / (time.process_time() - cpu), count / (time.perf_counter() - wall)))
    return best


def _batches(data: MTAT, workers: int, count: int = 12_800) -> tuple[float, float]:
    """Crops per second of wall clock as they arrive in batches of 16, after the first 50."""
    order = [(item % CLIPS, item) for item in range(count)]
    loader = DataLoader(data.train_set(), 16, sampler=order, num_workers=workers, collate_fn=data.collate)
    arrived = 0
    for i, batch in enumerate(loader):
        if i == 50:
            began, arrived = time.perf_counter(), 0
        arrived += len(batch.audio)
    rate = arrived / (time.perf_counter() - began)
    return rate, rate


def _row(name: str, rate: tuple[float, float]) -> str:
    return f"{name:44} {rate[0]:9.0f} {1000 / rate[0]:8.3f}  ({rate[1]:.0f}/s)"


def _memory(data: MTAT, epochs: int = EPOCHS) -> None:
    """Private memory of this process and its workers after each epoch, and the packs' mapped pages apart."""
    loader = data.train_dataloader()
    assert isinstance(loader.sampler, EpochSampler)
    seen = []
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        for _ in loader:
            pass
        processes = [os.getpid(), *(worker.pid for worker in loader._iterator._workers)]
        seen.append(np.sum([_smaps(pid) for pid in processes], axis=0))
    kind = "pack" if data.pack == "require" else "mp3"
    print(
        f"\nmemory of the process and 2 workers, {kind}, MB after epoch: private (mapped pack pages, shared with the disk cache)"
    )
    for epoch in sorted({0, 1, 4, 9, epochs - 1} & set(range(epochs))):
        print(f"  epoch {epoch + 1:2}: {seen[epoch][0]:8.1f} ({seen[epoch][1]:.1f})")


def _smaps(pid: int) -> tuple[float, float]:
    """(private and anonymous, file-backed) MB of the proportional set of a process."""
    fields = dict(line.split(":") for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    kilobytes = {name: int(value.split()[0]) for name, value in fields.items() if value.strip().endswith("kB")}
    return kilobytes["Pss_Anon"] / 1024, kilobytes["Pss_File"] / 1024
