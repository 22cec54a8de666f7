"""A data set as one packed int16 memory map: decoded, resampled and mixed down once, then read at random for free.

A pack is a folder of shards (`00000.i16` samples, `00000.npz` their index) with `index.npz` over all of them, and
`levels-KEY.npy` for each extractor whose reference levels were measured. `packing.build` makes one. Samples and levels
end with their checksum.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodules import checksum
from datamodules.cache import cached, fingerprint
from datamodules.errors import DataError

VERSION = 3
FINE, DAMAGED, UNREADABLE = 0, 1, 2

Level = Callable[[Tensor], Tensor]


class Flaw(NamedTuple):
    """A file with something wrong: its path as listed, one sentence, and whether it is used nevertheless."""

    path: str
    message: str
    used: bool


def pack_folder(cache_dir: str | Path | None, name: str, root: Path, paths: Sequence[bytes], rate: int) -> Path:
    """Where the pack of `paths` under `root` at `rate` Hz lies or would lie: the name changes with any file, not with `root`."""
    base = os.fsencode(root) + b"/"
    key = fingerprint(f"{VERSION} {rate} {len(paths)}", ((path, base + path) for path in paths))
    return cached(cache_dir, "packs", f"{name}-{rate}-{key}", whole="index.npz")


def level_key(level: Level, rate: int) -> str:
    """Ten hex digits for what an extractor answers to four fixed signals: its settings, whatever their names.

    Rounded to 0.01 dB, which machines agree on; should they not, the table is computed once more.
    """
    time = torch.arange(rate, dtype=torch.float64) / rate
    noise = torch.from_numpy(np.random.Generator(np.random.PCG64(0)).uniform(-1, 1, rate))
    ramp = torch.linspace(0, 1, rate, dtype=torch.float64)
    signals = torch.stack(
        [noise, torch.sin(2 * torch.pi * 110 * time) * ramp, noise.diff(prepend=noise[:1]) / 2, noise.cumsum(0) / rate]
    )
    with torch.no_grad():
        answer = level((signals * 8192).round().to(torch.int16)).double()
    return hashlib.sha256(answer.mul(100).round().long().numpy().tobytes()).hexdigest()[:10]


class Pack:
    """A finished pack, read by position in the list of paths it was built from.

    Raises DataError where it is damaged. Picklable; maps are opened on first use in each process.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            with np.load(folder / "index.npz", allow_pickle=False) as index:
                self.rate = int(index["rate"])
                self.lengths, self.offsets, self.status = index["lengths"], index["offsets"], index["status"]
                self.per_shard, self._messages = int(index["per_shard"]), index["messages"]
                self.paths = index["paths"]
        except Exception as error:
            raise DataError(f"The index of the pack in {folder} is damaged: run `prepare` to build it again.") from error
        self._maps: dict[int, np.ndarray] = {}

    @staticmethod
    def exists(folder: Path) -> bool:
        """Whether a finished pack lies there."""
        return (folder / "index.npz").is_file()

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_maps": {}}

    def damaged(self) -> list[int]:
        """Shards whose samples are missing, cut short or not as they were written; each is read once a process."""
        shards = {samples_path(self.folder, shard): shard for shard in range(-(-len(self.lengths) // self.per_shard))}
        short = [path for path, shard in shards.items() if not path.is_file() or path.stat().st_size != self._bytes(shard)]
        rest = checksum.damaged([path for path in shards if path not in short], "checking the pack")
        return [shards[path] for path in (*short, *rest)]

    def _bytes(self, shard: int) -> int:
        """Size of a shard's samples on disk."""
        clips = slice(shard * self.per_shard, (shard + 1) * self.per_shard)
        return 2 * int(self.lengths[clips].sum()) + checksum.TRAILER

    def length(self, clip: int) -> int:
        """Samples of a clip; 0 for a file that could not be read."""
        return int(self.lengths[clip])

    claim = length

    def read(self, clip: int, start: int, samples: int) -> np.ndarray:
        """int16 samples `start .. start + samples` of a clip, as far as it goes."""
        if self.status[clip] == UNREADABLE:
            raise DataError(self._why(clip))
        shard = clip // self.per_shard
        if shard not in self._maps:
            self._maps[shard] = self._map(shard)
        begin = int(self.offsets[clip]) + start
        stop = int(self.offsets[clip]) + min(start + samples, int(self.lengths[clip]))
        return np.array(self._maps[shard][begin : max(begin, stop)])

    def whole(self, clip: int) -> np.ndarray:
        """int16 samples of a whole clip."""
        return self.read(clip, 0, self.length(clip))

    def flaws(self) -> list[Flaw]:
        """Files that were damaged or unreadable when the pack was built."""
        return [Flaw(os.fsdecode(self.paths[i]), self._why(i), self.status[i] == DAMAGED) for i in np.flatnonzero(self.status)]

    def levels(self, key: str) -> np.ndarray | None:
        """Reference level of every clip (clips,) float32 dB, if `prepare` stored it for this extractor."""
        path = self.folder / f"levels-{key}.npy"
        return np.load(path, allow_pickle=False) if path.is_file() and not checksum.damaged([path]) else None

    def _why(self, clip: int) -> str:
        return os.fsdecode(self._messages[np.searchsorted(np.flatnonzero(self.status), clip)])

    def _map(self, shard: int) -> np.ndarray:
        path, size = samples_path(self.folder, shard), self._bytes(shard)
        if not path.is_file() or path.stat().st_size != size:
            raise DataError(f"{path} is missing or cut short: start again, and the pack is built again.")
        samples = (size - checksum.TRAILER) // 2
        return np.memmap(path, np.int16, "r", shape=samples) if samples else np.zeros(0, np.int16)


def measure(level: Level, samples: np.ndarray) -> float:
    """Reference level in dB of a whole clip (samples,) int16."""
    with torch.no_grad():
        return float(level(torch.from_numpy(samples)[None])[0])


def samples_path(folder: Path, shard: int) -> Path:
    """Samples of one shard: int16, clip after clip, then their checksum."""
    return folder / f"{shard:05}.i16"
