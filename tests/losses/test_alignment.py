"""Losses of pairs of frames and of pitch maps against values by hand."""

import math

import pytest
import torch

from losses import ContrastiveLoss, SoftCrossEntropy
from models.alignment.similarity import euclidean


@pytest.mark.parametrize(
    ("distance", "label", "margin", "expected"),
    [
        (0.6, 0, 1.0, 0.18),
        (0.6, 1, 1.0, 0.08),
        (0.6, 1, 2.0, 0.98),
        (1.5, 0, 1.0, 1.125),
        (1.5, 1, 1.0, 0.0),
        (0.0, 0, 1.0, 0.0),
        (0.0, 1, 2.0, 2.0),
    ],
)
def test_equation_1(distance, label, margin, expected):
    """(1 - Y) D^2 / 2 + Y max(0, m - D)^2 / 2."""
    loss = ContrastiveLoss(margin)(torch.tensor([distance]), torch.tensor([float(label)]))
    assert float(loss) == pytest.approx(expected, abs=1e-6)


def test_a_label_of_0_is_a_match_and_1_is_none():
    distance = torch.tensor([0.5], requires_grad=True)
    pulls = [torch.autograd.grad(ContrastiveLoss()(distance, torch.tensor([y])), distance)[0].item() for y in (0.0, 1.0)]
    assert pulls == pytest.approx([0.5, -0.5]), "a match is drawn together, another pair pushed apart"


def test_pairs_of_any_shape_count_alike():
    torch.manual_seed(0)
    distance, label = 2 * torch.rand(3, 4), (torch.rand(3, 4) < 0.5).float()
    loss = ContrastiveLoss(1.5)
    singly = [float(loss(d[None], y[None])) for d, y in zip(distance.flatten(), label.flatten(), strict=True)]
    assert float(loss(distance, label)) == pytest.approx(sum(singly) / 12, rel=1e-6)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_an_identical_pair_has_a_finite_gradient(label):
    left = torch.randn(2, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    right = left.detach().clone().requires_grad_()
    ContrastiveLoss()(euclidean(left, right), torch.full((2,), label)).backward()
    assert bool(left.grad.isfinite().all()) and bool(right.grad.isfinite().all())


def test_nothing_is_pushed_beyond_the_margin():
    left = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]], requires_grad=True)
    right = torch.tensor([[3.0, 4.0], [0.6, 0.8], [0.3, 0.4]])
    ContrastiveLoss(margin=1.0)(euclidean(left, right), torch.ones(3)).backward()
    assert not left.grad[:2].any(), "pairs at 5 and at the margin"
    # The slope of (1 - D)^2 / 2 is D - 1 = -0.5 along the unit vector from right to left, of one pair in three.
    torch.testing.assert_close(left.grad[2], torch.tensor([0.3, 0.4]) / 0.5 * 0.5 / 3)


def test_distance_is_that_of_the_paper():
    left, right = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[4.0, -2.0], [0.0, 0.0]])
    torch.testing.assert_close(euclidean(left, right), torch.tensor([5.0, 0.0]), rtol=0, atol=2e-6)
    assert euclidean(left.bfloat16(), right.bfloat16()).dtype == torch.float32


def test_cross_entropy_of_soft_targets():
    p, y = [0.2, 0.9, 0.5, 0.01], [0.0, 1.0, 0.7, 0.3]
    expected = sum(-t * math.log(q) - (1 - t) * math.log(1 - q) for q, t in zip(p, y, strict=True)) / 4
    assert float(SoftCrossEntropy()(torch.tensor(p), torch.tensor(y))) == pytest.approx(expected, rel=1e-6)


def test_cross_entropy_is_lowest_where_prediction_equals_target():
    target = torch.tensor([0.0, 0.3, 1.0])
    loss = SoftCrossEntropy()
    lowest = float(loss(target, target))
    assert all(lowest < float(loss((target + step).clamp(0, 1), target)) for step in (-0.2, -0.01, 0.01, 0.2))


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("target", [0.0, 0.4, 1.0])
def test_cross_entropy_is_finite_where_the_network_is_sure(value, target):
    p = torch.full((3,), value, requires_grad=True)
    loss = SoftCrossEntropy()(p, torch.full((3,), target))
    loss.backward()
    assert bool(loss.isfinite()) and bool(p.grad.isfinite().all())
    assert float(loss.detach()) == 0.0 if value == target else float(loss.detach()) > 1.0


@pytest.mark.parametrize("loss", [ContrastiveLoss(), SoftCrossEntropy()])
def test_float32_whatever_the_precision(loss):
    torch.manual_seed(0)
    left, right = torch.rand(4, 6).bfloat16(), (torch.rand(4, 6) < 0.5).float().bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        inside = loss(left, right)
    outside = loss(left.float(), right.float())
    assert inside.dtype == torch.float32 and torch.equal(inside, outside)


@pytest.mark.parametrize("loss", [ContrastiveLoss(), SoftCrossEntropy()])
def test_other_shapes_are_refused(loss):
    with pytest.raises(ValueError, match=r"got \(2, 3\), \(2, 1\)"):
        loss(torch.zeros(2, 3), torch.zeros(2, 1))


@pytest.mark.parametrize("margin", [0.0, -1.0])
def test_a_margin_must_be_above_0(margin):
    with pytest.raises(ValueError, match="margin must be above 0"):
        ContrastiveLoss(margin)
