"""Local costs: distances vs. scipy, silence, thresholds, invalid input."""

import numpy as np
import pytest

from models.alignment.costs import Binary, FeatureCosts, MatrixCosts
from models.alignment.dtw import dtw
from models.alignment.oltw import follow


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "cosine"])
@pytest.mark.parametrize("offset", [0.0, 50.0])
def test_distances_equal_scipy_and_are_exact_where_frames_are_alike(metric, offset):
    from librosa.sequence import dtw as librosa_dtw
    from scipy.spatial.distance import cdist

    random = np.random.default_rng(8)
    x = random.normal(size=(70, 9)) + offset
    y = np.concatenate([x[:30] + 1e-3 * random.normal(size=(30, 9)), x[30:40], random.normal(size=(13, 9)) + offset])
    costs, wanted = FeatureCosts(x, y, metric), cdist(x, y, metric)
    rounding = 1e-5 if metric == "sqeuclidean" else 1e-6
    tolerance = rounding * 0.02 if metric == "cosine" and offset else rounding  # all directions are close there
    np.testing.assert_allclose(costs.block(0, 70), wanted, rtol=2e-3, atol=tolerance * max(1, wanted.max()))
    np.testing.assert_array_equal(costs.window(3, 20, 5, 50), costs.block(3, 20)[:, 5:50])
    assert costs.block(30, 40)[np.arange(10), np.arange(30, 40)].max() == 0
    assert costs.block(0, 70).min() >= 0
    assert dtw(costs).cost == pytest.approx(librosa_dtw(C=wanted, backtrack=False)[-1, -1], rel=1e-5)


def test_silence_has_a_cosine():
    x, y = np.array([[0.0, 0], [1, 1]]), np.array([[0.0, 0], [2, 2], [1, -1]])
    np.testing.assert_allclose(FeatureCosts(x, y, "cosine").block(0, 2), [[0, 1, 1], [1, 0, 1]], atol=1e-6)


def test_binary_costs():
    costs = MatrixCosts(np.array([[0.5, 0.2, 0.7], [0.1, 0.51, np.nan]]))
    np.testing.assert_array_equal(Binary(costs, 0.5).block(0, 2), [[0, 0, 1], [0, 1, np.nan]])
    with pytest.raises(ValueError, match="NaN"):
        dtw(Binary(costs, 0.5))


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (np.ones((3, 2)), np.full((4, 2), np.nan), "score features contain NaN or infinite values in 4 frames"),
        (np.array([[1.0, 1], [1, np.inf]]), np.ones((4, 2)), "performance features .* the first is frame 1"),
        (np.ones((0, 2)), np.ones((4, 2)), "performance features must have shape"),
        (np.ones((3, 2)), np.ones((4, 3)), "2 dimensions, score features 3"),
        (np.ones(3), np.ones((4, 3)), "performance features must have shape"),
    ],
)
def test_features_that_cannot_be_aligned_are_refused(x, y, words):
    with pytest.raises(ValueError, match=words):
        FeatureCosts(x, y)
    with pytest.raises(ValueError, match=words):
        follow(x, y)


def test_no_matrix_and_no_metric_are_refused():
    with pytest.raises(ValueError, match="must be a matrix"):
        MatrixCosts(np.ones(3))
    with pytest.raises(ValueError, match="metric is 'chebyshev', expected one of euclidean"):
        FeatureCosts(np.ones((2, 2)), np.ones((2, 2)), "chebyshev")
