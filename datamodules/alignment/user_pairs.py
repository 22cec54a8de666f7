"""Data module of `predict`: recordings and scores of a user in pairs, one decoded recording a batch."""

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
    """One recording and the ways its score may be played; empty where `error` says why."""

    path: str
    audio: Tensor  # (samples,) float32 mono at the network's rate
    ways: list[tuple[str, Score]]
    error: str | None
    damage: str | None = None
    remark: str | None = None


class ScoredRecordings(UserFiles):
    """Recordings to lay on scores; one that cannot be read, or has no score, is yielded with its error.

    Args:
        scores: a score for all recordings, or several, or folders of them: then each recording's is the one of its name, or,
            where both are lists of equally many files, the one at its place; none: the one of its name beside it
    """

    name = "recordings"
    ignored_options = UserFiles.ignored_options | {"scores"}  # each recording's score stands in its item
    spec_class = AlignmentSpec

    def __init__(self, inputs: list[str] | str | None = None, scores: list[str] | str | None = None, **kwargs: Any) -> None:
        super().__init__(inputs, **kwargs)
        self.scores = [scores] if isinstance(scores, str) else list(scores or [])

    def set_files(self, inputs: Sequence[str] = (), scores: Sequence[str] = (), **others: Sequence[str]) -> None:
        """Take lists of recordings and scores instead of those given at first."""
        super().set_files(inputs or self.inputs, **others)
        self.scores = list(scores or self.scores)

    def predict_set(self) -> Dataset:
        """Every recording with its score. Raises DataError if an input or score names nothing."""
        pairs = [(recording, score[0] if score else None) for recording, *score in (item.files for item in self.remaining())]
        return Recorded(pairs, self.spec.sample_rate, self.strict)

    def items(self) -> list[InputItem]:
        """Every recording, read together with its score where there is one."""
        files = {file.path: file for file in self.files()}
        return [item_of(files[path], *([score] if score else [])) for path, score in self._paired(list(files.values()))]

    def pairs(self) -> list[tuple[str, str | None]]:
        """Every recording, and its score where there is one."""
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


class Recorded(Dataset):
    """Recordings as `ScoredBatch`; what is wrong with one is raised if strict."""

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
    """The score of a recording's name in its folder, if there is one."""
    result = (Path(recording).with_suffix(ending) for ending in SCORES)
    return next((str(path) for path in result if path.is_file()), None)


def find_scores(inputs: list[str]) -> list[str]:
    """Score files that files and folders name, each once, in order. Raises DataError for one that names nothing."""
    scores: list[str] = []
    for text in inputs:
        path = Path(text).expanduser()
        files = sorted(files_under(path, SCORES)) if path.is_dir() else [path]
        if not files or not (path.is_dir() or path.is_file()):
            what = "holds no score" if path.is_dir() else "does not exist"
            raise DataError(f"{text} {what}: --data.scores takes files ({', '.join(SCORES[:5])}, ...) and folders.")
        scores += map(str, files)
    return list(dict.fromkeys(scores))
