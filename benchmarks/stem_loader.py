"""Loading of stems: six-second stereo chunks of MUSDB18-HQ vs. soundfile and plain memory-map copies."""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch.utils.data import DataLoader

from benchmarks.paired import HEADER, paired
from datamodules.separation.musdb import MUSDBHQ, STEMS

RATE, SECONDS, TRACKS, TRACK_S, BATCH, BATCHES = 44_100, 6.0, 8, 60, 16, 24
CHUNKS = BATCH * len(STEMS)  # of one batch: a chunk is 6 s of one stereo file


def run() -> None:
    """Print chunks per second of the training set, single and in batches, and ratios to soundfile."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        data = _data(_write_set(Path(folder)))
        dataset = data.train_set()
        order = [(index, index) for index in range(BATCH * BATCHES)]
        print(f"{TRACKS} tracks of {TRACK_S} s, 44.1 kHz stereo PCM16; chunks of {SECONDS:g} s; one process, disk cache warm\n")
        print(f"{'':44} {'chunks/s':>9}  (per CPU second, median of 5; wall clock in brackets)")
        print(_row("dataset[index, seed]", lambda: _items(dataset, order)))
        print(_row("dataset and collate", lambda: _batches(dataset, data, order)))
        for workers in (0, 1, 2):
            print(_row(f"DataLoader, {workers} workers (wall clock counts)", lambda w=workers: _loader(dataset, data, order, w)))
        print(f"\n{HEADER}")
        ours = paired(lambda: _peer(dataset, order, "float32"), lambda: _batches(dataset, data, order))
        print(ours.row(f"soundfile float32 / ours, {BATCHES} batches"))
        ours = paired(lambda: _peer(dataset, order, "int16"), lambda: _batches(dataset, data, order))
        print(ours.row(f"soundfile int16 / ours, {BATCHES} batches"))
        ours = paired(lambda: _copies(dataset), lambda: _batches(dataset, data, order))
        print(ours.row(f"memory-map copies / ours, {BATCHES} batches"))
        dataset.ring = None
        ours = paired(lambda: _copies(dataset), lambda: _batches(dataset, data, order))
        print(ours.row("the same with a fresh buffer for each batch"))


def _write_set(root: Path) -> Path:
    """Write noise in MUSDB18-HQ's layout."""
    random = np.random.default_rng(0)
    for track in range(TRACKS):
        folder = root / "train" / f"Artist - Title {track}"
        folder.mkdir(parents=True)
        for name in STEMS:
            noise = random.integers(-8192, 8192, (TRACK_S * RATE, 2), np.int16)
            soundfile.write(folder / f"{name}.wav", noise, RATE, subtype="PCM_16")
    return root


def _data(root: Path) -> MUSDBHQ:
    return MUSDBHQ(str(root), seconds=SECONDS, samples_per_track=BATCH * BATCHES // TRACKS, batch_size=BATCH)


def _items(dataset, order: list) -> None:
    for item in order:
        dataset[item]


def _batches(dataset, data: MUSDBHQ, order: list) -> None:
    for start in range(0, len(order), BATCH):
        data.collate(dataset.__getitems__(order[start : start + BATCH]))


def _loader(dataset, data: MUSDBHQ, order: list, workers: int) -> None:
    for _ in DataLoader(dataset, BATCH, sampler=order, num_workers=workers, collate_fn=data.collate):
        pass


def _peer(dataset, order: list, dtype: str) -> None:
    """Reading as in reference code: each chunk by opening its file, converted and stacked."""
    random = np.random.default_rng(0)
    samples = round(SECONDS * RATE)
    for _ in range(0, len(order), BATCH):
        chunks = []
        for chunk in range(CHUNKS):
            wav = dataset.tracks[random.integers(TRACKS)].stems[STEMS[chunk % len(STEMS)]]
            start = int(random.integers(wav.frames - samples))
            sound, _ = soundfile.read(wav.path, samples, start, dtype=dtype, always_2d=True)
            chunks.append(torch.from_numpy(sound))
        torch.stack(chunks)


def _copies(dataset) -> None:
    """Lower bound: chunks copied from memory maps into one buffer."""
    random = np.random.default_rng(0)
    samples = round(SECONDS * RATE)
    maps = [[_mapped(track.stems[name]) for name in STEMS] for track in dataset.tracks]
    out = np.empty((BATCH, len(STEMS), samples, 2), np.int16)
    for _ in range(BATCHES):
        for item in out:
            for index, part in enumerate(item):
                sound = maps[random.integers(TRACKS)][index]
                start = int(random.integers(len(sound) - samples))
                part[:] = sound[start : start + samples]


def _mapped(wav) -> np.ndarray:
    return np.memmap(wav.path, np.int16, "r", wav.offset, (wav.frames, wav.channels))


def _row(name: str, work: Callable[[], object]) -> str:
    """Median of five after one warm-up."""
    work()
    rates = []
    for _ in range(5):
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        rates.append((CHUNKS * BATCHES / (time.process_time() - cpu), CHUNKS * BATCHES / (time.perf_counter() - wall)))
    cpu, wall = (statistics.median(column) for column in zip(*rates, strict=True))
    return f"{name:44} {cpu:9.0f}  ({wall:.0f}/s)"
