"""What a loss compares: masked spectra and their gradient in little memory, both kinds of network, precision."""

import pytest
import torch
from torch import Tensor, nn

from losses import MultiDomainLoss, WaveformL1
from models.blocks.stft import STFT
from models.separation.masking import masked
from models.separation.separator import MaskSeparator, WaveSeparator
from tasks.separation.module import domains


class Masks(MaskSeparator):
    def __init__(self, center: bool = True) -> None:
        super().__init__(3, 8000, 2, STFT(32, 8, center))
        self.mix = nn.Linear(self.stft.bins, 3 * self.stft.bins)

    def forward(self, magnitude: Tensor) -> Tensor:
        found = self.mix(magnitude.transpose(-1, -2)).relu()
        return found.unflatten(-1, (3, -1)).movedim(-2, 1).transpose(-1, -2)


class Waves(WaveSeparator):
    def __init__(self) -> None:
        super().__init__(3, 8000, 2, 1000)
        self.mix = nn.Conv1d(2, 6, 5, padding=2)

    def forward(self, mixture: Tensor) -> Tensor:
        return self.mix(mixture).unflatten(1, (3, 2))


def batch(samples: int = 207) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    stems = torch.randn(2, 3, 2, samples)
    return stems, stems.sum(1)


@pytest.mark.parametrize(("n_fft", "hop"), [(16, 4), (16, 8), (32, 8)])
@pytest.mark.parametrize("samples", [64, 65, 71, 72])
@pytest.mark.parametrize("channels", [1, 2])
def test_masked_equals_plain_operations(n_fft, hop, samples, channels):
    torch.manual_seed(samples)
    stft = STFT(n_fft, hop)
    spectrum = stft(torch.randn(2, channels, samples, dtype=torch.float64))
    masks = torch.rand(2, 3, *spectrum.shape[1:], dtype=torch.float64).requires_grad_()
    plain = masks * spectrum.abs()[:, None], stft.inverse(masks * spectrum[:, None], samples)
    ours = masked(masks, spectrum, spectrum.abs(), stft, samples)
    weights = [torch.randn_like(one) for one in plain]
    grads = [torch.autograd.grad(pair, masks, weights)[0] for pair in (plain, ours)]
    for one, other in zip((*plain, grads[0]), (*ours, grads[1]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_masked_passes_gradcheck():
    torch.manual_seed(0)
    stft = STFT(8, 4)
    spectrum = stft(torch.randn(2, 1, 13, dtype=torch.float64))
    masks = torch.rand(2, 2, *spectrum.shape[1:], dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda m: masked(m, spectrum, spectrum.abs(), stft, 13), masks)


def test_masks_give_both_domains_of_the_mixture_s_length():
    net = Masks()
    stems, mixture = batch()
    loss = MultiDomainLoss(True, True)
    estimate, target = domains(net, stems, mixture, loss, net.stft)
    torch.testing.assert_close(estimate.waveforms, net.separate(mixture))
    torch.testing.assert_close(target.magnitudes, net.stft(stems).abs())
    assert target.waveforms is stems
    assert estimate.magnitudes.shape == target.magnitudes.shape
    loss(estimate, target, mixture).backward()
    assert net.mix.weight.grad.abs().max() > 0


def test_only_what_the_loss_looks_at_is_computed():
    stems, mixture = batch()
    estimate, target = domains(Masks(), stems.requires_grad_(), mixture.detach(), MultiDomainLoss(False, True), STFT(32, 8))
    assert estimate.waveforms is None
    assert estimate.magnitudes.requires_grad
    assert not target.magnitudes.requires_grad
    estimate, target = domains(Waves(), stems, mixture, WaveformL1(), STFT(32, 8))
    assert estimate.magnitudes is None
    assert target.magnitudes is None


def test_waveform_networks_are_compared_through_a_transform():
    net, stft = Waves(), STFT(64, 16)
    stems, mixture = batch()
    estimate, target = domains(net, stems, mixture, MultiDomainLoss(True, True), stft)
    torch.testing.assert_close(estimate.magnitudes, stft(net(mixture)).abs())
    torch.testing.assert_close(target.magnitudes, stft(stems).abs())
    MultiDomainLoss(True, True)(estimate, target, mixture).backward()
    assert net.mix.weight.grad.isfinite().all()


def test_silent_waveforms_have_a_finite_gradient_of_magnitudes():
    net, stft = Waves(), STFT(64, 16)
    nn.init.zeros_(net.mix.weight), nn.init.zeros_(net.mix.bias)
    stems, mixture = batch()
    estimate, target = domains(net, 0 * stems, mixture, MultiDomainLoss(True, True), stft)
    MultiDomainLoss(True, True)(estimate, target, mixture).backward()
    assert net.mix.weight.grad.isfinite().all()


def test_a_transform_without_centre_is_centred_for_scores_in_time_alone():
    net = Masks(center=False)
    stems, mixture = batch()
    estimate, target = domains(net, stems, mixture, MultiDomainLoss(False, False), net.stft)
    assert estimate.magnitudes.shape == target.magnitudes.shape == (2, 3, 2, 17, 22)
    estimate, target = domains(net, stems, mixture, MultiDomainLoss(False, False), net.stft, always_waveforms=True)
    assert estimate.magnitudes.shape == target.magnitudes.shape == (2, 3, 2, 17, 26)
    assert estimate.waveforms.shape == stems.shape
    with pytest.raises(ValueError, match="set center to true"):
        domains(net, stems, mixture, MultiDomainLoss(True, False), net.stft)


def test_a_backward_pass_within_autocast_is_as_exact():
    stft = STFT(32, 8)
    stems, mixture = batch()
    spectrum = stft(mixture)
    masks = torch.rand(2, 3, *spectrum.shape[1:]).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        inside = torch.autograd.grad(masked(masks, spectrum, spectrum.abs(), stft, 207)[1], masks, stems)[0]
    outside = torch.autograd.grad(masked(masks, spectrum, spectrum.abs(), stft, 207)[1], masks, stems)[0]
    assert torch.equal(inside, outside)


@pytest.mark.parametrize("net", [Masks(), Waves()])
def test_half_precision_ends_with_the_network(net):
    stems, mixture = batch()
    with torch.autocast("cpu", torch.bfloat16):
        estimate, target = domains(net, stems, mixture, MultiDomainLoss(True, True), STFT(32, 8))
        loss = MultiDomainLoss(True, True)(estimate, target, mixture)
    assert {part.dtype for part in (*estimate, *target, loss)} == {torch.float32}
    loss.backward()
    assert net.mix.weight.grad.isfinite().all()
