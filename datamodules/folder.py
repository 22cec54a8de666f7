"""A folder of one's own audio and a table of tags."""

import csv
import io
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path, PurePath
from typing import Literal

import numpy as np

from datamodules.coverage import locate, sizes
from datamodules.errors import DataError
from datamodules.packed import Files
from datamodules.splits import SPLIT_NAMES, SPLITS, draw
from datamodules.tagging import Index, TaggingData


class Folder(TaggingData):
    """Audio files in a folder, listed with their tags in a CSV (comma, semicolon or tab, by its header).

    Tags are columns of 0 and 1, columns of scores with a threshold, or one column of names with a separator. Splits
    are a column, or else drawn by file name: a tenth for validation, a tenth for test, groups kept together.

    Args:
        csv: the table, relative to the root
        audio: folder of the files, relative to the root (default: where the first files are found: the root, or a
            folder named as the table, `audio` or `clips`)
        file_column: column of the paths, relative to the audio folder
        tag_columns: names or patterns of tag columns, such as ["mtt:*"], whose fixed beginning is cut off the tag's
            name (default: the column `tags`, else every column that holds nothing but 0 and 1)
        separator: between names in the column `tags`
        threshold: scores from this on are a tag
        min_clips: tags with fewer clips in any split are left out
        split_column: column of train, valid(ation), test; empty: row not used. Ignored where there is none
        group_column: clips that share its value stay in one split where splits are drawn
        missing: `stop` where the table names a file that is not there, or `skip` such rows
    """

    name = "folder"
    layout = "a folder with audio files and the table that lists them (--data.csv, default clips.csv)"

    def __init__(
        self,
        root: str | None = None,
        csv: str = "clips.csv",
        audio: str | None = None,
        file_column: str = "file",
        tag_columns: list[str] | None = None,
        separator: str = ",",
        threshold: float = 0.5,
        min_clips: int = 1,
        split_column: str = "split",
        group_column: str | None = None,
        missing: Literal["stop", "skip"] = "stop",
        **kwargs,
    ) -> None:
        super().__init__(root, **kwargs)
        self.csv, self.audio, self.file_column = csv, audio, file_column
        self.tag_columns, self.separator, self.threshold = tag_columns, separator, threshold
        self.min_clips, self.split_column, self.group_column = min_clips, split_column, group_column
        self.missing = missing
        self.name = Path(root).expanduser().resolve().name if root else self.name

    def read_index(self, root: Path) -> Index:
        """Every row of the table."""
        path = root / self.csv
        header, rows = _table(path)
        paths = np.array(self._column(path, header, rows, self.file_column))
        wrong = [p for p in paths.tolist() if not p or PurePath(p).is_absolute()]
        if wrong:
            raise DataError(f"{path}: {wrong[0]!r} in column {self.file_column} is no path relative to the audio folder.")
        names, counts = np.unique(paths, return_counts=True)
        if counts.max() > 1:
            raise DataError(f"{path} lists {names[counts.argmax()]} {counts.max()} times: keep one row per file.")
        split = self._split(path, header, rows, paths)
        names, labels = self._labels(path, header, rows)
        occurring = [split == i for i in range(len(SPLITS)) if (split == i).any()]
        kept = [all(labels[rows_of, j].sum() >= self.min_clips for rows_of in occurring) for j in range(len(names))]
        if not any(kept):
            raise DataError(
                f"{path}: no tag has {self.min_clips} clips in each split: lower --data.threshold or --data.min_clips."
            )
        folders = [self.audio] if self.audio else [".", path.stem, "audio", "clips"]
        names = [name for name, keep in zip(names, kept, strict=True) if keep]
        audio, paths = locate(root, (folders, paths))
        return Index(audio, names, paths, labels[:, kept], split)

    @cached_property
    def files(self) -> Files:
        """Which listed files are there. Raises DataError where one is not, unless told to skip it."""
        lost = np.flatnonzero(sizes(self.index.audio, self.index.paths) < 0)
        if len(lost) and self.missing == "stop":
            raise DataError(
                f"{self.csv} lists {self.index.paths[lost[0]]}, which is not in {self.index.audio} ({len(lost)} of "
                f"{len(self.index.paths)} rows): correct the table, or leave such rows out with --data.missing skip."
            )
        return super().files

    def _column(self, path: Path, header: list[str], rows: list[list[str]], name: str) -> list[str]:
        if name not in header:
            raise DataError(f"{path} has no column {name!r} but {', '.join(header[:8])}: see --data.file_column and its kin.")
        column = header.index(name)
        return [row[column].strip() for row in rows]

    def _split(self, path: Path, header: list[str], rows: list[list[str]], paths: np.ndarray) -> np.ndarray:
        if self.split_column in header:
            values = self._column(path, header, rows, self.split_column)
            for line, value in enumerate(values, 2):
                if value.lower() not in SPLIT_NAMES:
                    raise DataError(f"{path}, row {line}: split {value!r} is none of train, validation, test.")
            return np.array([SPLIT_NAMES[value.lower()] for value in values], np.int8)
        groups = self._column(path, header, rows, self.group_column) if self.group_column else paths.tolist()
        if len(set(groups)) < len(SPLITS):
            raise DataError(
                f"{path} has {len(set(groups))} files or groups: three at least are needed to draw train, validation, test."
            )
        return draw(groups)

    def _labels(self, path: Path, header: list[str], rows: list[list[str]]) -> tuple[list[str], np.ndarray]:
        if self.tag_columns is None and "tags" in header:
            lists = [[tag.strip() for tag in cell.split(self.separator)] for cell in self._column(path, header, rows, "tags")]
            names = sorted({tag for tags in lists for tag in tags if tag})
            labels = np.array([[name in tags for name in names] for tags in lists], np.uint8).reshape(len(rows), len(names))
        elif self.tag_columns is None:
            columns = [
                c for c in header if c != self.file_column and all(row[header.index(c)].strip() in ("0", "1") for row in rows)
            ]
            names, labels = columns, self._scores(path, header, rows, columns) >= 0.5
        else:
            columns = [c for pattern in self.tag_columns for c in header if fnmatchcase(c, pattern)]
            names = [self._short(c) for c in dict.fromkeys(columns)]
            labels = self._scores(path, header, rows, list(dict.fromkeys(columns))) >= self.threshold
        if not names:
            raise DataError(
                f"{path} has no tags: expected a column `tags`, columns of 0 and 1, or --data.tag_columns; it has "
                f"{', '.join(header[:8])}."
            )
        return names, labels.astype(np.uint8)

    def _short(self, column: str) -> str:
        """A column's name without the fixed beginning of the pattern that chose it."""
        for pattern in self.tag_columns:
            prefix = pattern.split("*")[0]
            if fnmatchcase(column, pattern):
                return column.removeprefix(prefix) if "*" in pattern else column
        return column

    def _scores(self, path: Path, header: list[str], rows: list[list[str]], columns: Sequence[str]) -> np.ndarray:
        scores = np.zeros((len(rows), len(columns)))
        places = [header.index(column) for column in columns]
        for i, row in enumerate(rows):
            try:
                scores[i] = [float(row[place]) for place in places]
            except ValueError as error:
                raise DataError(f"{path}, row {i + 2}: {error}; tag columns hold numbers.") from error
        return scores


def _table(path: Path) -> tuple[list[str], list[list[str]]]:
    if not path.is_file():
        raise DataError(f"{path} does not exist: name the table that lists your files with --data.csv.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: save the table as CSV in UTF-8.") from error
    first = text.split("\n", 1)[0]
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count)))
    rows = [row for row in rows if row]
    if len(rows) < 2:
        raise DataError(f"{path} lists nothing: expected a header and one row per file.")
    for line, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise DataError(f"{path}, row {line}: {len(row)} cells where the header has {len(rows[0])}.")
    return [name.strip() for name in rows[0]], rows[1:]
