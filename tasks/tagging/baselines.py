"""What a tagger has to beat: the tags' prior, and logistic regressions on the mean (and deviation) of the log-mel."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from datamodules.errors import DataError
from models.features import LogMel
from tasks.baselines import Split, logistic
from tasks.metrics.ranking import average_precision, roc_auc

SECONDS = 60  # heard of a clip, at most


class ClipSource(Protocol):
    """A split of a tagging set: `labels` (clips, tags) in {0, 1} and int16 audio by position."""

    labels: np.ndarray

    def __len__(self) -> int: ...

    def read(self, clip: int, start: int, samples: int) -> np.ndarray: ...


def score_baselines(data, net: nn.Module) -> list[dict]:
    """Table of the baselines on the test split of a TaggingData: rows of name, auroc_macro, ap_macro.

    All see the same log-mel, whatever the network sees; of `net` only its sampling rate counts.
    """
    log_mel = LogMel(net.sample_rate, db="power", center=True)
    return baselines(*(summarise(data.clips(split), log_mel) for split in ("train", "validation", "test")))


def summarise(clips: ClipSource, log_mel: Callable[[Tensor], Tensor]) -> Split:
    """Mean and deviation over time of each clip's log-mel; `log_mel` maps (1, samples) int16 to (1, mels, frames).

    Clips that cannot be read are left out; of long ones the first SECONDS are heard.
    """
    features, kept = [], []
    with torch.no_grad():
        for clip in range(len(clips)):
            try:
                audio = clips.read(clip, 0, SECONDS * log_mel.sample_rate)
            except DataError:
                continue
            mel = log_mel(torch.from_numpy(audio)[None])[0]
            features.append(torch.cat([mel.mean(1), mel.std(1)]).numpy())
            kept.append(clip)
    return Split(np.array(features), np.asarray(clips.labels)[kept])


def baselines(train: Split, validation: Split, test: Split) -> list[dict]:
    """Fit on `train`, choose the penalty by macro AUROC on `validation`, score on `test`: three rows."""
    bands = train.features.shape[1] // 2
    predictions = {
        "prior of each tag": np.broadcast_to(train.labels.mean(0), test.labels.shape),
        "logistic regression, mean log-mel": logistic(train, validation, test, bands),
        "logistic regression, mean and deviation": logistic(train, validation, test, 2 * bands),
    }
    return [
        {
            "name": name,
            "auroc_macro": float(np.nanmean(roc_auc(scores, test.labels))),
            "ap_macro": float(np.nanmean(average_precision(scores, test.labels))),
        }
        for name, scores in predictions.items()
    ]
