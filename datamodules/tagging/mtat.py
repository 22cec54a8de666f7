"""MagnaTagATune (Law et al. 2009): annotations_final.csv and mp3 clips in folders 0 .. f."""

from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from datamodules.common.delimited import rows
from datamodules.common.errors import DataError
from datamodules.common.report import locate
from datamodules.tagging.data import Index, TaggingDataModule
from datamodules.tagging.tags import by_count, published

ANNOTATIONS = "annotations_final.csv"
AUDIO = (".", "mp3", "audio", "MagnaTagATune")


class MTAT(TaggingDataModule):
    """MagnaTagATune, or any set in its layout: 29 s clips, 188 tags, split by the first hex digit of the path.

    Folders 0-b are train, c validation, d-f test: 18,709 / 1,825 / 5,329 clips; 15,247 / 1,529 / 4,332 of them have one of
    the 50 most frequent tags (the paper's 21k subset). Three mp3 files of the original cannot be read.

    Args:
        subset: `top50`: clips with at least one of the chosen tags (with the 50, the paper's 21k), or `full`
        tags: `top50`: the published list, in the order of the paper's code and musicnn; `computed`: the 50 most frequent
            columns, ties by name; `all` columns that occur, by frequency; a list of names; `auto`: `top50` if the table has
            all 50 columns, else `all`
    """

    name = "mtat"
    layout = f"the folder of MagnaTagATune: {ANNOTATIONS} beside the mp3 folders 0 .. f"

    def __init__(
        self,
        root: str | None = None,
        subset: Literal["top50", "full"] = "top50",
        tags: list[str] | Literal["auto", "top50", "computed", "all"] = "auto",
        **kwargs,
    ) -> None:
        super().__init__(root, **kwargs)
        self.subset, self.chosen = subset, tags

    def read_index(self, root: Path) -> Index:
        """Read all annotated clips, in the order of the file."""
        columns, labels, paths = self.annotations
        names = self._columns(columns, labels)
        labels = labels[:, [columns.index(name) for name in names]]
        digits = np.array([int(path[0], 16) for path in paths])
        split = np.select([digits < 12, digits == 12], [0, 1], 2).astype(np.int8)
        if self.subset == "top50":
            split[~labels.any(1)] = -1
        audio, paths = locate(root, (AUDIO, np.array(paths)))
        return Index(audio, names, paths, labels, split)

    @cached_property
    def annotations(self) -> tuple[list[str], np.ndarray, list[str]]:
        """Column names, labels (clips, columns) uint8 and paths of the file."""
        root = self.find_root()
        for path in (root / ANNOTATIONS, root / "metadata" / ANNOTATIONS):
            if path.is_file():
                return _read(path)
        raise DataError(f"{root} holds no {ANNOTATIONS}: --data.root must name {self.layout}. {self.advice()}")

    def remarks(self) -> dict:
        """Equality of the shipped tag list with the computed one, and artists in both train and test."""
        columns, labels, paths = self.annotations
        artists = [{_artist(path) for path in paths if path[0] in digits} for digits in ("0123456789ab", "def")]
        return {
            "published_list_is_the_computed": set(by_count(columns, labels)[:50]) == set(published("mtat")),
            "test_artists": len(artists[1]),
            "test_artists_also_in_train": len(artists[0] & artists[1]),
        }

    def _columns(self, columns: list[str], labels: np.ndarray) -> list[str]:
        chosen = self.chosen
        if chosen == "auto":
            chosen = "top50" if set(published("mtat")) <= set(columns) else "all"
        if chosen == "computed":
            return by_count(columns, labels)[:50]
        if chosen == "all":
            return by_count(columns, labels)
        names = published("mtat") if chosen == "top50" else list(chosen)
        if unknown := [name for name in names if name not in columns]:
            raise DataError(
                f"{ANNOTATIONS} in {self.root} has no column {unknown[0]!r} ({len(unknown)} of {len(names)} tags are "
                f"unknown): choose others with --data.tags, or --data.tags all."
            )
        return names


def _artist(path: str) -> str:
    """Artist from the file name artist-album-track-title-start-end.mp3."""
    return path.rsplit("/", 1)[-1].split("-", 1)[0]


def _read(path: Path) -> tuple[list[str], np.ndarray, list[str]]:
    """Parse the tab-separated, quoted table: clip_id, one 0/1 column per tag, mp3_path."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        table = rows(file, "\t", path)
        header = next(table, (1, []))[1]
        if len(header) < 3 or header[0] != "clip_id" or header[-1] != "mp3_path":
            raise DataError(f"{path} is not MagnaTagATune's table: expected tab-separated clip_id, tags ..., mp3_path.")
        columns = [name.strip() for name in header[1:-1]]
        labels, paths = bytearray(), []
        for line, row in table:
            if len(row) != len(header) or not set(row[1:-1]) <= {"0", "1"} or not _hex(row[-1]):
                raise DataError(
                    f"{path}, line {line}: expected clip_id, {len(columns)} times 0 or 1, and a path that "
                    f"begins with a hex digit; download the file again."
                )
            labels += "".join(row[1:-1]).encode()
            paths.append(row[-1])
    if not paths:
        raise DataError(f"{path} lists no clip: download the file again.")
    return columns, (np.frombuffer(labels, np.uint8) - ord("0")).reshape(len(paths), len(columns)), paths


def _hex(path: str) -> bool:
    return path[:1] != "" and path[0] in "0123456789abcdef"
