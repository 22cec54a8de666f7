"""What a detector has to beat: the classes' prior, and logistic regressions on the mean (and deviation) of the log-mel.

Neither knows when anything sounds: a class that occurs is said to sound for the whole clip. Thresholds are tuned on
validation, as the network's are.
"""

import numpy as np
import torch
from torch import nn

from datamodules.errors import DataError
from models.features import LogMel
from tasks.baselines import Split, logistic
from tasks.metrics.events.decode import stack
from tasks.metrics.sed import SedRows, summary, tune

FRAME_S = 0.5


def score_baselines(data, net: nn.Module, split: str) -> list[dict]:
    """Rows of name and scores, of a SoundEventData; of `net` only its sampling rate counts."""
    log_mel = LogMel(net.sample_rate, db="power", center=True)
    weak = next((name for name in data.streams if data.lists[name].tags is not None), None)
    if weak is None:
        return []
    train, validation, test = (_summarised(data, name, log_mel) for name in (weak, "validation", split))
    bands = train.features.shape[1] // 2
    predictions = {
        "prior of each class": [np.broadcast_to(train.labels.mean(0), one.labels.shape) for one in (validation, test)],
        "logistic regression, mean log-mel": [logistic(train, validation, one, bands) for one in (validation, test)],
        "logistic regression, mean and deviation": [logistic(train, validation, one, 2 * bands) for one in (validation, test)],
    }
    rows = []
    for name, (known, asked) in predictions.items():
        decision = tune(_detected(data, "validation", known))
        rows.append({"name": name, **summary(_detected(data, split, asked), decision)})
    return rows


def _summarised(data, name: str, log_mel: LogMel) -> Split:
    """Mean and deviation over time of each clip's log-mel, and its tags."""
    clips, features, labels = data.clips(name), [], []
    with torch.no_grad():
        for clip in range(len(clips)):
            try:
                item = clips.item(clip)
            except DataError:
                continue
            mel = log_mel(torch.from_numpy(item.audio)[None])[0]
            features.append(torch.cat([mel.mean(1), mel.std(1)]).numpy())
            labels.append(item.tags)
    return Split(np.array(features), np.array(labels, dtype=np.uint8))


def _detected(data, name: str, probabilities: np.ndarray) -> SedRows:
    """A clip's probability in each of its frames."""
    corpus = data.corpus(name)
    counts = np.ceil(corpus.durations / FRAME_S).astype(int)
    frames = [np.repeat(row[None], count, axis=0) for row, count in zip(probabilities, counts, strict=True)]
    return SedRows(np.arange(len(corpus.names)), np.asarray(probabilities), stack(frames, corpus.durations, FRAME_S), corpus)
