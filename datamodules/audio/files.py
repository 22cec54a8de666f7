"""A user's own audio to run a network on: files, folders and globs, each file whole, one at a time."""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datamodules.audio import reading
from datamodules.common.base import SuiteDataModule
from datamodules.common.errors import DataError
from datamodules.common.file_search import InputFile, search
from datamodules.common.input_spec import TaggingSpec


class FileBatch(NamedTuple):
    """One file: `audio` (samples,) float32 mono at the network's rate, empty where `error` says why.

    `damage` says why it is shorter than it should be, `remark` how its channels were mixed down, where that is unusual.
    """

    path: str
    audio: Tensor
    error: str | None
    damage: str | None = None
    remark: str | None = None


class InputItem(NamedTuple):
    """One prediction to make.

    `path` is that of its batch; `key` the same for every spelling of the input; `files` what it is read from; `name` its path
    relative to the folder that was named; `stem` what its outputs are called after; `about` tells apart what is asked of one
    file in several ways.
    """

    path: str
    key: str
    files: tuple[str, ...]
    name: str
    stem: str
    about: str = ""


class UserFiles(SuiteDataModule):
    """Base of what `predict` reads: files of a user's own, shared among the ranks, one a batch.

    Args:
        inputs: files, folders (searched to any depth) and globs, alone or in a list
        num_workers: processes that open or decode ahead
        strict: stop at the first file that cannot be read
    """

    name = "files"
    what = "audio file"
    endings: tuple[str, ...] = reading.READABLE
    indifferent = frozenset({"inputs", "num_workers", "strict", "cache_dir", "batch_size", "batch_scope", "seed"})
    """Options that change no prediction."""
    allow_zero_length_dataloader_with_multiple_devices = True  # fewer files than processes, or all of them done

    def __init__(self, inputs: list[str] | str | None = None, num_workers: int = 0, seed: int = 0, strict: bool = False) -> None:
        super().__init__(num_workers=num_workers, seed=seed, strict=strict)
        self.inputs = [inputs] if isinstance(inputs, str) else list(inputs or [])
        self._excluded: Path | None = None
        self._done: frozenset[str] = frozenset()

    def set_files(self, inputs: Sequence[str] = (), **others: Sequence[str]) -> None:
        """Take lists of files instead of those given at first. Raises DataError for a list that is not read here."""
        if others:
            raise DataError(f"--data.{next(iter(others))} is not read here: give files, folders or globs as --data.inputs.")
        self.inputs = list(inputs)

    def exclude(self, folder: Path) -> None:
        """Search no inputs in this folder: that of the outputs may lie among the inputs."""
        self._excluded = folder

    def leave_out(self, keys: Collection[str]) -> None:
        """Read none of the items of these keys: they are done."""
        self._done = frozenset(keys)

    def files(self) -> list[InputFile]:
        """Every file once, sorted by path. Raises DataError where an input names nothing."""
        return search(self.inputs, self.endings, self.what, excluded=self._excluded)

    def paths(self) -> list[str]:
        """Paths of all files."""
        return [file.path for file in self.files()]

    def items(self) -> list[InputItem]:
        """Every prediction to make, those that are left out among them."""
        return [item_of(file) for file in self.files()]

    def remaining(self) -> list[InputItem]:
        """Items that are not left out."""
        return [item for item in self.items() if item.key not in self._done]

    def predict_dataloader(self) -> DataLoader:
        """This rank's share of the remaining items, which may be none."""
        dataset, (rank, world) = self.predict_set(), self.ranks()
        return self._loader(dataset, range(rank, len(dataset), world), self.eval_batch_size, self.evaluation_collate, False)

    def evaluation_collate(self, items: Sequence[Any]) -> Any:
        """The one file of a batch."""
        return items[0]


def item_of(file: InputFile, *others: str) -> InputItem:
    """Prediction on one file, read together with others."""
    return InputItem(file.path, file.key, (file.path, *others), file.name, Path(file.path).stem)


class AudioFiles(UserFiles):
    """Audio files to predict on; one that cannot be read is yielded with its error.

    Args:
        tags: names of the network's outputs, which its checkpoint knows
    """

    spec_class = TaggingSpec

    def __init__(self, inputs: list[str] | str | None = None, tags: list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(inputs, **kwargs)
        self.tags = list(tags or [])

    def predict_set(self) -> Dataset:
        """Every file, decoded. Raises DataError where an input names nothing."""
        rate = self.spec.window.sample_rate
        paths = [item.path for item in self.remaining()]
        return DecodedFiles(paths, partial(reading.decode, rate=rate), self.strict)


class DecodedFiles(Dataset):
    """Files as `FileBatch`; `decode` (path) -> Decoded raises DataError, which is raised on if strict."""

    def __init__(self, paths: list[str], decode: Callable[[str], reading.Decoded], strict: bool) -> None:
        self.paths, self.decode, self.strict = paths, decode, strict

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> FileBatch:
        path = self.paths[index]
        try:
            decoded = self.decode(path)
            return FileBatch(path, torch.from_numpy(decoded.audio), None, decoded.damage, decoded.remark)
        except DataError as error:
            if self.strict:
                raise
            return FileBatch(path, torch.zeros(0), str(error))


def find(inputs: Sequence[str], endings: Sequence[str] = UserFiles.endings, what: str = UserFiles.what) -> list[str]:
    """Paths of the files that files, folders and globs name, each once, sorted. Raises DataError for one that names nothing."""
    return [file.path for file in search(inputs, endings, what)]


# A user's own recordings, sound files and films alike, to predict on.


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
