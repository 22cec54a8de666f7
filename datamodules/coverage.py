"""What of a data set is on disk: which files are there, which can be read, said in a report."""

import glob
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datamodules import audio
from datamodules.errors import DataError
from datamodules.pack import Flaw, Pack
from datamodules.splits import SPLITS

if TYPE_CHECKING:
    from datamodules.tagging import TaggingData

SHOWN = 10
"""Files that are named on the screen; the report on disk names all."""


def sizes(folder: Path, paths: np.ndarray) -> np.ndarray:
    """Bytes of each file (files,), -1 for one that is not there."""
    base = os.fspath(folder) + "/"
    found = np.full(len(paths), -1, np.int64)
    for i, path in enumerate(paths.tolist()):
        try:
            found[i] = os.stat(base + path).st_size  # noqa: PTH116  a Path for each of 240,000 files takes seconds
        except OSError:
            continue
    return found


def check(folder: Path, paths: np.ndarray) -> list[Flaw]:
    """Files that do not even open; without decoding them, for want of a pack."""
    from tqdm import tqdm

    flaws = []
    for path in tqdm(paths.tolist(), unit="file", desc="checking audio", dynamic_ncols=True):
        try:
            audio.header(folder / path)
        except DataError as error:
            flaws.append(Flaw(path, str(error), False))
    return flaws


def report(data: "TaggingData", pack: Pack | None, folder: Path) -> dict:
    """Counts, and the first files of each kind, of a data set; `folder`/report.json names every file."""
    index, files = data.index, data.files
    flaws = pack.flaws() if pack else check(index.audio, index.paths[files.present])
    lists = {
        "missing": index.paths[files.missing].tolist(),
        "empty": index.paths[files.empty].tolist(),
        "unreadable": [flaw.message for flaw in flaws if not flaw.used],
        "damaged": [flaw.message for flaw in flaws if flaw.used],
    }
    if data.strict and lists["unreadable"]:
        raise DataError(lists["unreadable"][0])
    bad = {flaw.path for flaw in flaws if not flaw.used}
    readable = np.array([row for row in files.present if index.paths[row] not in bad], np.int64)
    summary = {
        "data": data.name,
        "root": str(index.audio),
        "subset": data.subset,
        "listed": len(index.paths),
        "readable": len(readable),
        "splits": {
            split: {"listed": int((index.split == i).sum()), "readable": int((index.split[readable] == i).sum())}
            for i, split in enumerate(SPLITS)
        },
        "tags": len(index.tags),
        **{kind: len(names) for kind, names in lists.items()},
        "pack": _size(pack) if pack else None,
        **data.remarks(),
    }
    path = folder / "report.json"
    folder.mkdir(parents=True, exist_ok=True)
    whole = summary | {"files": lists, "clips_per_tag": _per_tag(data, readable)}
    path.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    return summary | {"first": {kind: names[:SHOWN] for kind, names in lists.items() if names}, "report": str(path)}


def _size(pack: Pack) -> dict:
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
