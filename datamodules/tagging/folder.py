"""Tagging data of a user: folder of audio files with a table of tags, or with one subfolder per tag."""

from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from pytorch_lightning.utilities.rank_zero import rank_zero_info

from datamodules.audio.packed import Files
from datamodules.audio.reading import AUDIO_SUFFIXES
from datamodules.common.errors import DataError
from datamodules.common.file_search import files_under, is_absolute, relative_to
from datamodules.common.left_out import LeftOut
from datamodules.common.report import locate, sizes
from datamodules.common.splits import SPLIT_NAMES, SPLITS, draw_splits, stratify
from datamodules.common.unread import refuse_unread
from datamodules.tagging.data import Index, TaggingDataModule
from datamodules.tagging.tag_table import TextTable, binary_labels, listed_labels, read_table, score_labels

TABLE = "clips.csv"


class Listed(NamedTuple):
    """Clips of a table or of folders, with all tags."""

    audio: Path  # folder that the paths are relative to
    tags: list[str]
    paths: np.ndarray  # (clips,) str
    labels: np.ndarray  # (clips, tags) uint8
    groups: list[str]  # (clips,); clips of one group share a split
    split: np.ndarray | None  # (clips,) int8; None: drawn later


class Folder(TaggingDataModule):
    """Audio files in a folder, listed with their tags in a CSV (separated by commas, semicolons or tabs).

    Tags are columns of 0 and 1 (0.0 and 1.0, False and True), columns of scores with a threshold, or one column of names with
    a separator. Without a table each folder of files is a tag: ROOT/rock/a.wav, or ROOT/train/rock/a.wav with splits.

    Splits are a column, or drawn: a tenth for validation, a tenth for test, groups kept together, and more if a tag would be
    missing in one of them. Tags with too few clips in a split are left out and reported.

    Args:
        csv: table, relative to the root
        audio: folder of the files, relative to the root (default: the root, or the folder named like the table, `audio` or
            `clips`, with most of the files)
        file_column: column of the paths, absolute or relative to the audio folder
        tag_columns: names or patterns of tag columns, such as ["mtt:*"], whose fixed beginning is removed from the tag's
            name (default: the column `tags`, else every column of 0 and 1)
        separator: between names in the column `tags`
        threshold: lowest score of a tag
        min_clips: tags with fewer clips in any split are left out
        split_column: column of train, valid(ation), test; empty: row not used. Ignored if the table has no such column
        group_column: clips that share its value stay in one split if splits are drawn
        drawn_by: method of drawing splits: `tags`, iterative stratification with every tag in each split by its share; or
            `name`, by a hash of file or group alone, so that new files change no other file's split
        split_seed: of the order in which `tags` draws
        missing: `stop` if the table lists a missing file, or `skip` such rows
    """

    name = "folder"
    layout = "a folder with audio files and the table that lists them (--data.csv, default clips.csv), or a folder per tag"

    def __init__(
        self,
        root: str | None = None,
        csv: str = TABLE,
        audio: str | None = None,
        file_column: str = "file",
        tag_columns: list[str] | None = None,
        separator: str = ",",
        threshold: float = 0.5,
        min_clips: int = 1,
        split_column: str = "split",
        group_column: str | None = None,
        drawn_by: Literal["tags", "name"] = "tags",
        split_seed: int = 0,
        missing: Literal["stop", "skip"] = "stop",
        **kwargs,
    ) -> None:
        super().__init__(root, **kwargs)
        self.csv, self.audio, self.file_column = csv, audio, file_column
        self.tag_columns, self.separator, self.threshold = tag_columns, separator, threshold
        self.min_clips, self.split_column, self.group_column = min_clips, split_column, group_column
        self.drawn_by, self.split_seed, self.missing = drawn_by, split_seed, missing
        self.name = Path(root).expanduser().resolve().name if root else self.name

    def read_index(self, root: Path) -> Index:
        """Read all clips, with the tags that are frequent enough in each split; rare ones are reported."""
        listed = None if self.csv != TABLE or (root / TABLE).exists() else list_folders(root)
        if listed is not None:
            names = ("audio", "file_column", "tag_columns", "separator", "threshold", "split_column", "group_column")
            self._refuse(f"because {root} has no {TABLE} and its folders are the tags", *names)
        listed = listed or self._by_table(root)
        if listed.split is not None:
            self._refuse("because the splits are listed", "drawn_by", "split_seed", "group_column")
        elif self.drawn_by == "name":
            self._refuse("because --data.drawn_by is name", "split_seed")
        split = self._drawn(root, listed) if listed.split is None else listed.split
        for path in listed.paths[split < 0]:
            self.left_out.add("clip", str(path), f"no split in column {self.split_column} of {self.csv}")
        kept = self._frequent(root, listed, split)
        self.left_out.log_new()
        return Index(listed.audio, [listed.tags[i] for i in kept], listed.paths, listed.labels[:, kept], split)

    def _refuse(self, why: str, *names: str) -> None:
        refuse_unread(type(self), {name: getattr(self, name) for name in names}, why)

    @cached_property
    def files(self) -> Files:
        """State of the listed files. Raises DataError for a missing one, unless `missing` is `skip`."""
        absent = np.flatnonzero(sizes(self.index.audio, self.index.paths) < 0)
        if len(absent) and self.missing == "stop":
            raise DataError(
                f"{self.csv} lists {self.index.paths[absent[0]]}, which is not in {self.index.audio} ({len(absent)} of "
                f"{len(self.index.paths)} rows): correct the table, or leave such rows out with --data.missing skip."
            )
        return super().files

    def _by_table(self, root: Path) -> Listed:
        table = read_table(root / self.csv)
        paths = table.column(self.file_column)
        if "" in paths:
            raise DataError(f"{table.path}, row {paths.index('') + 2}: column {self.file_column} names no file.")
        relative = np.array([path for path in paths if not is_absolute(path)] or ["."])
        folders = [self.audio] if self.audio else [".", table.path.stem, "audio", "clips"]
        audio, _ = locate(root, (folders, relative))
        names = np.array(relative_to(audio, paths, root))
        kinds, counts = np.unique(names, return_counts=True)
        if counts.max() > 1:
            raise DataError(f"{table.path} lists {kinds[counts.argmax()]} {counts.max()} times: keep one row per file.")
        split = self._split(table) if self.split_column in table.header else None
        groups = table.column(self.group_column) if self.group_column else names.tolist()
        if split is None:
            self._refuse(f"because {table.path} has no such column", "split_column")
        tags, labels = self._labels(table)
        return Listed(audio, tags, names, labels, groups, split)

    def _split(self, table: TextTable) -> np.ndarray:
        values = table.column(self.split_column)
        for line, value in enumerate(values, 2):
            if value.lower() not in SPLIT_NAMES:
                raise DataError(f"{table.path}, row {line}: unknown split {value!r}, expected train, validation or test.")
        return np.array([SPLIT_NAMES[value.lower()] for value in values], np.int8)

    def _labels(self, table: TextTable) -> tuple[list[str], np.ndarray]:
        if self.tag_columns is None:
            self._refuse("without --data.tag_columns", "threshold")
        if self.tag_columns is not None or "tags" not in table.header:
            self._refuse("because no column `tags` is read", "separator")
        if self.tag_columns is not None:
            tags, labels = score_labels(table, self.tag_columns, self.threshold)
        elif "tags" in table.header:
            tags, labels = listed_labels(table, "tags", self.separator)
        else:
            tags, labels = binary_labels(table, (self.file_column, self.split_column, self.group_column))
        if not tags:
            raise DataError(
                f"{table.path} has no tags: expected a column `tags`, columns of 0 and 1, or --data.tag_columns; it has "
                f"{', '.join(table.header[:8])}."
            )
        return tags, labels

    def _drawn(self, root: Path, listed: Listed) -> np.ndarray:
        """Draw the splits of the clips (clips,) int8. Raises DataError for fewer than three groups."""
        if (groups := len(set(listed.groups))) < len(SPLITS):
            source = root / self.csv if self.csv != TABLE or (root / TABLE).exists() else root
            raise DataError(f"{source} has {groups} files or groups: at least three are needed to draw train, validation, test.")
        if self.drawn_by == "name":
            return draw_splits(listed.groups)
        return stratify(listed.labels, listed.groups, least=self.min_clips, seed=self.split_seed)

    def _frequent(self, root: Path, listed: Listed, split: np.ndarray) -> np.ndarray:
        """Positions of the tags with `min_clips` in each split that has clips. Raises DataError if there are none."""
        counts = np.stack([listed.labels[split == i].sum(0, dtype=np.int64) for i in range(len(SPLITS))], 1)
        occurring = [i for i in range(len(SPLITS)) if (split == i).any()]
        frequent = (counts[:, occurring] >= self.min_clips).all(1)
        reason = f"fewer than {self.min_clips} clips in a split (--data.min_clips)"
        details = [", ".join(f"{count} {SPLITS[i]}" for i, count in enumerate(row)) for row in counts.tolist()]
        rare = [LeftOut("tag", listed.tags[i], reason, details[i]) for i in np.flatnonzero(~frequent)]
        if not frequent.any():
            raise DataError(
                f"{root / self.csv}: no tag has {self.min_clips} clips in each split (such as {rare[0]}): add clips, or lower "
                f"--data.threshold or --data.min_clips."
            )
        self.left_out.extend(rare)
        return np.flatnonzero(frequent)


def list_folders(root: Path) -> Listed | None:
    """List clips of one folder per tag, directly in the root or in train/, valid(ation)/, test/; None for fewer than two."""
    parts = {name: split for name, split in SPLIT_NAMES.items() if split >= 0 and (root / name).is_dir()} or {"": -1}
    rows = [
        (str(path.relative_to(root)), folder.name, split)
        for part, split in parts.items()
        for folder in sorted((root / part).iterdir())
        if folder.is_dir() and not folder.name.startswith(".")
        for path in sorted(files_under(folder, AUDIO_SUFFIXES))
    ]
    tags = sorted({tag for _, tag, _ in rows})
    if len(tags) < 2:
        return None
    rank_zero_info(f"{root} has no {TABLE}: its {len(tags)} folders are read as tags ({', '.join(tags[:5])}, ...).")
    paths, labels = [path for path, *_ in rows], np.array([[tag == name for name in tags] for _, tag, _ in rows], np.uint8)
    splits = None if "" in parts else np.array([split for *_, split in rows], np.int8)
    return Listed(root, tags, np.array(paths), labels, paths, splits)
