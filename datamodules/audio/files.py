"""Inputs of `predict`: files, folders and globs -> one whole file per batch."""

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
    """One decoded file."""

    path: str
    audio: Tensor  # (samples,) float32 mono at the network's rate; empty after an error
    error: str | None
    damage: str | None = None  # reason why it is shorter than its header declares
    remark: str | None = None  # unusual downmix or level


class InputItem(NamedTuple):
    """One prediction to make."""

    path: str  # path in its batch
    key: str  # the same for every spelling of the path
    files: tuple[str, ...]  # files it is read from
    name: str  # path relative to the input folder
    stem: str  # base name of its outputs
    about: str = ""  # distinguishes several requests on one file


class UserFiles(SuiteDataModule):
    """Base of the data modules of `predict`: user files, shared among the ranks, one per batch.

    Args:
        inputs: files, folders (searched to any depth) and globs, alone or in a list
        num_workers: loader processes
        strict: stop at the first file that cannot be read
    """

    name = "files"
    noun = "audio file"  # of messages
    suffixes: tuple[str, ...] = reading.MEDIA_SUFFIXES
    ignored_options = frozenset({"inputs", "num_workers", "strict", "cache_dir", "batch_size", "batch_scope", "seed"})
    """Options that do not change predictions."""
    allow_zero_length_dataloader_with_multiple_devices = True  # fewer files than processes, or all are done

    def __init__(self, inputs: list[str] | str | None = None, num_workers: int = 0, seed: int = 0, strict: bool = False) -> None:
        super().__init__(num_workers=num_workers, seed=seed, strict=strict)
        self.inputs = [inputs] if isinstance(inputs, str) else list(inputs or [])
        self._excluded: Path | None = None
        self._done: frozenset[str] = frozenset()

    def set_files(self, inputs: Sequence[str] = (), **others: Sequence[str]) -> None:
        """Replace the inputs. Raises DataError for a list that this data module does not read."""
        if others:
            raise DataError(f"--data.{next(iter(others))} is not read here: give files, folders or globs as --data.inputs.")
        self.inputs = list(inputs)

    def exclude(self, folder: Path) -> None:
        """Exclude a folder from the search, such as that of the outputs."""
        self._excluded = folder

    def leave_out(self, keys: Collection[str]) -> None:
        """Skip the items with these keys, which are done."""
        self._done = frozenset(keys)

    def files(self) -> list[InputFile]:
        """Every file once, sorted by path. Raises DataError if an input matches no file."""
        return search(self.inputs, self.suffixes, self.noun, excluded=self._excluded)

    def paths(self) -> list[str]:
        """Paths of all files."""
        return [file.path for file in self.files()]

    def items(self) -> list[InputItem]:
        """Every prediction to make, skipped ones included."""
        return [item_of(file) for file in self.files()]

    def remaining(self) -> list[InputItem]:
        """Items that are not skipped."""
        return [item for item in self.items() if item.key not in self._done]

    def predict_dataloader(self) -> DataLoader:
        """This rank's share of the remaining items, which may be none."""
        dataset, (rank, world) = self.predict_set(), self.ranks()
        return self._loader(dataset, range(rank, len(dataset), world), self.eval_batch_size, self.evaluation_collate, False)

    def evaluation_collate(self, items: Sequence[Any]) -> Any:
        """The one file of a batch."""
        return items[0]


def item_of(file: InputFile, *others: str) -> InputItem:
    """Prediction on one file, read together with `others`."""
    return InputItem(file.path, file.key, (file.path, *others), file.name, Path(file.path).stem)


class AudioFiles(UserFiles):
    """Audio files to predict on; an unreadable file is yielded with its error.

    Args:
        tags: names of the network's outputs, from its checkpoint
    """

    spec_class = TaggingSpec

    def __init__(self, inputs: list[str] | str | None = None, tags: list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(inputs, **kwargs)
        self.tags = list(tags or [])

    def predict_set(self) -> Dataset:
        """Decoded files. Raises DataError if an input matches no file."""
        rate = self.spec.window.sample_rate
        paths = [item.path for item in self.remaining()]
        return DecodedFiles(paths, partial(reading.decode, rate=rate), self.strict)


class DecodedFiles(Dataset):
    """Files as `FileBatch`; a DataError of `decode` (path -> Decoded) is kept in the batch, or raised if strict."""

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


def find(inputs: Sequence[str], suffixes: Sequence[str] = UserFiles.suffixes, noun: str = UserFiles.noun) -> list[str]:
    """Paths of files, folders and globs, each file once, sorted. Raises DataError for an input that matches no file."""
    return [file.path for file in search(inputs, suffixes, noun)]


class Recordings(UserFiles):
    """Audio and video files to predict on, listed but not read, since one may be hours long.

    Args:
        classes: names of the network's outputs, from its checkpoint
    """

    def __init__(self, inputs: list[str] | str | None = None, classes: list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(inputs, **kwargs)
        self.classes = list(classes or [])

    def predict_set(self) -> Dataset:
        """Paths of all files. Raises DataError if an input matches no file."""
        return ListedFiles([item.path for item in self.remaining()])


class ListedFiles(Dataset):
    """Files as `FileBatch` without their audio."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> FileBatch:
        return FileBatch(self.paths[index], torch.zeros(0), None)
