"""A user's own recordings and scores to lay on each other: which belong together, decoded, one recording a batch."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.alignment.score import SCORES, Score, unfoldings
from datamodules.audio import decode
from datamodules.errors import DataError
from datamodules.files import UserFiles


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
    sample_rate: int | None = None

    def __init__(
        self, inputs: list[str] | str | None = None, scores: list[str] | str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(inputs, **kwargs)
        self.scores = [scores] if isinstance(scores, str) else list(scores or [])

    def predict_set(self) -> Dataset:
        """Every recording with its score. Raises DataError where an input or score names nothing."""
        if self.sample_rate is None:
            raise ValueError("Tell the data the network's rate first: data.sample_rate = ...")
        return Recorded(self.pairs(), self.sample_rate, self.strict)

    def pairs(self) -> list[tuple[str, str | None]]:
        """Every recording, and its score where there is one."""
        recordings = self.paths()
        if not self.scores:
            return [(path, beside(path)) for path in recordings]
        scores = find_scores(self.scores)
        if len(scores) == 1:
            return [(path, scores[0]) for path in recordings]
        named = {Path(path).stem: path for path in scores}
        if not any(Path(path).stem in named for path in recordings):
            typed = [str(Path(path).expanduser()) for path in self.inputs]
            if len(typed) == len(self.scores) == len(recordings) == len(scores):
                return list(zip(typed, self.scores, strict=True))
        return [(path, named.get(Path(path).stem)) for path in recordings]


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
    found = (Path(recording).with_suffix(ending) for ending in SCORES)
    return next((str(path) for path in found if path.is_file()), None)


def find_scores(given: list[str]) -> list[str]:
    """Score files that files and folders name, each once, in order. Raises DataError for one that names nothing."""
    found: list[str] = []
    for one in given:
        path = Path(one).expanduser()
        files = sorted(p for p in path.rglob("[!.]*") if p.suffix.lower() in SCORES and p.is_file()) if path.is_dir() else [path]
        if not files or not files[0].is_file():
            what = "holds no score" if path.is_dir() else "does not exist"
            raise DataError(f"{one} {what}: --data.scores takes files ({', '.join(SCORES[:5])}, ...) and folders.")
        found += map(str, files)
    return list(dict.fromkeys(found))
