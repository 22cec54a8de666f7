"""MTG-Jamendo (Bogdanov et al. 2019): full tracks under Creative Commons licences, in five artist-disjoint splits."""

from pathlib import Path
from typing import Literal

import numpy as np

from datamodules.common.errors import DataError
from datamodules.common.report import locate
from datamodules.common.splits import SPLITS
from datamodules.tagging.data import Index, TaggingDataModule
from datamodules.tagging.tags import published

HEADER = ("TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION")
SPLIT_FOLDERS = ("data/splits", "splits", "mtg-jamendo-dataset/data/splits")
AUDIO = ("audio", ".", "data/audio", "raw_30s/audio")
AUDIO_LOW = ("audio-low", "audio", ".", "data/audio-low", "raw_30s/audio-low")


class Jamendo(TaggingDataModule):
    """MTG-Jamendo in one of its five splits: 32,136 / 10,888 / 11,356 tracks of `top50tags` in split 0.

    Root holds data/splits/split-N/autotagging_SUBSET-{train,validation,test}.tsv and audio/ (NN/ID.mp3) or audio-low/
    (NN/ID.low.mp3). Tags are named `category---name` and ordered by name, as in published weights.

    Args:
        subset: `top50tags`, `genre`, `instrument`, `moodtheme`, or `all` 195 tags
        split: 0 .. 4
    """

    name = "jamendo"
    layout = "the MTG-Jamendo folder: data/splits/split-0 .. 4 with their TSV files, and audio/ or audio-low/"

    def __init__(
        self,
        root: str | None = None,
        subset: Literal["top50tags", "genre", "instrument", "moodtheme", "all"] = "top50tags",
        split: int = 0,
        **kwargs,
    ) -> None:
        super().__init__(root, **kwargs)
        if not 0 <= split <= 4:
            raise ValueError(f"MTG-Jamendo has the splits 0 to 4, not {split}.")
        self.split, self.chosen = split, subset
        self.subset = f"{subset} split-{split}"

    def read_index(self, root: Path) -> Index:
        """Read the three files of the split."""
        stem = "autotagging" if self.chosen == "all" else f"autotagging_{self.chosen}"
        folder = self._split_folder(root)
        rows = [(i, *row) for i, split in enumerate(SPLITS) for row in _read(folder / f"{stem}-{split}.tsv")]
        occurring = sorted({tag for _, _, tags in rows for tag in tags})
        top50 = self.chosen == "top50tags" and set(occurring) <= set(published("jamendo"))
        names = published("jamendo") if top50 else occurring
        column = {name: i for i, name in enumerate(names)}
        labels = np.zeros((len(rows), len(names)), np.uint8)
        for i, (_, _, tags) in enumerate(rows):
            labels[i, [column[tag] for tag in tags]] = 1
        audio, paths = _audio(root, np.array([path for _, path, _ in rows]))
        return Index(audio, names, paths, labels, np.array([split for split, _, _ in rows], np.int8))

    def _split_folder(self, root: Path) -> Path:
        for parent in SPLIT_FOLDERS:
            if (root / parent / f"split-{self.split}").is_dir():
                return root / parent / f"split-{self.split}"
        raise DataError(f"{root} holds no data/splits/split-{self.split}: --data.root must name {self.layout}. {self.advice()}")


def _read(path: Path) -> list[tuple[str, list[str]]]:
    """(path, tags) of each track; the columns from the sixth on are its tags."""
    if not path.is_file():
        raise DataError(f"{path} does not exist: clone or copy the data/splits folder of mtg-jamendo-dataset again.")
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines or tuple(lines[0].split("\t")[:5]) != HEADER:
        raise DataError(f"{path} does not begin with {', '.join(HEADER)}, TAGS: expected a TSV of mtg-jamendo-dataset.")
    rows = [line.split("\t") for line in lines[1:] if line]
    for number, row in enumerate(rows, 2):
        if len(row) < 6 or not row[5]:
            raise DataError(f"{path}, line {number}: expected five columns and at least one tag after them.")
    return [(row[3], [tag for tag in row[5:] if tag]) for row in rows]


def _audio(root: Path, paths: np.ndarray) -> tuple[Path, np.ndarray]:
    """Audio folder and paths: full tracks, or low-bitrate copies if more of those exist."""
    low = np.array([path.removesuffix(".mp3") + ".low.mp3" for path in paths.tolist()])
    return locate(root, (AUDIO, paths), (AUDIO_LOW, low))
