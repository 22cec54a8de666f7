"""Tagging scores: equal to scikit-learn, the same on one process and two, never an average of averages."""

import csv
import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torchmetrics.functional.classification import multilabel_auroc, multilabel_average_precision

from tasks.metrics import ranking
from tasks.reporting.tables import write_csv
from tasks.tagging.metrics import ClipScores, TaggingScores, per_tag_table
from tests.helpers import forkserver
from tests.helpers.clips import batches, score_shards, scored


def tied(clips=301, tags=7, seed=0):
    """Probabilities on a coarse grid, so that many tie, and labels with one tag nobody has and one that all have."""
    random = np.random.default_rng(seed)
    labels = random.random((clips, tags)) < 0.15
    scores = np.round(0.6 * random.random((clips, tags)) + 0.3 * labels, 2)
    labels[:, 2], labels[:, 5] = False, True
    return scores, labels.astype(np.uint8)


SCORED = [0, 1, 3, 4, 6]


def test_exact_scores_equal_sklearn():
    scores, labels = tied()
    expected = [roc_auc_score(labels[:, t], scores[:, t]) for t in SCORED]
    np.testing.assert_allclose(ranking.roc_auc(scores, labels)[SCORED], expected, atol=1e-12, rtol=0)
    expected = [average_precision_score(labels[:, t], scores[:, t]) for t in SCORED]
    np.testing.assert_allclose(ranking.average_precision(scores, labels)[SCORED], expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("seed", range(5))
def test_exact_scores_equal_sklearn_when_nearly_everything_ties(seed):
    random = np.random.default_rng(seed)
    scores, labels = random.integers(0, 3, (40, 4)) / 2, random.integers(0, 2, (40, 4))
    expected = roc_auc_score(labels, scores, average=None), average_precision_score(labels, scores, average=None)
    np.testing.assert_allclose(ranking.roc_auc(scores, labels), expected[0], atol=1e-12, rtol=0)
    np.testing.assert_allclose(ranking.average_precision(scores, labels), expected[1], atol=1e-12, rtol=0)


def test_macro_leaves_out_what_cannot_be_scored_and_micro_does_not():
    scores, labels = tied()
    found = ranking.summary(scores, labels)
    assert np.isnan(ranking.roc_auc(scores, labels)[[2, 5]]).all()
    assert np.isnan(ranking.average_precision(scores, labels)[[2, 5]]).all()
    assert (found["n_clips"], found["n_tags_scored"]) == (301, 5)
    kept = labels[:, SCORED], scores[:, SCORED]
    assert found["auroc_macro"] == pytest.approx(roc_auc_score(*kept, average="macro"), abs=1e-12)
    assert found["ap_macro"] == pytest.approx(average_precision_score(*kept, average="macro"), abs=1e-12)
    assert found["auroc_micro"] == pytest.approx(roc_auc_score(labels.ravel(), scores.ravel()), abs=1e-12)
    assert found["ap_micro"] == pytest.approx(average_precision_score(labels.ravel(), scores.ravel()), abs=1e-12)


def test_exact_scores_equal_torchmetrics_without_thresholds():
    scores, labels = tied()
    tensors = torch.from_numpy(scores[:, SCORED]), torch.from_numpy(labels[:, SCORED]).long()
    area = multilabel_auroc(*tensors, num_labels=5, average=None, thresholds=None)
    np.testing.assert_allclose(ranking.roc_auc(scores, labels)[SCORED], area, atol=1e-6)
    precision = multilabel_average_precision(*tensors, num_labels=5, average=None, thresholds=None)
    np.testing.assert_allclose(ranking.average_precision(scores, labels)[SCORED], precision, atol=1e-6)


def test_a_threshold_grid_would_be_wrong_on_skewed_scores():
    """The trap behind the rule: taggers put most probabilities near zero, between two points of any grid."""
    random = np.random.default_rng(0)
    labels = random.random((500, 2)) < 0.1
    scores = 10 ** (-5 + random.random((500, 2)) + 0.5 * labels)
    exact = ranking.average_precision(scores, labels).mean()
    binned = multilabel_average_precision(torch.from_numpy(scores), torch.from_numpy(labels).long(), num_labels=2, thresholds=200)
    assert abs(exact - float(binned)) > 0.1


def test_scores_that_are_not_finite_make_the_averages_nan():
    scores, labels = tied()
    scores[3, 1] = np.nan
    assert np.isnan(ranking.roc_auc(scores, labels)[1])
    assert np.isnan(ranking.summary(scores, labels)["auroc_macro"])
    assert np.isnan(ranking.summary(scores, labels)["ap_micro"])


def test_nothing_to_score_is_nan_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = ranking.summary(np.full((4, 2), 0.5), np.zeros((4, 2)))
        empty = ranking.summary(np.zeros((0, 2)), np.zeros((0, 2)))
    assert np.isnan(found["auroc_macro"])
    assert found["n_tags_scored"] == 0
    assert np.isnan(empty["ap_micro"])
    assert empty["n_clips"] == 0


def test_bootstrap_equals_scoring_the_drawn_clips():
    scores, labels = tied()
    found = ranking.bootstrap(scores, labels, resamples=9, seed=4)
    drawn = np.random.default_rng(4).integers(len(scores), size=(9, len(scores)))
    for i, clips in enumerate(drawn):
        again = scores[clips], labels[clips]
        np.testing.assert_allclose(found.roc_auc[i], ranking.roc_auc(*again), atol=1e-12)
        np.testing.assert_allclose(found.average_precision[i], ranking.average_precision(*again), atol=1e-12)


def test_bootstrap_is_seeded_and_independent_of_the_block_size(monkeypatch):
    scores, labels = tied(60)
    once = ranking.bootstrap(scores, labels, resamples=50, seed=1)
    monkeypatch.setattr(ranking, "BLOCK", 7)
    again = ranking.bootstrap(scores, labels, resamples=50, seed=1)
    other = ranking.bootstrap(scores, labels, resamples=50, seed=2)
    np.testing.assert_array_equal(once.roc_auc, again.roc_auc)
    assert not np.array_equal(once.roc_auc, other.roc_auc, equal_nan=True)


def test_bootstrap_interval_covers_the_value_and_narrows_with_more_clips():
    widths = []
    for clips in (80, 800):
        random = np.random.default_rng(0)
        labels = random.random((clips, 3)) < 0.3
        scores = random.random((clips, 3)) + 0.4 * labels
        area, _ = ranking.bootstrap(scores, labels, resamples=200).interval()
        value = ranking.roc_auc(scores, labels)
        assert ((area[0] < value) & (value < area[1])).all()
        widths.append(np.diff(area, axis=0).mean())
    assert widths[1] < widths[0] / 2


def test_a_clip_is_the_weighted_mean_of_its_chunks():
    metric = scored(23, size=4)
    rows = metric.scores()
    chance, label, clip, weight = (np.concatenate(x) for x in zip(*([t.numpy() for t in b] for b in batches(23, 4)), strict=True))
    for i in range(23):
        mine = clip == i
        np.testing.assert_allclose(rows.probabilities[i], np.average(chance[mine], axis=0, weights=weight[mine]), atol=1e-6)
        np.testing.assert_array_equal(rows.labels[i], label[mine][0])
    expected = roc_auc_score(rows.labels, rows.probabilities, average="macro")
    assert metric.compute()["auroc_macro"] == pytest.approx(expected, abs=1e-12)


def test_batch_size_and_order_change_nothing():
    whole = scored(23, size=23).compute()
    assert scored(23, size=1).compute() == whole
    assert scored(23, size=5, order=np.random.default_rng(3).permutation(23)).compute() == whole


def test_a_mean_over_batches_would_be_another_number():
    whole = scored(40, size=40).compute()["ap_macro"]
    parts = []
    for batch in batches(40, 8):
        metric = TaggingScores()
        metric.update(*batch)
        parts.append(metric.compute()["ap_macro"])
    assert abs(np.mean(parts) - whole) > 0.01


def test_a_clip_seen_twice_counts_once():
    once, twice = scored(11, size=3), scored(11, size=3)
    for batch in batches(11, 3, order=[0, 4, 10]):
        twice.update(*batch)
    assert twice.compute() == once.compute()
    assert twice.scores().clip.tolist() == list(range(11))


def test_reset_forgets_the_clips():
    metric = scored(11, size=3)
    metric.reset()
    for batch in batches(7, 3, seed=1):
        metric.update(*batch)
    assert metric.compute() == scored(7, size=3, seed=1).compute()


def test_half_precision_is_refused_and_a_half_precision_network_does_not_touch_the_rows():
    chance, label, clip, weight = next(batches(5, 5))
    for dtype in (torch.bfloat16, torch.float16):
        with pytest.raises(ValueError, match=r"logits\.float\(\)"):
            TaggingScores().update(chance.to(dtype), label, clip, weight)
    network = torch.nn.ModuleDict({"net": torch.nn.Linear(2, 2), "scores": TaggingScores()}).to(torch.bfloat16)
    network["scores"].update(chance, label, clip, weight)
    assert network["scores"].compute() == scored(5, size=5).compute()


def test_chunks_of_a_clip_split_over_batches_are_an_error():
    chance, label, clip, weight = next(batches(5, 5))
    metric = TaggingScores()
    metric.update(chance, label, clip, weight / 2)
    with pytest.raises(ValueError, match="same batch"):
        metric.compute()
    with pytest.raises(ValueError, match="expected"):
        metric.update(chance, label[:, :2], clip, weight)


def test_two_processes_equal_one(tmp_path):
    every = list(range(23))
    shards = [
        [every[0::2], every[1::2]],  # 12 and 11 clips
        [[*every[0::2], 1], [*every[1::2], 0, 2]],  # padded by repeating, as a default sampler does
        [every, []],  # a rank without clips
    ]
    other = forkserver.call(score_shards, 1, str(tmp_path), shards)
    score_shards(0, str(tmp_path), shards)
    assert other.wait(60) == 0
    one = scored(23, size=4)
    for case, orders in enumerate(shards):
        for rank in (0, 1):
            result, clip, probabilities, held = torch.load(tmp_path / f"{case}-{rank}.pt", weights_only=False)
            assert result == one.compute(), (case, rank)
            assert clip.tolist() == every
            np.testing.assert_array_equal(probabilities, one.scores().probabilities)
            assert held == len(orders[rank])


def test_per_tag_table_on_disk(tmp_path):
    scores, labels = tied()
    rows = per_tag_table(ClipScores(np.arange(301), scores, labels), list("abcdefg"), resamples=50)
    about = {"data": "demo", "subset": "all", "split": "test", "policy": "cover"}
    with write_csv(tmp_path / "deep" / "per_tag.csv", rows, about).open() as file:
        read = list(csv.DictReader(file))
    assert [row["tag"] for row in read] == list("abcdefg")
    assert read[0]["policy"] == "cover"
    assert int(read[0]["clips"]) == 301
    assert int(read[0]["support"]) == labels[:, 0].sum()
    assert float(read[0]["prevalence"]) == pytest.approx(labels[:, 0].mean())
    assert float(read[0]["auroc_low"]) < float(read[0]["auroc"]) < float(read[0]["auroc_high"])
    assert float(read[0]["ap_low"]) < float(read[0]["ap"]) < float(read[0]["ap_high"])
    assert read[2]["support"] == "0"
    assert read[2]["auroc"] == ""
    assert read[2]["ap_low"] == ""
    with pytest.raises(ValueError, match="tag names"):
        per_tag_table(ClipScores(np.arange(301), scores, labels), ["a"])
