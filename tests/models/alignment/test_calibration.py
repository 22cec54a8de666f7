"""Calibration of confidences: known coefficients, separable and constant data, order, probabilities by hand."""

import numpy as np
import pytest

from models.alignment.calibration import FLATTEST, UNRELATED, Calibration, fitted

DEFAULT = Calibration()


def events(count, scale, offset, seed=0):
    """Raw confidences, and outcomes drawn with the probabilities of a calibration."""
    random = np.random.default_rng(seed)
    raw = np.exp(-3 * random.random(count))
    return raw, random.random(count) < Calibration(scale, offset)(raw)


def test_odds_are_a_power_of_the_raw_confidence():
    raw = np.array([0.0, 0.01, 0.5, 1.0])
    odds = np.exp(2.0) * raw**1.5
    np.testing.assert_allclose(Calibration(1.5, 2.0)(raw), odds / (1 + odds))
    np.testing.assert_allclose(Calibration(1.5, 2.0)(raw, related=False), UNRELATED * odds / (1 + odds))


@pytest.mark.parametrize(("scale", "offset"), [(2.5, 3.0), (0.6, 1.0)])
def test_many_events_give_their_own_calibration(scale, offset):
    raw, correct = events(200_000, scale, offset)
    values = fitted(raw, correct, ridge=1.0)
    assert values == pytest.approx((scale, offset), abs=0.05)
    assert values(raw).mean() == pytest.approx(correct.mean(), abs=2e-3)
    order = np.random.default_rng(1).permutation(len(raw))
    assert fitted(raw[order], correct[order], ridge=1.0) == pytest.approx(values, abs=1e-9)


def test_few_events_change_the_default_little():
    assert fitted(np.zeros(0), np.zeros(0, bool)) == DEFAULT
    assert fitted(np.zeros(5), np.zeros(5, bool)) == DEFAULT  # not placed by a path
    assert fitted(*events(30, 3.0, 2.0)) == pytest.approx(DEFAULT, abs=0.5)


@pytest.mark.parametrize("ridge", [100.0, 1e-3])
@pytest.mark.parametrize(
    "correct",
    [lambda raw: raw > 0.3, lambda raw: np.ones(len(raw)), lambda raw: np.zeros(len(raw)), lambda raw: raw < 0.3],
    ids=["separable", "all right", "all wrong", "reversed"],
)
@pytest.mark.parametrize("spread", [1.0, 0.0])
def test_it_never_diverges_or_falls(correct, spread, ridge):
    raw = np.exp(-2 * spread * np.linspace(0, 1, 5000) - 0.3)
    values = fitted(raw, np.asarray(correct(raw), bool), ridge)
    assert np.isfinite(values).all() and FLATTEST <= values.scale < 1e3 and abs(values.offset) < 1e3
    p = values(np.linspace(0, 1, 50))
    assert (np.diff(p) >= 0).all() and p[0] == 0 and p[-1] <= 1


def test_easy_events_alone_do_not_make_it_certain():
    raw = np.exp(-np.random.default_rng(2).random(3000))
    values = fitted(raw, np.ones(3000, bool))
    assert values(np.array([0.02]))[0] < 0.9 and values(raw).mean() > DEFAULT(raw).mean()
