"""What any tagger has to beat: the tags' prior, and logistic regressions on the mean (and deviation) of the log-mel."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

SECONDS = 60.0  # of a clip at most, from its start
STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3)  # C of the logistic regression, inverse of the penalty


class ClipSource(Protocol):
    """A split of a tagging set: `labels` (clips, tags) and int16 audio by position."""

    labels: np.ndarray

    def __len__(self) -> int: ...

    def whole(self, clip: int) -> np.ndarray:
        """int16 samples of a clip."""


class Split(NamedTuple):
    """Features (clips, 2 * mels), mean before deviation, and labels (clips, tags) in {0, 1}."""

    features: np.ndarray
    labels: np.ndarray


class Score(NamedTuple):
    """One row of the table: macro averages over the tags that have both kinds of clip."""

    name: str
    auroc_macro: float
    ap_macro: float


def features(clips: ClipSource, log_mel: Callable[[Tensor], Tensor]) -> Split:
    """Mean and deviation over time of each clip's log-mel: `log_mel` maps (1, samples) int16 to (1, mels, frames).

    Clips that cannot be read are left out. At most SECONDS of a clip are heard.
    """
    from datamodules.errors import DataError

    rows, kept = [], []
    limit = int(SECONDS * getattr(log_mel, "sample_rate", 16_000))
    with torch.no_grad():
        for clip in range(len(clips)):
            try:
                audio = torch.from_numpy(clips.whole(clip)[:limit])
            except DataError:
                continue
            mel = log_mel(audio[None])[0]
            rows.append(torch.cat([mel.mean(1), mel.std(1)]).numpy())
            kept.append(clip)
    return Split(np.array(rows), np.asarray(clips.labels)[kept])


def baselines(train: Split, validation: Split, test: Split) -> list[Score]:
    """Fit on `train`, choose the penalty by macro AUROC on `validation`, score on `test`: three rows."""
    prior = np.broadcast_to(train.labels.mean(0), test.labels.shape)
    bands = train.features.shape[1] // 2
    return [
        score("tag prior", prior, test.labels),
        score("logistic regression, mean log-mel", logistic(train, validation, test, bands), test.labels),
        score("logistic regression, mean and deviation", logistic(train, validation, test, 2 * bands), test.labels),
    ]


def logistic(train: Split, validation: Split, test: Split, columns: int) -> np.ndarray:
    """Probabilities (clips, tags) on `test` of one regression per tag on the first `columns` features, standardised."""
    mean, deviation = train.features[:, :columns].mean(0), train.features[:, :columns].std(0) + 1e-6
    inputs = [(split.features[:, :columns] - mean) / deviation for split in (train, validation, test)]

    def chosen(strength: float) -> tuple[float, np.ndarray]:
        heard = np.concatenate(inputs[1:])
        columns = [_fitted(inputs[0], labels, heard, strength) for labels in train.labels.T]
        probabilities = np.stack(columns, 1)
        middle = len(validation.labels)
        return score("", probabilities[:middle], validation.labels).auroc_macro, probabilities[middle:]

    return max((chosen(strength) for strength in STRENGTHS), key=lambda pair: np.nan_to_num(pair[0]))[1]


def _fitted(inputs: np.ndarray, labels: np.ndarray, heard: np.ndarray, strength: float) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression

    if labels.min() == labels.max():
        return np.full(len(heard), float(labels[0]))
    return LogisticRegression(C=strength, max_iter=200).fit(inputs, labels).predict_proba(heard)[:, 1]


def score(name: str, probabilities: np.ndarray, labels: np.ndarray) -> Score:
    """Exact macro AUROC and AP of (clips, tags); NaN where no tag has both kinds of clip."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    mixed = np.flatnonzero((labels.min(0) == 0) & (labels.max(0) == 1))
    if not len(mixed):
        return Score(name, float("nan"), float("nan"))
    pairs = [(labels[:, tag], probabilities[:, tag]) for tag in mixed]
    return Score(
        name,
        float(np.mean([roc_auc_score(*pair) for pair in pairs])),
        float(np.mean([average_precision_score(*pair) for pair in pairs])),
    )
