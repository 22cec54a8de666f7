"""DCASE 2018 task 4 and DESED: weakly labelled and unlabelled training clips, strongly labelled validation and test clips."""

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
"""Ten classes of the task, in its order, and of DESED."""

# List -> table under metadata/, folder of the clips under audio/, kind of labels.
LISTS = {
    "weak": ("train/weak.csv", "train/weak", "weak"),
    "unlabeled": ("train/unlabel_in_domain.csv", "train/unlabel_in_domain", "none"),
    "unlabeled_out": ("train/unlabel_out_of_domain.csv", "train/unlabel_out_of_domain", "none"),
    "validation": ("test/test.csv", "test", "strong"),
    "test": ("eval/eval.csv", "eval", "strong"),
}


class DCASE2018(SEDDataModule):
    """DCASE 2018 task 4: metadata/ with the tables, audio/ with the clips, optionally video/.

    The paper validates on the task's `test` list and tests on its `eval` list. A partial download is used as it is;
    `prepare` reports the missing clips. Videos have the paths of their clips: audio/test/NAME.wav, video/test/NAME.mp4.
    """

    name = "dcase2018"
    layout = (
        "the folder with metadata/{train/weak.csv, train/unlabel_in_domain.csv, test/test.csv, eval/eval.csv} and "
        "audio/{train/weak, train/unlabel_in_domain, test, eval}/*.wav"
    )
    tables: ClassVar = LISTS

    @property
    def classes(self) -> list[str]:
        """Ten classes of the task."""
        return list(CLASSES)

    def read_lists(self, root: Path) -> dict[str, ClipList]:
        """Read the lists whose table exists. Raises DataError if none does or one is invalid."""
        tables: ClassVar = {name: (root / "metadata" / path, *rest) for name, (path, *rest) in self.tables.items()}
        present = {name: table for name, table in tables.items() if table[0].is_file()}
        if not present:
            first = next(iter(tables.values()))[0]
            raise DataError(f"{first} not found: --data.root must name {self.layout}.")
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


class DESED(DCASE2018):
    """DESED (DCASE 2019 to 2024 task 4): folders `dataset/{metadata,audio}`; missing lists are not used.

    Training lists are weak, unlabeled, synthetic and strong; the test list is the public evaluation set.
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
