"""Conv-TasNet, Demucs and its successors, BS-RoFormer, Meta-TasNet: sizes, lengths, gradients; Conv-TasNet written out anew."""

import importlib.util
import sys
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.separation.conv_tasnet import ConvTasNet
from models.separation.library import BSRoFormer, Demucs, HDemucs, HTDemucs
from tests.helpers.separators import BANDS, SMALL, build, noise

small = pytest.mark.parametrize("name", SMALL)
one_output = pytest.mark.parametrize("name", [name for name in SMALL if name != "MetaTasNet"])


@pytest.mark.parametrize(
    ("package", "net", "parameters"),
    [
        ("torch", lambda: ConvTasNet(4), 10_977_872),
        ("torch", lambda: ConvTasNet(4, blocks=8), 8_852_032),
        ("demucs", lambda: Demucs(4), 648_548_208),
        ("demucs", lambda: Demucs(4, width=64), 265_679_496),
        ("torchaudio", lambda: HDemucs(4), 83_639_368),
        ("demucs", lambda: HTDemucs(4), 26_899_536),
        ("demucs", lambda: HTDemucs(4, options={"bottom_channels": 512, "dconv_mode": 3}), 41_984_456),
        ("bs_roformer", lambda: BSRoFormer(4), 222_366_612),
        ("bs_roformer", lambda: BSRoFormer(1), 74_563_452),
    ],
)
def test_parameter_counts(package: str, net: Callable, parameters: int):
    pytest.importorskip(package)
    with torch.device("meta"):
        assert sum(p.numel() for p in net().parameters()) == parameters


@small
@pytest.mark.parametrize(("sources", "channels"), [(4, 2), (3, 1), (1, 2)])
def test_any_length_comes_back_for_mono_and_stereo(name, sources, channels):
    net = build(name, sources, channels).eval()
    assert (net.n_sources, net.channels, net.sample_rate) == (sources, channels, 44_100)
    for samples in (1, 777, 1025, 4999):
        with torch.no_grad():
            stems = net.separate(noise(samples, channels))
        assert stems.shape == (2, sources, channels, samples)
        assert stems.isfinite().all()


@one_output
def test_every_trainable_weight_learns_from_sound_and_none_from_silence_turns_nan(name):
    net = build(name)
    net(noise(4999)).square().mean().backward()
    learning = {key: p.grad for key, p in net.named_parameters() if p.requires_grad}
    assert [key for key, grad in learning.items() if grad is None] == []  # they would stop a distributed training
    assert all(grad.isfinite().all() for grad in learning.values())
    net.zero_grad()
    net(torch.zeros(1, 2, 4999)).square().mean().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.requires_grad)


@small
def test_stems_stay_float32_under_bf16(name):
    net = build(name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        stems = net(noise(2000))
    assert stems.dtype == torch.float32
    stems.square().mean().backward()


@small
def test_channels_may_lie_interleaved_as_in_the_file(name):
    net, mixture = build(name).eval(), noise(3000)
    with torch.no_grad():
        interleaved = mixture.transpose(1, 2).contiguous().transpose(1, 2)
        torch.testing.assert_close(net(interleaved), net(mixture), atol=1e-5, rtol=1e-4)


@small
def test_examples_of_a_batch_do_not_mix(name):
    net, mixture = build(name).eval(), noise(3000)
    with torch.no_grad():
        torch.testing.assert_close(net(mixture)[1:], net(mixture[1:]), atol=1e-5, rtol=1e-4)


@one_output
def test_chunks_that_start_at_a_multiple_of_align_see_the_same_grid(name):
    """What comes out is the same for a mixture that starts `align` samples of silence later, but for norms over time."""
    net = build(name).eval()
    for module in net.modules():  # norms over the whole input see the silence
        if isinstance(module, nn.GroupNorm):
            module.forward = lambda x: x
    late = F.pad(noise(6000), (net.align, 0))
    with torch.no_grad():
        one, other = net(noise(6000)), net(late)[..., net.align :]
        off = net(F.pad(noise(6000), (net.align // 2 + 1, 0)))[..., net.align // 2 + 1 :]
    middle = slice(2800, 3200)
    gap = (one - other)[..., middle].norm() / one[..., middle].norm()
    assert gap < 0.5 * (one - off)[..., middle].norm() / one[..., middle].norm()


def test_a_missing_package_is_one_sentence_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "demucs.demucs", None)
    with pytest.raises(ValueError, match=r"package demucs: pip install -e '.\[zoo\]'"):
        Demucs(4, width=4)
    monkeypatch.setitem(sys.modules, "bs_roformer", None)
    with pytest.raises(ValueError, match=r"package bs_roformer: pip install -e '.\[zoo\]'"):
        BSRoFormer(4, width=8)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: ConvTasNet(4, length=21), "even, got 21"),
        (lambda: HTDemucs(4, width=4), "have width / 8 channels: set width to 8 or more"),
        (lambda: BSRoFormer(4, channels=6), "1 or 2 channels, got 6"),
        (lambda: BSRoFormer(4, bands=(2, 3)), "5 bins, expected 1025 for n_fft 2048"),
    ],
)
def test_settings_that_cannot_be(wrong, says):
    with pytest.raises(ValueError, match=says):
        wrong()


# Conv-TasNet against its own definition: frames as rows of a matrix, filters as columns, sums over neighbours written out.


def restated_gln(x: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    """(channels, frames), normalised by its one mean and one variance."""
    spread = ((x - x.mean()) ** 2).mean()
    return gain[:, None] * (x - x.mean()) / (spread + 1e-8) ** 0.5 + bias[:, None]


def restated_block(x: Tensor, layers: nn.Sequential, dilation: int) -> Tensor:
    """(width, frames) -> (width, frames)."""
    widen, slope, norm, filters, slope_2, norm_2, narrow = layers
    wide = widen.weight[:, :, 0] @ x
    wide = restated_gln(torch.where(wide > 0, wide, slope.weight * wide), norm.weight, norm.bias)
    out = torch.zeros_like(wide)
    for tap, offset in enumerate((-dilation, 0, dilation)):
        for t in range(x.shape[1]):
            if 0 <= t + offset < x.shape[1]:
                out[:, t] += filters.weight[:, 0, tap] * wide[:, t + offset]
    out = restated_gln(torch.where(out > 0, out, slope_2.weight * out), norm_2.weight, norm_2.bias)
    return x + narrow.weight[:, :, 0] @ out


def restated_conv_tasnet(net: ConvTasNet, mixture: Tensor, blocks: int) -> Tensor:
    """(channels, samples) -> (sources, channels, samples), samples a whole number of frames."""
    channels, samples = mixture.shape
    filters, _, length = net.encoder.weight.shape
    starts = range(0, samples - length + 1, length // 2)
    frames = torch.stack([mixture[:, s : s + length].flatten() for s in starts])
    encoded = (frames @ net.encoder.weight.flatten(1).T).clamp(min=0).T
    mean, spread = encoded.mean(0), encoded.var(0, unbiased=False)
    x = net.norm.weight[:, None] * (encoded - mean) / (spread + 1e-8).sqrt() + net.norm.bias[:, None]
    x = net.masker[0].weight[:, :, 0] @ x
    for index, block in enumerate(net.masker[1:-1]):
        x = restated_block(x, block.layers, 2 ** (index % blocks))
    masks = (net.masker[-1].weight[:, :, 0] @ x).clamp(min=0).reshape(-1, filters, len(starts))
    sources = torch.zeros(len(masks), channels, samples, dtype=mixture.dtype)
    for mask, source in zip(masks, sources, strict=True):
        pieces = (mask * encoded).T @ net.decoder.weight.flatten(1)
        for piece, start in zip(pieces, starts, strict=True):
            source[:, start : start + length] += piece.reshape(channels, length)
    return sources


@torch.no_grad()
@pytest.mark.parametrize("channels", [1, 2])
def test_conv_tasnet_is_what_its_definition_says(channels):
    net = build("ConvTasNet", 3, channels).double()
    for name, weight in net.named_parameters():
        if weight.numel() == 1:  # PReLU: every one its own
            weight.fill_(0.1 + 0.01 * len(name) + torch.rand(()).item())
    mixture = noise(20 + 30 * 10, channels).double()
    expected = torch.stack([restated_conv_tasnet(net, one, blocks=3) for one in mixture])
    torch.testing.assert_close(net(mixture), expected, atol=1e-12, rtol=1e-9)


def test_conv_tasnet_estimates_the_last_samples_too():
    net = build("ConvTasNet")
    full = net(F.pad(noise(1003), (0, 7)))
    torch.testing.assert_close(net(noise(1003)), full[..., :1003])
    assert net(noise(1003))[..., -3:].abs().min() > 0


def test_conv_tasnet_draws_its_weights_as_the_authors_do():
    torch.manual_seed(0)
    net = ConvTasNet(4, blocks=2, repeats=1)
    norm = net.masker[1].layers[2]
    spread = {net.encoder.weight: (2 / (2 * 20 + 256 * 20)) ** 0.5, net.decoder.weight: (2 / (256 + 40)) ** 0.5}
    spread[norm.weight] = spread[norm.bias] = (2 / (512 + 1)) ** 0.5
    for weight, expected in spread.items():
        assert weight.std().item() == pytest.approx(expected, rel=0.15)
    norm = ConvTasNet(4, blocks=1, repeats=1, norm_xavier=False).masker[1].layers[2]
    assert (norm.weight == 1).all() and (norm.bias == 0).all()


def test_demucs_is_the_packages_own_at_lengths_that_it_takes_whole():
    net = build("Demucs").eval()
    samples = net.net.valid_length(3000)
    with torch.no_grad():
        torch.testing.assert_close(net(noise(samples)), net.net(noise(samples)))
        padded = F.pad(noise(samples)[..., :-9], (0, 9))  # never in front, where the package puts half
        torch.testing.assert_close(net(noise(samples)[..., :-9]), net.net(padded)[..., :-9])
    names = [type(module).__name__ for module in net.modules()]
    assert names.count("LSTM") == 1 and net.net.lstm.lstm.num_layers == 2
    assert not {"GroupNorm", "DConv", "GELU"} & set(names)


@pytest.mark.skipif(importlib.util.find_spec("bs_roformer") is None, reason="bs-roformer is not installed")
def test_bs_roformer_lets_every_attention_kernel_run_on_every_gpu():
    attends = [module for module in build("BSRoFormer").modules() if hasattr(module, "cuda_config")]
    assert attends
    assert all(all(module.cuda_config) for module in attends)


def test_bs_roformers_masks_leave_bf16_before_they_become_complex():
    """On a GPU `view_as_complex` refuses bfloat16; autocast on a CPU hides it."""
    net = build("BSRoFormer")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert net.net.mask_estimators[0](torch.randn(1, 5, len(BANDS), 8)).dtype == torch.float32
