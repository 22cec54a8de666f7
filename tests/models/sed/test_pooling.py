"""Pooling over frames against plain restatements, at the edges of what probabilities can be, and behind a clip's end."""

import math

import pytest
import torch

from models.sed.pooling import POOLINGS, Attention

NAMES = sorted(POOLINGS)


def pooling_of(name, width=6, classes=3):
    torch.manual_seed(0)
    return POOLINGS[name](width, classes)


def plain(name, net, p, x):
    """One clip (frames, classes) and its features (frames, width), number by number."""
    frames, classes = p.shape
    found = []
    for c in range(classes):
        values = [float(p[t, c]) for t in range(frames)]
        if name.startswith("attention"):
            weight, bias = net.linear.weight.detach().double(), net.linear.bias.detach().double()
            logits = [[float(weight[k] @ x[t].double() + bias[k]) for k in range(classes)] for t in range(frames)]
            if name == "attention":
                weights = [math.exp(logits[t][c]) for t in range(frames)]
            else:
                weights = [math.exp(logits[t][c]) / sum(math.exp(v) for v in logits[t]) for t in range(frames)]
        else:
            weights = {
                "linear": values,
                "exponential": [math.exp(v) for v in values],
                "mean": [1.0] * frames,
                "max": [float(v == max(values)) for v in values],
            }[name]
        found.append(sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights))
    return torch.tensor(found)


@pytest.mark.parametrize("name", NAMES)
def test_equals_the_plain_restatement_with_padding(name):
    net = pooling_of(name)
    p, x = torch.rand(4, 9, 3), torch.randn(4, 9, 6)
    lengths = [9, 1, 5, 7]
    mask = torch.arange(9) < torch.tensor(lengths)[:, None]
    p[~mask], x[~mask] = 0.99, 5e3  # whatever is there
    with torch.no_grad():
        ours = net(p, x, mask)
    assert ours.shape == (4, 3)
    assert ours.dtype == torch.float32
    for k, length in enumerate(lengths):
        torch.testing.assert_close(ours[k], plain(name, net, p[k, :length], x[k, :length]), rtol=0, atol=1e-6)


def test_linear_by_hand():
    p = torch.tensor([[[0.5], [0.25], [0.25]]])
    assert float(pooling_of("linear")(p, p, torch.ones(1, 3, dtype=torch.bool))) == pytest.approx(0.375)
    assert float(pooling_of("linear")(p, p, torch.tensor([[True, True, False]]))) == pytest.approx((0.25 + 0.0625) / 0.75)
    one = torch.zeros(1, 100, 1)
    one[0, 3] = 0.8
    assert float(pooling_of("linear")(one, one, torch.ones(1, 100, dtype=torch.bool))) == pytest.approx(0.8)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0.0, 1e-45, 1e-30, 1e-20, 1e-8, 1.0])
def test_finite_in_value_and_gradient(name, value):
    p = torch.full((2, 5, 3), value, requires_grad=True)
    x = torch.zeros(2, 5, 6, requires_grad=True)
    mask = torch.tensor([[True] * 5, [True, False, False, False, False]])
    out = pooling_of(name)(p, x, mask)
    out.sum().backward()
    torch.testing.assert_close(out.detach(), torch.full((2, 3), value), rtol=1e-5, atol=1e-38)
    assert bool(p.grad.isfinite().all()) and (x.grad is None or bool(x.grad.isfinite().all()))
    assert not p.grad[~mask].any(), "padding got a gradient"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_pooled_in_float32(name, dtype):
    p, x = (torch.rand(2, 50, 3) * 1e-3).to(dtype), torch.randn(2, 50, 6).to(dtype)
    mask = torch.ones(2, 50, dtype=torch.bool)
    net = pooling_of(name)
    exact = net(p.float(), x.float(), mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = net(p, x, mask)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, exact)
    assert torch.equal(net.to(torch.bfloat16)(p, x, mask).isfinite(), torch.ones(2, 3, dtype=torch.bool))


@pytest.mark.parametrize("name", NAMES)
def test_between_the_least_and_the_most(name):
    p, x = torch.rand(6, 20, 3), torch.randn(6, 20, 6)
    out = pooling_of(name)(p, x, torch.ones(6, 20, dtype=torch.bool))
    assert (out <= p.amax(1) + 1e-6).all() and (out >= p.amin(1) - 1e-6).all()


def test_attention_is_one_over_time_and_legacy_is_not_that():
    torch.manual_seed(0)
    ours, legacy = Attention(6, 3), Attention(6, 3, legacy=True)
    legacy.load_state_dict(ours.state_dict())
    p, x = torch.rand(2, 9, 3), torch.randn(2, 9, 6)
    mask = torch.ones(2, 9, dtype=torch.bool)
    assert (ours(p, x, mask) - legacy(p, x, mask)).abs().max() > 1e-3
    with torch.no_grad():
        for net in (ours, legacy):
            net.linear.weight[1] += 3.0 * torch.randn(6)
    # Another class's weights change what a class pools to only where the softmax runs over classes.
    before = Attention(6, 3)
    before.load_state_dict(ours.state_dict())
    with torch.no_grad():
        before.linear.weight[1].zero_()
    assert torch.equal(before(p, x, mask)[:, 0], ours(p, x, mask)[:, 0])


def test_a_clip_without_frames_is_silent():
    p, x = torch.rand(1, 4, 3), torch.randn(1, 4, 6)
    for name in NAMES:
        out = pooling_of(name)(p, x, torch.zeros(1, 4, dtype=torch.bool))
        assert torch.equal(out, torch.zeros(1, 3)), name
