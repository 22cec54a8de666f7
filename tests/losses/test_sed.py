"""Losses of mean-teacher training against plain restatements, over what is labelled and not padded."""

import math

import pytest
import torch

from losses import clip_bce, clip_consistency, frame_bce, frame_consistency


def bce(p, y):
    return -(y * math.log(p) + (1 - y) * math.log(1 - p))


def test_clip_bce_is_over_labelled_items():
    torch.manual_seed(0)
    p, y = torch.rand(4, 3), torch.rand(4, 3)
    labelled = torch.tensor([True, False, True, False])
    expected = sum(bce(float(p[i, c]), float(y[i, c])) for i in (0, 2) for c in range(3)) / 6
    y[~labelled] = float("nan")
    assert float(clip_bce(p, y, labelled)) == pytest.approx(expected, rel=1e-6)


def test_frame_bce_is_over_labelled_items_and_valid_frames():
    torch.manual_seed(0)
    p, y = torch.rand(3, 5, 2), (torch.rand(3, 5, 2) > 0.5).float()
    labelled, mask = torch.tensor([True, False, True]), torch.arange(5) < torch.tensor([5, 5, 2])[:, None]
    cells = [(0, t) for t in range(5)] + [(2, t) for t in range(2)]
    expected = sum(bce(float(p[i, t, c]), float(y[i, t, c])) for i, t in cells for c in range(2)) / 14
    assert float(frame_bce(p, y, labelled, mask)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_finite_where_the_network_is_sure(value):
    logits = torch.full((2, 3), 200.0 * (2 * value - 1), requires_grad=True)
    for labels in (torch.zeros(2, 3), torch.ones(2, 3)):
        loss = clip_bce(logits.sigmoid(), labels, torch.tensor([True, False]))
        (gradient,) = torch.autograd.grad(loss, logits)
        assert bool(loss.isfinite()) and bool(gradient.isfinite().all())
    p = torch.full((2, 3), value, requires_grad=True)
    (gradient,) = torch.autograd.grad(clip_bce(p, torch.full((2, 3), 0.5), torch.ones(2, dtype=torch.bool)), p)
    assert bool(gradient.isfinite().all())


def test_nothing_labelled_is_a_zero_that_can_be_differentiated():
    p = torch.rand(2, 4, 3, requires_grad=True)
    none = torch.zeros(2, dtype=torch.bool)
    loss = clip_bce(p.amax(1), torch.ones(2, 3), none) + frame_bce(p, torch.ones(2, 4, 3), none, torch.ones(2, 4).bool())
    assert float(loss.detach()) == 0
    loss.backward()
    assert p.grad is not None and not p.grad.any()


def test_consistency():
    torch.manual_seed(0)
    s, t = torch.rand(2, 4, 3, requires_grad=True), torch.rand(2, 4, 3, requires_grad=True)
    mask = torch.tensor([[True] * 4, [True, False, False, False]])
    expected = torch.cat([(s - t)[0], (s - t)[1, :1]]).square().mean()
    loss = frame_consistency(s, t, mask)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert t.grad is None and not s.grad[~mask].any() and s.grad[mask].all()
    torch.testing.assert_close(clip_consistency(s[:, 0], t[:, 0]), (s - t)[:, 0].square().mean())
    assert float(frame_consistency(s, t, torch.zeros(2, 4).bool()).detach()) == 0
    poisoned = torch.where(mask[..., None], t.detach(), float("nan"))
    torch.testing.assert_close(frame_consistency(s, poisoned, mask), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_float32_whatever_the_precision(dtype):
    p, q = (torch.rand(2, 5, 3) * 1e-3).to(dtype), (torch.rand(2, 5, 3) * 1e-3).to(dtype)
    labelled, mask = torch.tensor([True, True]), torch.ones(2, 5, dtype=torch.bool)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = [frame_bce(p, q, labelled, mask), frame_consistency(p, q, mask), clip_consistency(p[:, 0], q[:, 0])]
    outside = [
        frame_bce(p.float(), q.float(), labelled, mask),
        frame_consistency(p.float(), q.float(), mask),
        clip_consistency(p[:, 0].float(), q[:, 0].float()),
    ]
    assert all(a.dtype == torch.float32 and torch.equal(a, b) for a, b in zip(inside, outside, strict=True))
