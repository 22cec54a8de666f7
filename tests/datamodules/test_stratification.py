"""Iterative stratification: shares of every label, groups kept together, all labels in all splits where they can be."""

import numpy as np
import pytest

from datamodules.common.splits import draw_splits, stratify


def positives(labels, split):
    """Positives of each label in each split, (splits, labels)."""
    return np.stack([labels[split == i].sum(0) for i in range(3)])


def test_every_label_has_its_share_of_every_split():
    labels = np.random.default_rng(0).random((2000, 20)) < np.linspace(0.01, 0.4, 20)
    split = stratify(labels, [str(i) for i in range(2000)])
    shares = positives(labels, split) / labels.sum(0)
    assert np.abs(shares - np.array([[0.8], [0.1], [0.1]])).max() < 0.05
    assert np.abs(np.bincount(split) - [1600, 200, 200]).max() <= 10


@pytest.mark.parametrize("seed", range(4))
def test_fifty_tags_on_ninety_clips_stay_what_they_can(seed):
    random = np.random.default_rng(seed)
    weights = 1 / np.arange(1, 51) ** 0.7
    labels = np.zeros((90, 50), int)
    for row in labels:
        row[random.choice(50, random.integers(1, 6), replace=False, p=weights / weights.sum())] = 1
    names = [f"clip{i}" for i in range(90)]
    possible = (labels.sum(0) >= 3).sum()
    kept = (positives(labels, stratify(labels, names)) >= 1).all(0).sum()
    assert kept >= possible - 1 and kept > 2 * (positives(labels, draw_splits(names)) >= 1).all(0).sum()


def test_groups_stay_together_and_the_order_of_the_rows_does_not_matter():
    random = np.random.default_rng(1)
    labels, groups = random.random((300, 5)) < 0.2, np.array([f"album {i // 3}" for i in range(300)])
    split = stratify(labels, groups)
    assert (split.reshape(100, 3) == split.reshape(100, 3)[:, :1]).all()
    order = random.permutation(300)
    assert np.array_equal(stratify(labels[order], groups[order]), split[order])
    assert not np.array_equal(stratify(labels, groups, seed=1), split)


def test_every_split_gets_as_many_of_a_label_as_it_is_asked_for():
    labels = np.zeros((40, 2), int)
    labels[:9, 0], labels[9:, 1] = 1, 1
    assert positives(labels, stratify(labels, [str(i) for i in range(40)], least=3))[:, 0].tolist() == [3, 3, 3]
