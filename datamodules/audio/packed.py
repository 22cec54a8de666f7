"""Base data module of listed audio files: list of paths -> clips from a pack or from the files, with a report of bad files."""

import glob
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pytorch_lightning.utilities.rank_zero import rank_zero_info
from torch import Tensor

from datamodules.audio.clips import FileAudio, SharedRows, Store
from datamodules.audio.pack import UNREADABLE, Flaw, Pack, build, level_key, pack_folder
from datamodules.common import report as coverage
from datamodules.common.base import RootedDataModule
from datamodules.common.errors import DataError
from datamodules.common.left_out import LeftOut
from datamodules.common.report import Recording, identical_clips, identical_files, warn, write_report
from datamodules.common.splits import SPLITS

ClipLevel = Callable[[Tensor], Tensor]
"""Waveform of a whole clip (1, samples) -> reference level (1,) in dB."""


class Files(NamedTuple):
    """Rows of the listed files by state on disk."""

    present: np.ndarray
    missing: np.ndarray
    empty: np.ndarray


class PackedDataModule(RootedDataModule):
    """Base of the data modules that read whole clips of mono audio by path.

    Subclasses give the list of paths and the sampling rate; `files` holds their state on disk, `store` reads them.

    Args:
        pack: source of the audio: `auto` reads the pack of `prepare` if it exists, `require` stops without it, `build`
            builds it on first use, `never` decodes the files
        eval_batch_size: clips per evaluation batch on each rank
    """

    per_spec = ("store",)

    def __init__(
        self,
        root: str | None = None,
        pack: Literal["auto", "require", "build", "never"] = "auto",
        eval_batch_size: int = 8,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, **kwargs)
        if eval_batch_size < 1:
            raise ValueError(f"eval_batch_size must be positive: {eval_batch_size}.")
        self.pack, self.eval_batch_size = pack, eval_batch_size

    def listing(self) -> tuple[Path, np.ndarray]:
        """Folder of the audio and paths (clips,) str of all clips relative to it."""
        raise NotImplementedError

    def rate(self) -> int:
        """Sampling rate of the clips, Hz."""
        raise NotImplementedError

    def clip_level(self) -> ClipLevel | None:
        """Extractor of the reference level of each clip, or None."""
        return None

    def row_splits(self) -> Sequence[str]:
        """Split of each listed clip (clips,), empty for none."""
        raise NotImplementedError

    @cached_property
    def files(self) -> Files:
        """State of the listed files. Raises DataError if all are missing or, if strict, any is."""
        audio, paths = self.listing()
        sizes = coverage.sizes(audio, paths)
        files = Files(np.flatnonzero(sizes > 0), np.flatnonzero(sizes < 0), np.flatnonzero(sizes == 0))
        if not len(files.present):
            first = f" (the first would be {audio / str(paths[0])})" if len(paths) else ""
            raise DataError(
                f"None of the {len(paths)} listed audio files is in {audio}{first}: --data.root must name {self.layout}. "
                f"{self.advice()}"
            )
        lacking = np.flatnonzero(sizes <= 0)
        if len(lacking):
            if self.strict:
                state = "missing" if sizes[lacking[0]] < 0 else "empty"
                raise DataError(
                    f"{audio / str(paths[lacking[0]])} is {state}: copy it again, or go on without such files by "
                    f"--data.strict false."
                )
            for rows, reason in ((files.missing, "missing"), (files.empty, "empty")):
                self.left_out.extend(LeftOut("file", str(path), f"{reason} in {audio}") for path in paths[rows])
            self.left_out.log_new()
        return files

    @cached_property
    def store(self) -> tuple[Store, SharedRows]:
        """Audio of the rows in `files.present`, from a pack or from the files, and their shared levels and flags."""
        audio, paths = self.listing()
        paths = paths[self.files.present]
        pack = self._find_pack()
        self._log_source(pack)
        if pack is None:
            shared = SharedRows(len(paths), self.clip_level())
            self.left_out.watch("file", paths, shared.unreadable)
            return FileAudio(audio, paths, self.rate()), shared
        flaws = pack.flaws()
        if self.strict and flaws:
            raise DataError(flaws[0].message)
        self.leave_out(audio, [flaw for flaw in flaws if not flaw.used])
        warn("%s", [flaw.message for flaw in flaws if flaw.used])
        level = self.clip_level()
        table = None if level is None else pack.levels(level_key(level, self.rate()))
        return pack, SharedRows(len(paths), level, table)

    def _log_source(self, pack: Pack | None) -> None:
        """Log the source of the audio and unused packs of earlier versions."""
        if pack is not None:
            rank_zero_info(f"Audio is read from the pack {pack.folder}.")
            return
        folder = self.pack_folder()
        rank_zero_info(
            f"No pack in {folder}: {len(self.files.present)} files are decoded in every epoch; `prepare` or --data.pack build "
            "decode them once."
        )
        other = sorted(folder.parent.glob(f"{folder.name.rpartition('-')[0]}-*/index.npz"))
        if other:
            rank_zero_info(f"{other[0].parent} is a pack of other files or of an earlier version and is not used.")

    def leave_out(self, audio: Path, flaws: Sequence[Flaw]) -> None:
        """Report unreadable files, whose paths are relative to the folder `audio`."""
        self.left_out.extend(LeftOut.from_sentence("file", flaw.path, flaw.message, audio / flaw.path) for flaw in flaws)
        self.left_out.log_new()

    def readable(self) -> np.ndarray:
        """Mask (present,) of the rows in `files.present` that are not known to be unreadable."""
        store, _ = self.store
        return store.status != UNREADABLE if isinstance(store, Pack) else np.ones(len(self.files.present), bool)

    def _find_pack(self) -> Pack | None:
        if self.pack == "never":
            return None
        if self.pack == "build":
            return self.build_pack()
        if Pack.exists(folder := self.pack_folder()):
            return self._opened(folder)
        if self.pack == "require":
            raise DataError(f"No pack of these files in {folder}: build it with `prepare`. {self.advice()}")
        return None

    def _opened(self, folder: Path) -> Pack:
        """Open an existing pack; damaged shards are built again."""
        try:
            pack = Pack(folder)
            return self.build_pack() if pack.damaged() else pack
        except DataError:
            return self.build_pack()

    def build_pack(self) -> Pack:
        """Build the pack of all present files, or open it if it exists."""
        audio, _ = self.listing()
        return build(self.pack_folder(), audio, self._present_bytes(), self.rate(), self.clip_level(), strict=self.strict)

    def pack_folder(self) -> Path:
        """Folder of the pack of the present files; its name changes with them, but not with their folder."""
        audio, _ = self.listing()
        return pack_folder(self.cache_dir, self.cache_name, audio, self._present_bytes(), self.rate())

    def _present_bytes(self) -> np.ndarray:
        _, paths = self.listing()
        return np.char.encode(paths[self.files.present], "utf-8", "surrogateescape")


# Reports of `prepare`


def report(data: PackedDataModule, pack: Pack | None, folder: Path) -> dict:
    """Write `folder`/report.json of a tagging set; returns counts and the first files of each kind.

    Raises:
        DataError: the first unreadable file, if the data are strict.
    """
    index, (lists, usable) = data.index, survey(data, pack)
    counts = {
        "audio": str(index.audio),
        "listed": len(index.paths),
        "usable": len(usable),
        "splits": {
            split: {"listed": int((index.split == i).sum()), "usable": int((index.split[usable] == i).sum())}
            for i, split in enumerate(SPLITS)
        },
        "tags": len(index.tags),
    }
    return write_report(data, folder, counts, lists, {"pack": size(pack)}, clips_per_tag=_per_tag(data, usable))


def survey(data: PackedDataModule, pack: Pack | None) -> tuple[dict[str, list[str]], np.ndarray]:
    """Lists of bad files by kind, and rows of the usable files (usable,).

    Raises:
        DataError: the first unreadable file, if the data are strict.
    """
    (audio, paths), files = data.listing(), data.files
    flaws = pack.flaws() if pack else coverage.check(audio, paths[files.present])
    lists = {
        "missing": paths[files.missing].tolist(),
        "empty": paths[files.empty].tolist(),
        "unreadable": [flaw.message for flaw in flaws if not flaw.used],
        "damaged": [flaw.message for flaw in flaws if flaw.used],
    }
    if data.strict and lists["unreadable"]:
        raise DataError(lists["unreadable"][0])
    data.leave_out(audio, [flaw for flaw in flaws if not flaw.used])
    bad = {flaw.path for flaw in flaws if not flaw.used}
    packed_rows = [index for index, row in enumerate(files.present) if paths[row] not in bad]
    usable = files.present[packed_rows] if packed_rows else np.zeros(0, np.int64)
    lists["identical"] = _identical(data, pack, usable, packed_rows)
    return lists, usable


def _identical(data: PackedDataModule, pack: Pack | None, rows: np.ndarray, packed_rows: list[int]) -> list[str]:
    """One sentence for each recording in two splits; rows: listed clips, packed_rows: the same in the pack."""
    (audio, paths), splits = data.listing(), data.row_splits()
    chosen = [(row, packed) for row, packed in zip(rows.tolist(), packed_rows, strict=True) if splits[row]]
    recordings = [Recording(str(paths[row]), splits[row], audio / str(paths[row])) for row, _ in chosen]
    same = identical_files(recordings) if pack is None else identical_clips(recordings, pack, [packed for _, packed in chosen])
    warn("In two splits: %s.", same)
    return same


def size(pack: Pack | None) -> dict | None:
    """Folder and size of a pack, and other packs of the same data set beside it."""
    if pack is None:
        return None
    samples = int(pack.lengths.sum())
    kind = pack.folder.name.rsplit("-", 1)[0]
    others = [str(path) for path in pack.folder.parent.glob(f"{glob.escape(kind)}-*") if path.is_dir() and path != pack.folder]
    return {
        "folder": str(pack.folder),
        "sample_rate": pack.rate,
        "hours": round(samples / pack.rate / 3600, 3),
        "gigabytes": round(2 * samples / 1e9, 3),
        "others_of_this_name": sorted(others),  # never deleted
    }


def _per_tag(data: PackedDataModule, rows: np.ndarray) -> dict:
    index = data.index
    counts = {tag: {} for tag in index.tags}
    for i, split in enumerate(SPLITS):
        sums = index.labels[rows[index.split[rows] == i]].sum(0, dtype=np.int64)
        for tag, count in zip(index.tags, sums.tolist(), strict=True):
            counts[tag][split] = count
    return counts
