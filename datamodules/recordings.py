"""A user's own recordings, sound files and films alike, to predict on."""

from typing import Any

import torch
from torch.utils.data import Dataset

from datamodules.files import FileBatch, UserFiles


class Recordings(UserFiles):
    """Sound files and films to predict on, named but not read: one may be hours long.

    Args:
        classes: names of the network's outputs, which its checkpoint knows
    """

    def __init__(self, inputs: list[str] | str | None = None, classes: list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(inputs, **kwargs)
        self.classes = list(classes or [])

    def predict_set(self) -> Dataset:
        """Every file by its path. Raises DataError where an input names nothing."""
        return ListedFiles([item.path for item in self.remaining()])


class ListedFiles(Dataset):
    """Files as `FileBatch` without their audio."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> FileBatch:
        return FileBatch(self.paths[index], torch.zeros(0), None)
