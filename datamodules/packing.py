"""Build a pack: in parallel, with a progress bar, once for all processes that ask, and resumable after any kill.

Every file is written under a temporary name, flushed to disk and renamed, a shard's index after its samples:
whatever bears its final name is whole, so a build that was killed goes on where it stopped.
"""

import logging
import os
from pathlib import Path

import numpy as np

from datamodules import audio, checksum
from datamodules.cache import exclusive, require_space, unwritable, write_atomically
from datamodules.errors import DataError
from datamodules.pack import DAMAGED, UNREADABLE, Level, Pack, level_key, measure, samples_path
from datamodules.progress import progress
from datamodules.workers import in_processes

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
    """Build the pack of `paths` (clips,) bytes under `root` at `rate` Hz, or what is missing of it, and open it.

    Of several processes that ask at once one builds, the others wait. `level` also stores each clip's reference.
    Shards that are damaged are built again, which is said.
    workers: processes, default one per core. Raises DataError for a full disk, and for the first bad file if strict.
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
    """The work to do, shard by shard."""

    def __init__(self, folder: Path, root: Path, paths: np.ndarray, rate: int, level: Level | None, key: str | None) -> None:
        self.folder, self.root, self.paths, self.rate = folder, root, np.asarray(paths, dtype=bytes), rate
        self.level, self.key = level, key
        # A function of the list alone: the shards of a killed build fit whoever goes on.
        self.per_shard = max(16, -(-len(paths) // SHARDS))

    def __len__(self) -> int:
        return -(-len(self.paths) // self.per_shard)

    def clips(self, shard: int) -> np.ndarray:
        return self.paths[shard * self.per_shard : (shard + 1) * self.per_shard]

    def done(self, shard: int) -> bool:
        return _index(self.folder, shard).is_file() and (self.key is None or self.level_path(shard).is_file())

    def intact(self, shard: int) -> bool:
        """Whether a shard's samples and index are as they were written."""
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
        """Do a shard; (clips done, first complaint or "")."""
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
            decoded = audio.decode(name, self.rate)
        except DataError as error:
            return np.zeros(0, np.int16), str(error)
        remarks = [f"{decoded.damage}: what decodes is used"] if decoded.damage else []
        remarks += [decoded.remark] if decoded.remark else []
        return audio.to_int16(decoded.audio), f"{name} {'; '.join(remarks)}." if remarks else ""

    def _measure(self, shard: int, lengths: np.ndarray) -> None:
        shape, path = int(lengths.sum()), samples_path(self.folder, shard)
        samples = np.memmap(path, np.int16, "r", shape=shape) if shape else np.zeros(0, np.int16)
        levels = np.full(len(lengths), np.nan, np.float32)
        for i, stop in enumerate(np.cumsum(lengths)):
            if lengths[i]:
                levels[i] = measure(self.level, np.array(samples[stop - lengths[i] : stop]))
        write_atomically(self.level_path(shard), lambda file: np.save(file, levels))


def _discard_damaged(job: _Shards) -> None:
    """Delete what is damaged of a finished pack, so that it is built again."""
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
        return 2 * audio.claimed_length(job.root / os.fsdecode(path), job.rate)

    require_space(job.folder, paths, size, "The pack needs", ", or read the files directly with --data.pack never")


def _merge(job: _Shards) -> None:
    """Join the shards' indices; `index.npz` last, since it declares the pack finished."""
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
