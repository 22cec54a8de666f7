"""DCASE 2018 task 4: weakly labelled and unlabelled clips of YouTube, strongly labelled ones to validate and test."""

from pathlib import Path
from typing import ClassVar

import numpy as np

from datamodules.common.errors import DataError
from datamodules.sed.data import SEDDataModule
from datamodules.sed.event_clips import ClipList
from datamodules.sed.event_files import read_events, read_names, read_weak

CLASSES = (
    "Alarm_bell_ringing",
    "Blender",
    "Cat",
    "Dishes",
    "Dog",
    "Electric_shaver_toothbrush",
    "Frying",
    "Running_water",
    "Speech",
    "Vacuum_cleaner",
)
"""The ten classes, in the order of the task; those of DESED are the same."""

# List -> its table under metadata/, the folder of its clips under audio/, what the table says.
LISTS = {
    "weak": ("train/weak.csv", "train/weak", "weak"),
    "unlabeled": ("train/unlabel_in_domain.csv", "train/unlabel_in_domain", "none"),
    "unlabeled_out": ("train/unlabel_out_of_domain.csv", "train/unlabel_out_of_domain", "none"),
    "validation": ("test/test.csv", "test", "strong"),
    "test": ("eval/eval.csv", "eval", "strong"),
}


class DCASE2018(SEDDataModule):
    """The task's own folders: metadata/ with its tables, audio/ with what of the clips could be had, video/ beside it.

    The paper validates on what the task calls `test` and tests on what it calls `eval`. A partial download is used as far as it
    goes; `prepare` says how far. Films lie as their clips do: audio/test/NAME.wav, video/test/NAME.mp4.
    """

    name = "dcase2018"
    layout = (
        "the folder with metadata/{train/weak.csv, train/unlabel_in_domain.csv, test/test.csv, eval/eval.csv} and "
        "audio/{train/weak, train/unlabel_in_domain, test, eval}/*.wav"
    )
    tables: ClassVar = LISTS

    @property
    def classes(self) -> list[str]:
        """The ten classes of the task."""
        return list(CLASSES)

    def read_lists(self, root: Path) -> dict[str, ClipList]:
        """The lists whose table is there. Raises DataError where none is, or one is not as expected."""
        tables: ClassVar = {name: (root / "metadata" / path, *rest) for name, (path, *rest) in self.tables.items()}
        present = {name: table for name, table in tables.items() if table[0].is_file()}
        if not present:
            first = next(iter(tables.values()))[0]
            raise DataError(f"{first} is not there: --data.root must name {self.layout}.")
        return {name: self._read(*table) for name, table in present.items()}

    def _read(self, path: Path, folder: str, kind: str) -> ClipList:
        folder = f"audio/{folder}"
        if kind == "none":
            return ClipList(folder, read_names(path))
        if kind == "weak":
            weak = read_weak(path, self.classes)
            return ClipList(folder, weak.names, weak.tags)
        strong = read_events(path, self.classes, strict=self.strict)
        tags = np.zeros((len(strong.names), len(self.classes)), bool)
        tags[strong.events.clip, strong.events.label] = True
        return ClipList(folder, strong.names, tags, strong.events, strong.remarks, strong.left_out)


# DESED, the domestic sounds of DCASE 2019 to 2024 task 4: real clips weakly, strongly or not labelled, and soundscapes.


class DESED(DCASE2018):
    """The data set's own folders `dataset/{metadata,audio}`; lists that are not there are not used.

    Lists to train on are weak, unlabeled, synthetic and strong; `validation` validates, the public evaluation set tests.
    """

    name = "desed"
    layout = (
        "the folder with metadata/{train/weak.tsv, train/unlabel_in_domain.tsv, validation/validation.tsv, eval/public.tsv, ...} "
        "and audio/ beside it"
    )
    tables: ClassVar = {
        "weak": ("train/weak.tsv", "train/weak", "weak"),
        "unlabeled": ("train/unlabel_in_domain.tsv", "train/unlabel_in_domain", "none"),
        "synthetic": ("train/synthetic21_train/soundscapes.tsv", "train/synthetic21_train/soundscapes", "strong"),
        "strong": ("train/audioset_strong.tsv", "train/strong_label_real", "strong"),
        "validation": ("validation/validation.tsv", "validation/validation", "strong"),
        "test": ("eval/public.tsv", "eval/public", "strong"),
    }
