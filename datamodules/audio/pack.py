"""Pack of a data set: all clips decoded, resampled and mixed down once, as int16 memory maps with random access.

A pack is a folder of shards (`00000.i16` samples, `00000.npz` their index), `index.npz` over all of them, and
`levels-KEY.npy` for each extractor whose reference levels were measured. Samples and levels end with their checksum.
"""

import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodules.audio import reading
from datamodules.common import checksum
from datamodules.common.cache import cached, exclusive, fingerprint, require_space, unwritable, write_atomically
from datamodules.common.errors import DataError
from datamodules.common.progress import progress
from datamodules.common.workers import in_processes

VERSION = 3
FINE, DAMAGED, UNREADABLE = 0, 1, 2

Level = Callable[[Tensor], Tensor]


class Flaw(NamedTuple):
    """Damaged or unreadable file."""

    path: str  # as listed
    message: str  # one sentence
    used: bool  # False: left out


def pack_folder(cache_dir: str | Path | None, name: str, root: Path, paths: Sequence[bytes], rate: int) -> Path:
    """Folder of the pack of `paths` under `root` at `rate` Hz; its name changes with any file, but not with `root`."""
    base = os.fsencode(root) + b"/"
    key = fingerprint(f"{VERSION} {rate} {len(paths)}", ((path, base + path) for path in paths))
    return cached(cache_dir, "packs", f"{name}-{rate}-{key}", whole="index.npz")


def level_key(level: Level, rate: int) -> str:
    """Key of an extractor: ten hex digits of its levels (rounded to 0.01 dB) for four fixed signals."""
    time = torch.arange(rate, dtype=torch.float64) / rate
    noise = torch.from_numpy(np.random.Generator(np.random.PCG64(0)).uniform(-1, 1, rate))
    ramp = torch.linspace(0, 1, rate, dtype=torch.float64)
    signals = torch.stack(
        [noise, torch.sin(2 * torch.pi * 110 * time) * ramp, noise.diff(prepend=noise[:1]) / 2, noise.cumsum(0) / rate]
    )
    with torch.no_grad():
        levels = level((signals * 8192).round().to(torch.int16)).double()
    return hashlib.sha256(levels.mul(100).round().long().numpy().tobytes()).hexdigest()[:10]


class Pack:
    """Reader of a finished pack, by position in the list of paths that it was built from.

    Picklable; memory maps are opened on first use in each process.

    Raises:
        DataError: the index or a shard is damaged.
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
        """True if the folder holds a finished pack."""
        return (folder / "index.npz").is_file()

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_maps": {}}

    def damaged(self) -> list[int]:
        """Shards whose samples are missing, truncated or corrupt; each is checked once per process."""
        shards = {samples_path(self.folder, shard): shard for shard in range(-(-len(self.lengths) // self.per_shard))}
        short = [path for path, shard in shards.items() if not path.is_file() or path.stat().st_size != self._bytes(shard)]
        rest = checksum.damaged([path for path in shards if path not in short], "checking the pack")
        return [shards[path] for path in (*short, *rest)]

    def _bytes(self, shard: int) -> int:
        """Size of a shard's samples on disk."""
        clips = slice(shard * self.per_shard, (shard + 1) * self.per_shard)
        return 2 * int(self.lengths[clips].sum()) + checksum.TRAILER

    def length(self, clip: int) -> int:
        """Length of a clip in samples; 0 for an unreadable file."""
        return int(self.lengths[clip])

    claim = length

    def read(self, clip: int, start: int, samples: int) -> np.ndarray:
        """int16 samples `start .. start + samples` of a clip, fewer at its end."""
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
        """Reference levels (clips,) float32 dB, if `prepare` stored them for this extractor."""
        path = self.folder / f"levels-{key}.npy"
        return np.load(path, allow_pickle=False) if path.is_file() and not checksum.damaged([path]) else None

    def _why(self, clip: int) -> str:
        return os.fsdecode(self._messages[np.searchsorted(np.flatnonzero(self.status), clip)])

    def _map(self, shard: int) -> np.ndarray:
        path, size = samples_path(self.folder, shard), self._bytes(shard)
        if not path.is_file() or path.stat().st_size != size:
            raise DataError(f"{path} is missing or truncated: start again, and the pack is built again.")
        samples = (size - checksum.TRAILER) // 2
        return np.memmap(path, np.int16, "r", shape=samples) if samples else np.zeros(0, np.int16)


def measure(level: Level, samples: np.ndarray) -> float:
    """Reference level in dB of a whole clip (samples,) int16."""
    with torch.no_grad():
        return float(level(torch.from_numpy(samples)[None])[0])


def samples_path(folder: Path, shard: int) -> Path:
    """File of the samples of one shard: int16, clip after clip, then their checksum."""
    return folder / f"{shard:05}.i16"


# Building, resumable after a kill: every file is renamed once it is complete, a shard's index after its samples.

log = logging.getLogger(__name__)

SHARDS = 400  # at most: each is one open file in every worker


def build(
    folder: Path,
    root: Path,
    paths: np.ndarray,
    rate: int,
    level: Level | None = None,
    workers: int | None = None,
    strict: bool = False,
) -> Pack:
    """Build a pack, or its missing and damaged shards, and open it; one of several concurrent processes builds.

    paths: (clips,) bytes relative to the root; level: extractor of stored reference levels; workers: default one per core

    Raises:
        DataError: the disk is full, or the first damaged or unreadable file if strict.
    """
    key = None if level is None else level_key(level, rate)
    with exclusive(folder.with_name(f"{folder.name}.lock"), f"the pack {folder}"):
        folder.mkdir(exist_ok=True)
        for stray in folder.glob("*.part"):
            stray.unlink()
        job = _Shards(folder, root, paths, rate, level, key)
        _discard_damaged(job)
        if not Pack.exists(folder) or (key and Pack(folder).levels(key) is None):
            _require_space(job)
            _run(job, workers, strict)
            _merge(job)
    pack = Pack(folder)
    if strict and (flaws := pack.flaws()):
        raise DataError(flaws[0].message)
    return pack


class _Shards:
    """Shards of a pack that is being built."""

    def __init__(self, folder: Path, root: Path, paths: np.ndarray, rate: int, level: Level | None, key: str | None) -> None:
        self.folder, self.root, self.paths, self.rate = folder, root, np.asarray(paths, dtype=bytes), rate
        self.level, self.key = level, key
        # Depends on the list alone, so that another process can resume a killed build.
        self.per_shard = max(16, -(-len(paths) // SHARDS))

    def __len__(self) -> int:
        return -(-len(self.paths) // self.per_shard)

    def clips(self, shard: int) -> np.ndarray:
        return self.paths[shard * self.per_shard : (shard + 1) * self.per_shard]

    def done(self, shard: int) -> bool:
        return _index(self.folder, shard).is_file() and (self.key is None or self.level_path(shard).is_file())

    def intact(self, shard: int) -> bool:
        """True if a shard's samples and index are not corrupt."""
        try:
            with np.load(_index(self.folder, shard), allow_pickle=False) as index:
                lengths = index["lengths"]
        except Exception:
            return False
        path, size = samples_path(self.folder, shard), 2 * int(lengths.sum()) + checksum.TRAILER
        return path.is_file() and path.stat().st_size == size and not checksum.damaged([path])

    def level_path(self, shard: int) -> Path:
        return self.folder / f"{shard:05}.levels-{self.key}.npy"

    def write(self, shard: int) -> tuple[int, str]:
        """Build a shard; returns (number of clips, first message or "")."""
        try:
            if not _index(self.folder, shard).is_file():
                self._decode(shard)
            with np.load(_index(self.folder, shard), allow_pickle=False) as index:
                lengths, messages = index["lengths"], index["messages"]
            if self.key is not None and not self.level_path(shard).is_file():
                self._measure(shard, lengths)
        except OSError as error:
            return -1, str(unwritable(self.folder, error))
        return len(lengths), os.fsdecode(messages[0]) if len(messages) else ""

    def _decode(self, shard: int) -> None:
        paths = self.clips(shard)
        lengths, status, messages = np.zeros(len(paths), np.int64), np.zeros(len(paths), np.uint8), []

        def write(file) -> None:
            for i, path in enumerate(paths):
                samples, message = self._decoded(path)
                if message:
                    status[i] = DAMAGED if len(samples) else UNREADABLE
                    messages.append(os.fsencode(message))
                lengths[i] = len(samples)
                file.write(samples.tobytes())

        write_atomically(samples_path(self.folder, shard), write, sealed=True)
        index = {"lengths": lengths, "status": status, "messages": np.array(messages, dtype=bytes)}
        write_atomically(_index(self.folder, shard), lambda file: np.savez(file, **index))

    def _decoded(self, path: bytes) -> tuple[np.ndarray, str]:
        name = self.root / os.fsdecode(path)
        try:
            decoded = reading.decode(name, self.rate)
        except DataError as error:
            return np.zeros(0, np.int16), str(error)
        remarks = [f"{decoded.damage}: what decodes is used"] if decoded.damage else []
        remarks += [decoded.remark] if decoded.remark else []
        return reading.to_int16(decoded.audio), f"{name} {'; '.join(remarks)}." if remarks else ""

    def _measure(self, shard: int, lengths: np.ndarray) -> None:
        shape, path = int(lengths.sum()), samples_path(self.folder, shard)
        samples = np.memmap(path, np.int16, "r", shape=shape) if shape else np.zeros(0, np.int16)
        levels = np.full(len(lengths), np.nan, np.float32)
        for i, stop in enumerate(np.cumsum(lengths)):
            if lengths[i]:
                levels[i] = measure(self.level, np.array(samples[stop - lengths[i] : stop]))
        write_atomically(self.level_path(shard), lambda file: np.save(file, levels))


def _discard_damaged(job: _Shards) -> None:
    """Delete the damaged shards of a finished pack, so that they are built again."""
    if not Pack.exists(job.folder):
        return
    try:
        bad = Pack(job.folder).damaged()
        if not bad:
            return
    except DataError:
        bad = [shard for shard in range(len(job)) if not job.intact(shard)]
    log.warning("The pack %s is damaged: %d of %d shards are built again.", job.folder, len(bad), len(job))
    for shard in bad:
        for path in (samples_path(job.folder, shard), *job.folder.glob(f"{shard:05}.*np[yz]")):
            path.unlink(missing_ok=True)
    for path in [*job.folder.glob("levels-*.npy"), job.folder / "index.npz"]:
        path.unlink(missing_ok=True)


def _index(folder: Path, shard: int) -> Path:
    return folder / f"{shard:05}.npz"


def _run(job: _Shards, workers: int | None, strict: bool) -> None:
    left = [shard for shard in range(len(job)) if not job.done(shard)]
    if not left:
        return
    ready = len(job.paths) - sum(len(job.clips(shard)) for shard in left)
    with progress(total=len(job.paths), initial=ready, unit="clip", desc="packing audio") as bar:
        for clips, message in in_processes(job.write, [(shard,) for shard in left], workers):
            if clips < 0 or (strict and message):
                raise DataError(message)
            bar.update(clips)


def _require_space(job: _Shards) -> None:
    left = [shard for shard in range(len(job)) if not _index(job.folder, shard).is_file()]
    paths = np.concatenate([job.clips(shard) for shard in left]) if left else job.paths[:0]

    def size(path: bytes) -> float:
        return 2 * reading.claimed_length(job.root / os.fsdecode(path), job.rate)

    require_space(job.folder, paths, size, "The pack needs", ", or read the files directly with --data.pack never")


def _merge(job: _Shards) -> None:
    """Join the shards' indices; `index.npz` is written last, since it marks the pack as finished."""
    if job.key is not None:
        levels = [np.load(job.level_path(shard)) for shard in range(len(job))]
        path = job.folder / f"levels-{job.key}.npy"
        write_atomically(path, lambda file: np.save(file, np.concatenate(levels)), sealed=True)
    parts = [dict(np.load(_index(job.folder, shard), allow_pickle=False)) for shard in range(len(job))]
    lengths, status, messages = (np.concatenate([part[k] for part in parts]) for k in ("lengths", "status", "messages"))
    offsets = np.concatenate([np.cumsum(part["lengths"]) - part["lengths"] for part in parts])
    index = {"lengths": lengths, "offsets": offsets, "status": status, "messages": messages, "paths": job.paths}
    index |= {"rate": np.int64(job.rate), "per_shard": np.int64(job.per_shard)}
    write_atomically(job.folder / "index.npz", lambda file: np.savez(file, **index))
