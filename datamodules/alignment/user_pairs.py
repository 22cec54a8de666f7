"""Data module of `predict`: user recordings paired with scores, one decoded recording per batch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.alignment.reading import unfoldings
from datamodules.alignment.score import SCORES, Score
from datamodules.audio.files import InputItem, UserFiles, item_of
from datamodules.audio.reading import decode
from datamodules.common.errors import DataError
from datamodules.common.file_search import InputFile, entry_key, files_under
from datamodules.common.input_spec import AlignmentSpec


class ScoredBatch(NamedTuple):
    """Recording and the unfoldings of its score; empty if there is an `error`."""

    path: str
    audio: Tensor  # (samples,) float32 mono at the network's rate
    ways: list[tuple[str, Score]]
    error: str | None
    damage: str | None = None
    remark: str | None = None


class ScoredRecordings(UserFiles):
    """Recordings to align with scores; unreadable ones are yielded with an error.

    Args:
        scores: one score for all recordings, or several files or folders, matched by name, or by position if the lists are
            equally long; default: the score of the same name in the folder of the recording
    """

    name = "recordings"
    ignored_options = UserFiles.ignored_options | {"scores"}
    spec_class = AlignmentSpec

    def __init__(self, inputs: list[str] | str | None = None, scores: list[str] | str | None = None, **kwargs: Any) -> None:
        super().__init__(inputs, **kwargs)
        self.scores = [scores] if isinstance(scores, str) else list(scores or [])

    def set_files(self, inputs: Sequence[str] = (), scores: Sequence[str] = (), **others: Sequence[str]) -> None:
        super().set_files(inputs or self.inputs, **others)
        self.scores = list(scores or self.scores)

    def predict_set(self) -> Dataset:
        """Recordings with their scores. Raises DataError for an input or score that does not exist."""
        pairs = [(recording, score[0] if score else None) for recording, *score in (item.files for item in self.remaining())]
        return ScoredDataset(pairs, self.spec.sample_rate, self.strict)

    def items(self) -> list[InputItem]:
        files = {file.path: file for file in self.files()}
        return [item_of(files[path], *([score] if score else [])) for path, score in self._paired(list(files.values()))]

    def pairs(self) -> list[tuple[str, str | None]]:
        """Recordings with the paths of their scores, or None."""
        return self._paired(self.files())

    def _paired(self, recordings: list[InputFile]) -> list[tuple[str, str | None]]:
        if not self.scores:
            return [(file.path, beside(file.path)) for file in recordings]
        scores = find_scores(self.scores)
        if len(scores) == 1:
            return [(file.path, scores[0]) for file in recordings]
        named = {Path(path).stem: path for path in scores}
        if not any(Path(file.path).stem in named for file in recordings):
            typed = {entry_key(path): score for path, score in zip(self.inputs, self.scores, strict=False)}
            if len(self.inputs) == len(self.scores) == len(recordings) == len(scores):
                return [(file.path, typed[file.key]) for file in recordings]
        return [(file.path, named.get(Path(file.path).stem)) for file in recordings]


class ScoredDataset(Dataset):
    """Recordings as `ScoredBatch`; errors are raised if strict."""

    def __init__(self, pairs: list[tuple[str, str | None]], rate: int, strict: bool) -> None:
        self.pairs, self.rate, self.strict = pairs, rate, strict

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> ScoredBatch:
        path, score = self.pairs[index]
        try:
            if score is None:
                raise DataError(
                    f"{path} has no score: name one for all recordings by --data.scores, or put {Path(path).stem}.mid "
                    f"(or {', '.join(SCORES[2:5])}, ...) beside it."
                )
            ways = unfoldings(score)
            decoded = decode(path, self.rate)
            return ScoredBatch(path, torch.from_numpy(decoded.audio), ways, None, decoded.damage, decoded.remark)
        except DataError as error:
            if self.strict:
                raise
            return ScoredBatch(path, torch.zeros(0), [], str(error))


def beside(recording: str) -> str | None:
    """Score of the same name in the folder of a recording, or None."""
    result = (Path(recording).with_suffix(ending) for ending in SCORES)
    return next((str(path) for path in result if path.is_file()), None)


def find_scores(inputs: list[str]) -> list[str]:
    """Score files of paths and folders, in order and without duplicates. Raises DataError for a path without scores."""
    scores: list[str] = []
    for text in inputs:
        path = Path(text).expanduser()
        files = sorted(files_under(path, SCORES)) if path.is_dir() else [path]
        if not files or not (path.is_dir() or path.is_file()):
            problem = "holds no score" if path.is_dir() else "does not exist"
            raise DataError(f"{text} {problem}: --data.scores takes files ({', '.join(SCORES[:5])}, ...) and folders.")
        scores += map(str, files)
    return list(dict.fromkeys(scores))
