import numpy as np
import pytest
import torch

from datamodules.common.errors import DataError
from models.blocks.features import LogMel
from tasks.tagging.report import Split, baselines, score_baselines, summarise

BANDS = 4


def splits(seed=0, clips=120):
    """Three tags: told by the mean of a band, by the deviation of a band, by nothing; a fourth that all clips have."""
    random = np.random.default_rng(seed)
    made = []
    for _ in range(3):
        features = random.normal(size=(clips, 2 * BANDS))
        labels = [features[:, 1] > 0.2, features[:, BANDS + 2] > 0.2, random.random(clips) > 0.5, np.ones(clips)]
        made.append(Split(features, np.stack(labels, 1).astype(np.uint8)))
    return made


def test_table_has_the_prior_and_both_regressions():
    prior, mean, both = baselines(*splits())
    assert prior["auroc_macro"] == 0.5
    train, validation, test = splits()
    one = baselines(*(Split(split.features, split.labels[:, :1]) for split in (train, validation, test)))
    assert one[1]["auroc_macro"] > 0.98  # the first tag lies in the mean
    two = baselines(*(Split(split.features, split.labels[:, 1:2]) for split in (train, validation, test)))
    assert two[1]["auroc_macro"] < 0.65 < 0.98 < two[2]["auroc_macro"]  # the second only in the deviation
    assert prior["auroc_macro"] < mean["auroc_macro"] < both["auroc_macro"] < 0.95
    assert prior["ap_macro"] == pytest.approx(test.labels[:, :3].mean(), abs=0.02)  # tags without negatives are left out


class Noises:
    """Clips that differ in level; the last cannot be read."""

    labels = np.array([[1], [0], [1]], np.uint8)

    def __len__(self):
        return 3

    def read(self, clip, start, samples):
        if clip == 2:
            raise DataError("broken")
        assert (start, samples) == (0, 960_000)
        return np.random.default_rng(clip).normal(0, (3000, 300)[clip], 16_000).astype(np.int16)


def test_features_are_mean_and_deviation_of_the_log_mel():
    log_mel = LogMel(db="power", center=True)
    split = summarise(Noises(), log_mel)
    assert split.labels.tolist() == [[1], [0]]
    mel = log_mel(torch.from_numpy(Noises().read(0, 0, 960_000))[None])[0].numpy()
    np.testing.assert_allclose(split.features[0], np.concatenate([mel.mean(1), mel.std(1, ddof=1)]), rtol=1e-4)
    assert split.features[0, :96].mean() - split.features[1, :96].mean() == pytest.approx(20, abs=1)


def test_scores_the_splits_of_a_data_module():
    class Data:
        def clips(self, split):
            return {"train": Noises(), "validation": Noises(), "test": Noises()}[split]

    net = torch.nn.Module()
    net.sample_rate = 16_000
    names = [row["name"] for row in score_baselines(Data(), net)]
    assert names == ["prior of each tag", "logistic regression, mean log-mel", "logistic regression, mean and deviation"]
