"""What of a set of clips is usable, said in a report: every listed file, and the clips of each tag or list."""

import glob
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datamodules import coverage
from datamodules.duplicates import Recording, identical_clips, identical_files
from datamodules.errors import DataError
from datamodules.pack import Pack
from datamodules.packed import PackedData
from datamodules.report import warn, write_report
from datamodules.splits import SPLITS

if TYPE_CHECKING:
    from datamodules.tagging import TaggingData


def report(data: "TaggingData", pack: Pack | None, folder: Path) -> dict:
    """Counts, and the first files of each kind, of a tagging set; `folder`/report.json names every file.

    Raises the first unreadable file, as DataError, if the data are strict.
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


def survey(data: PackedData, pack: Pack | None) -> tuple[dict[str, list[str]], np.ndarray]:
    """Files by what is wrong with them, and the rows of what is listed that can be used (usable,).

    Raises the first unreadable file, as DataError, if the data are strict.
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
    places = [place for place, row in enumerate(files.present) if paths[row] not in bad]
    usable = files.present[places] if places else np.zeros(0, np.int64)
    lists["identical"] = _identical(data, pack, usable, places)
    return lists, usable


def _identical(data: PackedData, pack: Pack | None, rows: np.ndarray, places: list[int]) -> list[str]:
    """A sentence on each recording that is in two splits; rows: listed clips, places: theirs in the pack."""
    (audio, paths), splits = data.listing(), data.row_splits()
    chosen = [(row, place) for row, place in zip(rows.tolist(), places, strict=True) if splits[row]]
    recordings = [Recording(str(paths[row]), splits[row], audio / str(paths[row])) for row, _ in chosen]
    same = identical_files(recordings) if pack is None else identical_clips(recordings, pack, [place for _, place in chosen])
    warn("In two splits: %s.", same)
    return same


def size(pack: Pack | None) -> dict | None:
    """What a pack takes on disk, and others of the same set beside it."""
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
        "others_of_this_name": sorted(others),  # of other files or older ones: nothing deletes them
    }


def _per_tag(data: "TaggingData", rows: np.ndarray) -> dict:
    index = data.index
    counts = {tag: {} for tag in index.tags}
    for i, split in enumerate(SPLITS):
        sums = index.labels[rows[index.split[rows] == i]].sum(0, dtype=np.int64)
        for tag, count in zip(index.tags, sums.tolist(), strict=True):
            counts[tag][split] = count
    return counts
