"""Plain versions of X-UMX and its losses, the peers of `benchmarks.separation`."""

import itertools

import torch
from torch import Tensor

from losses import Domains
from models.separation.umx import UMX


class NaiveUMX(UMX):
    """X-UMX as published, branch by branch; loads UMX's state_dict."""

    def forward(self, magnitude: Tensor) -> Tensor:
        batch, channels, bins, frames = magnitude.shape
        mixture = magnitude.permute(3, 0, 1, 2)  # (frames, batch, channels, bins)
        encodings = []
        for branch in self.branches:
            scaled = (mixture[..., : self.max_bin] + branch.input_mean) * branch.input_scale
            dense = branch.fc1(scaled.reshape(frames * batch, -1))
            encodings.append(torch.tanh(branch.bn1(dense)).view(frames, batch, -1))
        shared = sum(encodings) / self.n_sources
        joined = [
            torch.cat([encoding, branch.lstm(shared)[0]], -1) for encoding, branch in zip(encodings, self.branches, strict=True)
        ]
        decoded = sum(joined) / self.n_sources
        masks = []
        for branch in self.branches:
            dense = torch.relu(branch.bn2(branch.fc2(decoded.flatten(0, 1))))
            rows = branch.bn3(branch.fc3(dense)).view(frames, batch, channels, bins)
            masks.append(torch.relu(rows * branch.output_scale + branch.output_mean))
        return torch.stack(masks, 1).permute(2, 1, 3, 4, 0)


def naive_domains(net: UMX, stems: Tensor, mixture: Tensor) -> tuple[Domains, Domains]:
    """Estimates and targets by plain operations, with all masked spectra in memory."""
    spectrum = net.stft(mixture)
    masks = net(spectrum.abs())
    waveforms = net.stft.inverse(masks * spectrum[:, None], mixture.shape[-1])
    with torch.no_grad():
        target = Domains(net.stft(stems).abs(), stems)
    return Domains(masks * spectrum.abs()[:, None], waveforms), target


def naive_loss(estimate: Domains, target: Domains, mixture: Tensor, alpha: float = 10.0, combination: bool = True) -> Tensor:
    """Multi-domain and combination loss by a loop over subsets."""
    assert estimate.magnitudes is not None and target.magnitudes is not None
    assert estimate.waveforms is not None and target.waveforms is not None
    sources = range(estimate.magnitudes.shape[1])
    sizes = range(1, len(sources) if combination else 2)
    subsets = [members for size in sizes for members in itertools.combinations(sources, size)]
    squares: list[Tensor] = []
    ratios: list[Tensor] = []
    for members in subsets:
        squares.append((_sum(estimate.magnitudes, members) - _sum(target.magnitudes, members)).square().mean())
        ratios.append(naive_weighted_sdr(_sum(estimate.waveforms, members), _sum(target.waveforms, members), mixture))
    return torch.stack(squares).mean() + alpha * torch.stack(ratios).mean()


def _sum(signals: Tensor, members: tuple[int, ...]) -> Tensor:
    return sum((signals[:, source] for source in members[1:]), signals[:, members[0]])


def naive_weighted_sdr(estimate: Tensor, target: Tensor, mixture: Tensor, eps: float = 1e-10) -> Tensor:
    """One plus the weighted SDR loss of waveforms (..., samples), mean over all rows."""
    rest, rest_estimate = mixture - target, mixture - estimate
    energy, rest_energy = target.square().sum(-1), rest.square().sum(-1)
    share = energy / (energy + rest_energy + eps)
    source = _cosine(target, estimate, eps)
    return (1 - share * source - (1 - share) * _cosine(rest, rest_estimate, eps)).mean()


def _cosine(a: Tensor, b: Tensor, eps: float) -> Tensor:
    norms = (a.square().sum(-1) + eps).sqrt() * (b.square().sum(-1) + eps).sqrt()
    return (a * b).sum(-1) / (norms + eps)
