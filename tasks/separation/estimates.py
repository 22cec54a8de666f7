"""What a separation loss compares: a network's estimates and the true sources, in the domains that the loss looks at."""

import torch
from torch import Tensor, nn

from losses import Domains
from models.separation.separator import MaskSeparator
from models.stft import STFT
from tasks.separation.masking import masked


def domains(
    net: nn.Module, stems: Tensor, mixture: Tensor, loss: nn.Module, stft: STFT, always_waveforms: bool = False
) -> tuple[Domains, Domains]:
    """Estimates of the sources in a mixture and the sources themselves, float32 whatever the network's precision.

    Args:
        net: a MaskSeparator, which brings its own transform, or a WaveSeparator
        stems: true sources (batch, sources, channels, samples)
        mixture: what the network hears (batch, channels, samples)
        loss: says by `needs_magnitudes` and `needs_waveforms` which domains to fill
        stft: transform after a network on waveforms (the paper's Figure 1b)
        always_waveforms: fill the waveforms in any case, for scores in time; a transform without centre is centred for it
    """
    waveforms = loss.needs_waveforms or always_waveforms
    if isinstance(net, MaskSeparator):
        transform = net.stft
        if always_waveforms and not transform.center:
            transform = STFT(transform.n_fft, transform.hop).to(mixture.device)
        target = Domains(_magnitudes(stems, transform) if loss.needs_magnitudes else None, stems)
        return _by_masks(net, mixture, transform, waveforms), target
    target = Domains(_magnitudes(stems, stft) if loss.needs_magnitudes else None, stems)
    if getattr(loss, "needs_stages", False):
        if not hasattr(net, "training_outputs"):
            raise ValueError(f"{type(loss).__name__} needs a network with stages, not {type(net).__name__}: change --model.loss")
        return net.training_outputs(mixture, stems), target
    heard = net(mixture)
    heard = heard if heard.dtype == torch.float64 else heard.float()
    return Domains(stft(heard).abs() if loss.needs_magnitudes else None, heard), target


def _by_masks(net: MaskSeparator, mixture: Tensor, stft: STFT, waveforms: bool) -> Domains:
    spectrum = stft(mixture)
    magnitude = spectrum.abs()
    masks = net(magnitude).to(magnitude.dtype)
    if not waveforms:
        return Domains(masks * magnitude.unsqueeze(1), None)
    return Domains(*masked(masks, spectrum, magnitude, stft, mixture.shape[-1]))


@torch.no_grad()
def _magnitudes(signals: Tensor, stft: STFT) -> Tensor:
    """(batch, sources, channels, bins, frames), one batch element after the other: a spectrum is twice its magnitude."""
    return torch.stack([stft(one).abs() for one in signals])
