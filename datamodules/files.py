"""A user's own audio to run a network on: files, folders and globs, each file whole, one at a time."""

import glob
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules import audio
from datamodules.base import SuiteData
from datamodules.errors import DataError
from datamodules.windows import Window


class FileBatch(NamedTuple):
    """One file: `audio` (samples,) float32 mono at the network's rate, empty where `error` says why.

    `damage` says why it is shorter than it should be, `remark` how its channels were mixed down, where that is unusual.
    """

    path: str
    audio: Tensor
    error: str | None
    damage: str | None = None
    remark: str | None = None


class UserFiles(SuiteData):
    """Base of what `predict` reads: files of a user's own, shared among the ranks, one a batch.

    Args:
        inputs: files, folders (searched to any depth) and globs, alone or in a list
        num_workers: processes that open or decode ahead
        strict: stop at the first file that cannot be read
    """

    name = "files"
    what = "audio file"
    endings: tuple[str, ...] = audio.READABLE

    def __init__(
        self, inputs: list[str] | str | None = None, num_workers: int = 0, seed: int = 0, strict: bool = False
    ) -> None:
        super().__init__(num_workers=num_workers, seed=seed, strict=strict)
        self.inputs = [inputs] if isinstance(inputs, str) else list(inputs or [])

    def paths(self) -> list[str]:
        """Every file once, sorted. Raises DataError where an input names nothing."""
        return find(self.inputs, self.endings, self.what)

    def evaluation_collate(self, items: Sequence[Any]) -> Any:
        """The one file of a batch."""
        return items[0]


class AudioFiles(UserFiles):
    """Audio files to predict on; one that cannot be read is yielded with its error.

    Args:
        tags: names of the network's outputs, which its checkpoint knows
    """

    window: Window | None = None
    clip_level = None

    def __init__(self, inputs: list[str] | str | None = None, tags: list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(inputs, **kwargs)
        self.tags = list(tags or [])

    def predict_set(self) -> Dataset:
        """Every file, decoded. Raises DataError where an input names nothing."""
        if self.window is None:
            raise ValueError("Tell the data the rate first: data.window = Window(sample_rate, samples, hop, lead).")
        return DecodedFiles(self.paths(), partial(audio.decode, rate=self.window.sample_rate), self.strict)


class DecodedFiles(Dataset):
    """Files as `FileBatch`; `decode` (path) -> Decoded raises DataError, which is raised on if strict."""

    def __init__(self, paths: list[str], decode: Callable[[str], audio.Decoded], strict: bool) -> None:
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
    """The files of these endings that files, folders and globs name, each once, sorted.

    A file named outright is taken whatever its ending; folders and globs give those of the endings alone, hidden ones left
    out. Raises DataError for an input that names nothing.
    """
    if not inputs:
        raise DataError(f"Nothing to predict on: give files, folders or globs as --data.inputs song{endings[0]}.")

    def wanted(path: Path) -> bool:
        return path.suffix.lower() in endings and not path.name.startswith(".") and path.is_file()

    found: dict[str, str] = {}
    for one in inputs:
        path = Path(one).expanduser()
        if path.is_file():
            files = [path]
        else:
            places = [path] if path.is_dir() else [Path(match) for match in glob.glob(str(path), recursive=True)]  # noqa: PTH207  takes absolute patterns
            files = [file for place in places for file in (place.rglob("*") if place.is_dir() else [place]) if wanted(file)]
        if not files:
            kind = f"holds no {what}" if path.is_dir() else f"matches no {what}" if glob.has_magic(one) else "does not exist"
            raise DataError(f"{one} {kind}: --data.inputs takes files ({', '.join(endings[:4])}), folders and globs.")
        found.update({str(file.resolve()): str(file) for file in files})
    return sorted(found.values())
