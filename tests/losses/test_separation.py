"""Losses of separation: closed forms against loops over all subsets, gradients, silence, mono, precision."""

import itertools
import sys

import pytest
import torch
from torch import Tensor

from losses import Domains, MultiDomainLoss, WaveformL1, combination_mse, combination_weighted_sdr, magnitude_mse, weighted_sdr
from losses.multi_domain import subsets


def all_subsets(sources: int) -> list[tuple[int, ...]]:
    sizes = range(1, max(2, sources))
    return [members for size in sizes for members in itertools.combinations(range(sources), size)]


def loop_mse(estimate: Tensor, target: Tensor, chosen: list[tuple[int, ...]]) -> Tensor:
    losses = [(sum(estimate[:, j] for j in one) - sum(target[:, j] for j in one)).square().mean() for one in chosen]
    return torch.stack(losses)


def loop_sdr(estimate: Tensor, target: Tensor, mixture: Tensor, chosen: list[tuple[int, ...]]) -> Tensor:
    """Spec 1.3, word by word."""
    losses = []
    for one in chosen:
        x, xh = sum(target[:, j] for j in one), sum(estimate[:, j] for j in one)
        n, nh = mixture - x, mixture - xh
        rho = x.square().sum(-1) / (x.square().sum(-1) + n.square().sum(-1) + 1e-10)
        losses.append((1 - rho * cosine(x, xh) - (1 - rho) * cosine(n, nh)).mean())
    return torch.stack(losses)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    norms = (a.square().sum(-1) + 1e-10).sqrt() * (b.square().sum(-1) + 1e-10).sqrt()
    return (a * b).sum(-1) / (norms + 1e-10)


def signals(sources: int, channels: int, dtype=torch.float64, batch: int = 2) -> tuple[Domains, Domains, Tensor]:
    """Estimates that want a gradient, targets and a mixture that is not quite the targets' sum."""
    torch.manual_seed(10 * sources + channels)
    shapes = (batch, sources, channels, 7, 5), (batch, sources, channels, 301)
    target = Domains(torch.rand(shapes[0], dtype=dtype), torch.randn(shapes[1], dtype=dtype))
    ours = Domains(torch.rand(shapes[0], dtype=dtype), target.waveforms + 0.5 * torch.randn(shapes[1], dtype=dtype))
    mixture = target.waveforms.sum(1) + 0.1 * torch.randn(shapes[1][:1] + shapes[1][2:], dtype=dtype)
    return Domains(*(part.requires_grad_() for part in ours)), target, mixture


def loop_loss(estimate: Domains, target: Domains, mixture: Tensor, multi: bool, combination: bool, trim: int = 0) -> Tensor:
    sources = mixture.new_zeros(estimate.magnitudes.shape[1])
    chosen = all_subsets(len(sources)) if combination else [(j,) for j in range(len(sources))]
    loss = loop_mse(estimate.magnitudes, target.magnitudes, chosen).mean()
    kept = slice(trim, mixture.shape[-1] - trim)
    waves = (estimate.waveforms[..., kept], target.waveforms[..., kept], mixture[..., kept])
    return loss + 10 * loop_sdr(*waves, chosen).mean() if multi else loss


def gradients(loss: Tensor, estimate: Domains, keep: bool = False) -> list[Tensor]:
    found = torch.autograd.grad(loss, list(estimate), retain_graph=keep, allow_unused=True)
    return [torch.zeros_like(part) if grad is None else grad for grad, part in zip(found, estimate, strict=True)]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("sources", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize(("multi", "combination"), itertools.product((False, True), repeat=2))
def test_closed_forms_equal_the_loop_over_subsets(sources, channels, multi, combination):
    estimate, target, mixture = signals(sources, channels)
    trim = 3 * channels
    ours = MultiDomainLoss(multi, combination, trim=trim)(estimate, target, mixture)
    loop = loop_loss(estimate, target, mixture, multi, combination, trim)
    assert ours.dtype == torch.float64
    torch.testing.assert_close(ours, loop, rtol=1e-10, atol=1e-12)
    for one, other in zip(gradients(ours, estimate), gradients(loop, estimate), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_the_subsets_are_all_but_none_and_all():
    assert [len(subsets(sources)) for sources in range(1, 7)] == [1, 2, 6, 14, 30, 62]
    rows = {tuple(row.nonzero()[:, 0].tolist()) for row in subsets(4)}
    assert rows == set(all_subsets(4))


def test_a_perfect_estimate_costs_nothing_and_an_inverted_one_costs_two():
    _, target, _ = signals(4, 2)
    mixture = target.waveforms.sum(1)
    assert MultiDomainLoss(True, True)(target, target, mixture).abs() < 1e-9
    noise = torch.zeros(1, 1, 1, 50, dtype=torch.float64)
    tone = torch.sin(torch.arange(50.0, dtype=torch.float64)).view(1, 1, 1, -1)
    assert weighted_sdr(-tone, tone, tone[:, 0] + noise[:, 0]).item() == pytest.approx(2)


@pytest.mark.parametrize("multi", [False, True])
def test_per_source_is_the_loss_without_combination(multi):
    estimate, target, mixture = signals(4, 2)
    loss = MultiDomainLoss(multi, True, alpha=3.0, trim=20)
    losses = loss.per_source(estimate, target, mixture)
    assert losses.shape == (4,)
    torch.testing.assert_close(losses.mean(), MultiDomainLoss(multi, False, 3.0, 20)(estimate, target, mixture))
    # Each source's loss sees its own estimate alone.
    for source in range(4):
        for grad in gradients(losses[source], estimate, keep=True)[: 1 + multi]:
            others = [j for j in range(4) if j != source]
            assert grad[:, source].abs().max() > 0
            assert grad[:, others].abs().max() < 1e-12


def test_gradients_are_right_for_every_input():
    estimate, target, mixture = signals(3, 2, batch=1)
    parts = [part.detach()[..., :4].requires_grad_() for part in (*estimate, *target, mixture)]

    def loss(magnitudes: Tensor, waves: Tensor, true_magnitudes: Tensor, true_waves: Tensor, mix: Tensor) -> Tensor:
        return MultiDomainLoss(True, True)(Domains(magnitudes, waves), Domains(true_magnitudes, true_waves), mix)

    assert torch.autograd.gradcheck(loss, parts)


def test_blocks_do_not_change_the_products(monkeypatch):
    estimate, target, mixture = signals(4, 2)
    whole = combination_weighted_sdr(estimate.waveforms, target.waveforms, mixture)
    grads = gradients(whole, estimate)
    monkeypatch.setitem(sys.modules["losses.weighted_sdr"].BLOCK, "cpu", 36 * 50)  # pieces of 50 samples, the last one short
    pieces = combination_weighted_sdr(estimate.waveforms, target.waveforms, mixture)
    torch.testing.assert_close(pieces, whole, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradients(pieces, estimate), grads, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("combination", [False, True])
@pytest.mark.parametrize("silent", ["target", "estimate", "both", "all targets", "all estimates", "mixture", "everything"])
def test_silence_is_finite_and_so_are_its_gradients(silent, combination, channels):
    estimate, target, mixture = signals(4, channels, torch.float32)
    ours, theirs = ([part.detach().clone() for part in side] for side in (estimate, target))
    for kind, side in (("target", theirs), ("estimate", ours)):
        for part in side:
            part[:, 1] *= silent not in (kind, "both")
            part *= silent not in (f"all {kind}s", "everything")
    mixture = mixture * (silent not in ("mixture", "everything"))
    estimate, target = Domains(*(part.requires_grad_() for part in ours)), Domains(*theirs)
    loss = MultiDomainLoss(True, combination)(estimate, target, mixture)
    grads = gradients(loss, estimate)
    assert loss.isfinite()
    assert all(grad.isfinite().all() for grad in grads)
    double = Domains(*(part.detach().double().requires_grad_() for part in estimate))
    expected = loop_loss(double, Domains(*(part.double() for part in target)), mixture.double(), True, combination)
    torch.testing.assert_close(loss, expected.float(), rtol=1e-5, atol=1e-6)


def test_a_source_that_is_the_whole_mixture_is_finite():
    """The others are silent, and so is what the mixture has besides it."""
    _, target, _ = signals(4, 2, torch.float32)
    mixture = 100 * target.waveforms[:, 0]
    theirs = torch.stack([mixture, *[torch.zeros_like(mixture)] * 3], 1)
    same = theirs.clone().requires_grad_()
    loss = combination_weighted_sdr(same, theirs, mixture)
    loss.backward()
    assert loss.isfinite()
    assert same.grad.isfinite().all()


@pytest.mark.parametrize("seed", range(5))
def test_energies_that_round_below_zero_are_finite(seed):
    """Two sources share the mixture exactly, the others are silent; samples as large as 16 bit integers."""
    torch.manual_seed(seed)
    mixture = 30_000 * torch.randn(2, 2, 400, dtype=torch.float64)
    parts = torch.rand(4, dtype=torch.float64) * torch.tensor([1, 1, 0, 0])
    theirs = (parts / parts.sum()).view(1, -1, 1, 1) * mixture[:, None]
    ours = theirs.flip(1).requires_grad_()
    loss = combination_weighted_sdr(ours, theirs, mixture)
    loss.backward()
    assert loss.isfinite()
    assert ours.grad.isfinite().all()


def test_float32_is_as_exact_as_its_input():
    """Quiet sources beside loud ones, a minute of samples: the naive sum in float32 loses digits here, ours does not."""
    torch.manual_seed(0)
    level = torch.tensor([1.0, 0.1, 0.01, 0.001]).view(1, -1, 1, 1)
    target = level * torch.randn(1, 4, 1, 200_000)
    estimate = target + 0.1 * level * torch.randn_like(target)
    mixture = target.sum(1)
    ours = MultiDomainLoss(True, True)
    magnitudes = torch.rand(1, 4, 1, 60, 50)
    domains = Domains(magnitudes * 1.1, estimate), Domains(magnitudes, target)
    wide = [Domains(*(part.double() for part in side)) for side in domains]
    exact = loop_loss(*wide, mixture.double(), True, True)
    assert ours(*domains, mixture).dtype == torch.float32
    assert abs(ours(*domains, mixture).item() / exact.item() - 1) < 1e-6


def test_autocast_and_half_estimates_are_computed_in_float32():
    estimate, target, mixture = signals(4, 2, torch.float32)
    plain = MultiDomainLoss(True, True)(estimate, target, mixture)
    grads = gradients(plain, estimate)
    with torch.autocast("cpu", torch.bfloat16):
        loss = MultiDomainLoss(True, True)(estimate, target, mixture)
    assert torch.equal(loss, plain)
    assert all(torch.equal(*pair) for pair in zip(gradients(loss, estimate), grads, strict=True))
    half = Domains(*(part.detach().bfloat16().requires_grad_() for part in estimate))
    with torch.autocast("cpu", torch.bfloat16):
        loss = MultiDomainLoss(True, True)(half, target, mixture)
    rounded = MultiDomainLoss(True, True)(Domains(*(part.float() for part in half)), target, mixture)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, rounded)
    assert all(grad.dtype == torch.bfloat16 and grad.isfinite().all() for grad in gradients(loss, half))


def test_any_memory_layout_gives_the_same():
    estimate, target, mixture = signals(4, 2)
    loss = MultiDomainLoss(True, True)
    odd = Domains(*(part.detach().transpose(0, -1).contiguous().transpose(0, -1).requires_grad_() for part in estimate))
    assert not odd.magnitudes.is_contiguous()
    one, other = loss(odd, target, mixture), loss(estimate, target, mixture)
    torch.testing.assert_close(one, other)
    torch.testing.assert_close(gradients(one, odd), gradients(other, estimate))


def test_magnitudes_alone_need_no_waveforms():
    estimate, target, mixture = signals(4, 2)
    loss = MultiDomainLoss(False, True)
    assert (loss.needs_magnitudes, loss.needs_waveforms) == (True, False)
    assert MultiDomainLoss(True, False).needs_waveforms
    alone = loss(Domains(estimate.magnitudes, None), Domains(target.magnitudes, None), mixture)
    assert alone == combination_mse(estimate.magnitudes, target.magnitudes)
    single = magnitude_mse(estimate.magnitudes, target.magnitudes)
    assert single.mean() == MultiDomainLoss(False, False)(estimate, target, mixture)


def test_waveform_l1_is_the_mean_distance():
    estimate, target, mixture = signals(3, 2)
    loss = WaveformL1()
    assert (loss.needs_magnitudes, loss.needs_waveforms) == (False, True)
    per_source = loss.per_source(Domains(None, estimate.waveforms), Domains(None, target.waveforms), mixture)
    expected = [torch.nn.functional.l1_loss(estimate.waveforms[:, j], target.waveforms[:, j]) for j in range(3)]
    torch.testing.assert_close(per_source, torch.stack(expected))
    torch.testing.assert_close(loss(estimate, target, mixture), per_source.mean())


def test_unequal_signals_are_one_sentence():
    estimate, target, mixture = signals(4, 2)
    short = Domains(estimate.magnitudes, estimate.waveforms[..., :-1])
    with pytest.raises(ValueError, match="300 samples and the mixture 301"):
        MultiDomainLoss(True, True)(short, target, mixture)
    with pytest.raises(ValueError, match="differ in size"):
        MultiDomainLoss(False, True)(Domains(estimate.magnitudes[:, :3], None), target, mixture)
    with pytest.raises(ValueError, match="lower trim"):
        MultiDomainLoss(True, True, trim=151)(estimate, target, mixture)
    with pytest.raises(ValueError, match="differ in size"):
        weighted_sdr(estimate.waveforms, target.waveforms, mixture[:, :1])
