"""UMX and X-UMX: sizes, equality with a plain version, the bridge."""

import pytest
import torch

from models.separation import UMX
from models.separation.umx import STD_FLOOR, max_bin
from tests.helpers.reference_umx import PlainUnmix, plain_masks, randomise

SMALL = {"hidden": 32, "n_fft": 256, "hop": 64, "dropout": 0.0}  # bins above 16 kHz are cut, as in the real size


def network(n_sources=4, seed=0, **how):
    torch.manual_seed(seed)
    net = UMX(n_sources, **{**SMALL, **how})
    randomise(net, seed)
    return net


def mixture(net, batch=3, samples=5000):
    audio = torch.randn(batch, net.channels, samples, generator=torch.Generator().manual_seed(5))
    return net.stft(audio).abs()


def plain(net):
    """One plain network per source with the same weights."""
    both = net.branch(0).lstm.bidirectional
    copies = []
    for branch in net.branches:
        copy = PlainUnmix(net.stft.bins, net.max_bin, net.channels, len(branch.bn1.weight), branch.lstm.num_layers, both)
        copy.load_state_dict(branch.state_dict())
        copies.append(copy.train(net.training))
    return copies


def count(net):
    return sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("bridge", [True, False])
def test_the_published_sizes(bridge):
    with torch.device("meta"):
        assert count(UMX(4, bridge=bridge)) == 35_573_392
        assert count(UMX(1, bridge=bridge)) == 8_893_348
        assert count(UMX(1, bridge=bridge, hidden=1024)) == 28_257_188


def test_bins_up_to_the_bandwidth():
    assert UMX(1, hidden=2).max_bin == max_bin(16_000, 44_100, 4096) == 1487
    assert max_bin(None, 44_100, 4096) == max_bin(30_000, 44_100, 4096) == 2049
    assert max_bin(11_025, 44_100, 4096) == 1025  # a bin right at the bandwidth is heard
    with pytest.raises(ValueError, match="bandwidth is -1"):
        UMX(1, bandwidth=-1)


def test_an_odd_width_cannot_be_shared_by_two_directions():
    with pytest.raises(ValueError, match="hidden must be even for two directions, got 33"):
        UMX(1, hidden=33)
    assert UMX(1, unidirectional=True, **{**SMALL, "hidden": 33}).branch(0).lstm.hidden_size == 33


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("how", [{}, {"channels": 1}, {"unidirectional": True, "layers": 2}, {"bandwidth": None}])
@pytest.mark.parametrize("bridge", [True, False])
def test_masks_are_those_of_a_plain_restatement(bridge, how, training):
    net = network(bridge=bridge, **how).train(training)
    magnitude, copies = mixture(net), plain(net)
    masks, expected = net(magnitude), plain_masks(copies, magnitude, bridge)
    assert masks.shape == expected.shape == (3, 4, net.channels, 129, magnitude.shape[-1])
    assert 0.02 < (expected == 0).float().mean() < 0.98
    torch.testing.assert_close(masks, expected, rtol=1e-5, atol=1e-5 * expected.max().item())
    for branch, copy in zip(net.branches, copies, strict=True):  # running statistics, if they moved
        torch.testing.assert_close(branch.state_dict(), copy.state_dict(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bridge", [True, False])
def test_gradients_are_those_of_a_plain_restatement(bridge):
    net = network(bridge=bridge).eval()
    magnitude, copies = mixture(net), plain(net)
    target = torch.rand(3, 4, 2, 129, magnitude.shape[-1])
    for masks in (net(magnitude), plain_masks(copies, magnitude, bridge)):
        (masks - target).square().sum().backward()
    for branch, copy in zip(net.branches, copies, strict=True):
        other = dict(copy.named_parameters())
        for name, parameter in branch.named_parameters():
            largest = float(other[name].grad.abs().max())
            assert largest > 0
            torch.testing.assert_close(parameter.grad, other[name].grad, rtol=1e-4, atol=1e-5 * largest, msg=name)


@pytest.mark.parametrize("bridge", [True, False])
def test_the_error_of_one_source_trains_the_others_only_over_the_bridge(bridge):
    net = network(bridge=bridge)
    net(mixture(net))[:, 1].square().sum().backward()
    first, second = net.branch(0), net.branch(1)
    assert all(parameter.grad.abs().sum() > 0 for name, parameter in second.named_parameters() if name != "input_mean")
    for name in ("fc1.weight", "input_scale", "lstm.weight_hh_l0", "bn1.weight"):
        moved = first.get_parameter(name).grad
        assert (moved.abs().sum() > 0) if bridge else not moved.abs().sum()
    for name in ("fc2.weight", "fc3.weight", "output_scale"):  # behind the last average
        assert not first.get_parameter(name).grad.abs().sum()


def test_without_bridge_it_is_one_network_per_source():
    net = network(bridge=False).eval()
    magnitude = mixture(net)
    masks = net(magnitude)
    for source in range(4):
        for bridge in (True, False):  # a bridge between one source is none
            alone = UMX(1, bridge=bridge, **SMALL).eval()
            alone.branch(0).load_state_dict(net.branch(source).state_dict())
            torch.testing.assert_close(alone(magnitude)[:, 0], masks[:, source], rtol=1e-5, atol=1e-5)


def test_sources_are_not_alike():
    masks = network().eval()(mixture(network()))
    assert all((masks[:, a] - masks[:, b]).abs().max() > 0.1 for a in range(4) for b in range(a))


@pytest.mark.parametrize(("n_sources", "batch", "frames"), [(1, 1, 1), (2, 1, 7), (6, 2, 50)])
def test_any_number_of_sources_and_frames(n_sources, batch, frames):
    net = network(n_sources).eval()
    masks = net(torch.rand(batch, 2, 129, frames))
    assert masks.shape == (batch, n_sources, 2, 129, frames) and (masks >= 0).all()
    assert masks.stride(3) == 1  # bins next to each other, as in the spectra they will be multiplied with


def test_separate_keeps_the_length():
    net = network().eval()
    assert net.separate(torch.randn(2, 2, 4321)).shape == (2, 4, 2, 4321)


@pytest.mark.parametrize("training", [True, False])
def test_masks_stay_float32_in_mixed_precision(training):
    net = network(dropout=0.4).train(training)
    net.set_statistics(torch.linspace(50, 0.001, 129), torch.linspace(100, 1e-5, 129))
    magnitude = 1000 * mixture(net)
    with torch.autocast("cpu", torch.bfloat16):
        masks = net(magnitude)
    masks.square().mean().backward()
    assert masks.dtype == torch.float32 and masks.isfinite().all()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in net.parameters())
    if not training:
        torch.testing.assert_close(masks, net(magnitude), rtol=0.05, atol=0.05 * masks.max().item())


def test_dropout_lies_between_the_layers_of_the_lstm():
    assert UMX(1, **{**SMALL, "dropout": 0.4}).branch(0).lstm.dropout == 0.4
    assert UMX(1, layers=1, **{**SMALL, "dropout": 0.4}).branch(0).lstm.dropout == 0  # no next layer to drop for


def test_statistics_standardise_what_every_branch_hears():
    net = network()
    magnitude = mixture(net)
    rows = magnitude.transpose(2, 3).flatten(0, 2)
    mean, std = rows.mean(0), rows.std(0, correction=0)
    std[3] = 0  # a bin that is always silent
    net.set_statistics(mean, std)
    for branch in net.branches:
        heard = (rows[:, : net.max_bin] + branch.input_mean) * branch.input_scale
        keep = [b for b in range(net.max_bin) if b != 3]
        torch.testing.assert_close(heard.mean(0), torch.zeros(net.max_bin), rtol=0, atol=0.02)
        torch.testing.assert_close(heard.std(0, correction=0)[keep], torch.ones(len(keep)), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(branch.input_scale[3], 1 / (STD_FLOOR * std.max()))
        assert branch.input_mean.requires_grad and branch.input_scale.requires_grad
