"""What of a set of recordings and scores is usable, said in a report; renders and extracts what training and evaluation need."""

from pathlib import Path
from typing import TYPE_CHECKING

from datamodules.duplicates import Recording, identical_files
from datamodules.errors import DataError
from datamodules.report import warn, write_report
from datamodules.splits import SPLITS

if TYPE_CHECKING:
    from datamodules.alignment.data import AlignmentData


def report(data: "AlignmentData", folder: Path) -> dict:
    """Counts, and the first files of each kind; `folder`/report.json names every file.

    Raises the first flaw, as DataError, if the data are strict.
    """
    listing, splits = data.listing, {}
    for split in SPLITS:
        listed = [pair for pair in listing.pairs if pair.split == split]
        usable = _usable(data, split) if listed else []
        splits[split] = {"listed": len(listed), "usable": len(usable), "pieces": len({pair.piece for pair in usable})}
    counts = {"listed": len(listing.pairs), "usable": sum(one["usable"] for one in splits.values()), "splits": splits}
    files = {"missing": listing.flaws, "unreadable": [str(sound.path) for sound in data.unheard]}
    recordings = dict.fromkeys(
        Recording(str(pair.performance.path), pair.split, pair.performance.path) for pair in listing.pairs if pair.split
    )
    files["identical"] = identical_files(list(recordings))
    warn("In two splits: %s.", files["identical"])
    return write_report(data, folder, counts, files, {"features": str(data.store.folder)})


def _usable(data: "AlignmentData", split: str) -> list:
    try:
        return data.heard(data.training_pairs()) if split == "train" else data.evaluated(split)
    except DataError:
        if data.strict:
            raise
        return []
