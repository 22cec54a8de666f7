"""Meta-TasNet (Samuel, Ganeshan and Naradowsky 2020): three TasNets at 8, 16 and 32 kHz, mixture -> sources."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio.transforms import Resample

from models.blocks.stft import STFT
from models.separation.separator import WaveSeparator

# Mask network: all sources are computed at once, as groups of one convolution


class GeneratedConv(nn.Module):
    """Convolution without bias with filters generated from an embedding of each source.

    (batch, sources*inputs, frames), embedding (sources, e) -> (batch, sources*outputs, frames). The filters are a linear map
    through a bottleneck: e -> bottleneck -> weights.
    """

    def __init__(
        self, embedding: int, bottleneck: int, inputs: int, outputs: int, kernel: int = 1, dilation: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.shape, self.dilation, self.groups = (-1, inputs // groups, kernel), dilation, groups
        self.bottleneck = nn.Linear(embedding, bottleneck)
        self.filters = nn.Linear(bottleneck, outputs * inputs // groups * kernel)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        filters = self.filters(self.bottleneck(embedding)).reshape(self.shape)
        padding = self.dilation * (self.shape[-1] // 2)
        return F.conv1d(x, filters, padding=padding, dilation=self.dilation, groups=self.groups * len(embedding))


class GeneratedNorm(nn.Module):
    """PReLU and group norm of each source's channels, with gains and biases generated from its embedding."""

    def __init__(self, embedding: int, bottleneck: int, channels: int, groups: int = 8) -> None:
        super().__init__()
        self.groups = groups
        self.act = nn.PReLU()
        self.bottleneck = nn.Linear(embedding, bottleneck)
        self.affine = nn.Linear(bottleneck, 2 * channels)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        gain, bias = self.affine(self.bottleneck(embedding)).float().chunk(2, dim=1)
        with torch.autocast(x.device.type, enabled=False):
            return F.group_norm(self.act(x.float()), len(embedding) * self.groups, gain.flatten(), bias.flatten(), 1e-8)


class GeneratedLayer(nn.Module):
    """Layer (batch, sources*width, frames) -> (batch, sources*hidden, frames), the input of `residual` and `skip`."""

    def __init__(self, sizes: tuple[int, int], width: int, hidden: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.widen = GeneratedConv(*sizes, width, hidden)
        self.norm = GeneratedNorm(*sizes, hidden)
        self.dilated = GeneratedConv(*sizes, hidden, hidden, kernel, dilation, groups=hidden)
        self.norm_2 = GeneratedNorm(*sizes, hidden)
        self.residual = GeneratedConv(*sizes, hidden, width)
        self.skip = GeneratedConv(*sizes, hidden, width)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        x = self.norm(self.widen(x, embedding), embedding)
        return self.norm_2(self.dilated(x, embedding), embedding)


class GeneratedMasks(nn.Module):
    """Latents of each source (batch, sources, inputs, frames) -> masks (batch, sources, latents, frames) that sum to one.

    sizes: of the embedding and of the bottleneck; width, hidden: of the residual path and inside a layer; layers: per
    stack, dilated by 1, 2, 4, ... frames.
    """

    def __init__(
        self,
        n_sources: int,
        inputs: int,
        latents: int,
        sizes: tuple[int, int] = (8, 5),
        width: int = 160,
        hidden: int = 160,
        kernel: int = 3,
        layers: int = 6,
        stacks: int = 3,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_sources, sizes[0])
        self.norm_in = GeneratedNorm(*sizes, inputs)
        self.narrow = GeneratedConv(*sizes, inputs, width)
        self.norm_narrow = GeneratedNorm(*sizes, width)
        dilations = [2**layer for _ in range(stacks) for layer in range(layers)]
        self.layers = nn.ModuleList([GeneratedLayer(sizes, width, hidden, kernel, dilation) for dilation in dilations])
        self.layers[-1].residual.requires_grad_(False)  # unused; kept for the published number of parameters
        self.norm_skips = GeneratedNorm(*sizes, width)
        self.out = GeneratedConv(*sizes, width, latents)
        self.norm_out = GeneratedNorm(*sizes, latents)

    def forward(self, latents: Tensor) -> Tensor:
        embedding, n_sources = self.embedding.weight, latents.shape[1]
        x = self.narrow(self.norm_in(latents.flatten(1, 2), embedding), embedding)
        x = self.norm_narrow(x, embedding)
        skips: Tensor | float = 0.0
        for layer in self.layers:
            inside = layer(x, embedding)
            skips = skips + layer.skip(inside, embedding)
            if layer is not self.layers[-1]:
                x = x + layer.residual(inside, embedding)
        masks = self.norm_out(self.out(self.norm_skips(skips, embedding), embedding), embedding)
        return masks.unflatten(1, (n_sources, -1)).softmax(1)


KAISER_BEST = {
    "resampling_method": "sinc_interp_kaiser",
    "lowpass_filter_width": 64,
    "rolloff": 0.9475937167399596,
    "beta": 14.769656459379492,
}


class Stage(NamedTuple):
    """Training outputs of a stage on mono mixtures: one row per example and channel, at the stage's sample rate."""

    estimate: Tensor  # (rows, sources, samples), of arbitrary scale
    target: Tensor  # (rows, sources, samples)
    mixture: Tensor  # (rows, samples)
    reconstruction: Tensor  # (rows, samples): mixture, encoded and decoded without a mask
    latents: Tensor  # (rows, sources, latents, frames) of the separately encoded targets


class StageEstimates(NamedTuple):
    """Estimates like `losses.Domains`, with the inputs of `losses.MetaTasNetLoss`."""

    magnitudes: Tensor | None
    waveforms: Tensor  # (batch, sources, channels, samples) as from `forward`
    stages: tuple[Stage, ...]


class LearnedLogMel(nn.Module):
    """Learned bands of the standardised log power spectrum: audio (batch, samples) -> (batch, bands, frames).

    Mean and deviation of each bin are taken from the first training batch (the authors: from 5,000 excerpts of 8 s).
    """

    mean: Tensor
    deviation: Tensor
    measured: Tensor

    def __init__(self, n_fft: int, hop: int, bands: int) -> None:
        super().__init__()
        self.stft = STFT(n_fft, hop)
        bins = self.stft.bins
        self.register_buffer("mean", torch.zeros(bins, 1))
        self.register_buffer("deviation", torch.ones(bins, 1))
        self.register_buffer("measured", torch.tensor(False))
        self.gain, self.bias = nn.Parameter(torch.ones(bins, 1)), nn.Parameter(torch.zeros(bins, 1))
        self.bands = nn.Conv1d(bins, bands, 1)

    def forward(self, audio: Tensor, frames: int) -> Tensor:
        power = torch.log10(self.stft(audio).abs().square() + 1e-8)
        if self.training and not self.measured:
            self.mean.copy_(power.detach().mean((0, 2))[:, None])
            self.deviation.copy_(power.detach().std((0, 2))[:, None].clamp(min=1e-4))
            self.measured.fill_(True)
        bands = self.bands((power - self.mean) / self.deviation * self.gain + self.bias)
        return F.interpolate(bands, size=frames, mode="linear", align_corners=True)


class TasNet(nn.Module):
    """One stage: mono audio (rows, samples), a multiple of `hop`, to sources (rows, sources, samples).

    Encoder and decoder have filters of three lengths: hop, 2 hop, 4 hop. below: latents of the previous stage, 0 for none.
    """

    def __init__(self, n_sources: int, latents: int, below: int, hop: int, n_fft: int, bands: int, **masks: int) -> None:
        super().__init__()
        self.n_sources, kernels = n_sources, (hop, 2 * hop, 4 * hop)
        self.mel = LearnedLogMel(n_fft, n_fft // 4, bands)
        self.filters = nn.ModuleList(
            [nn.Conv1d(1, latents // 4, k, stride=hop, padding=(k - hop) // 2, bias=False) for k in kernels]
        )
        self.mix = nn.Sequential(
            nn.Conv1d(3 * (latents // 4) + bands, latents, 1, bias=False), nn.ReLU(), nn.Conv1d(latents, latents, 1, bias=False)
        )
        self.masks = GeneratedMasks(n_sources, latents + below, latents, **masks)
        self.shares = [latents // 2, latents // 4, latents // 8]
        self.unmix = nn.Sequential(nn.Conv1d(latents, sum(self.shares), 1, bias=False), nn.ReLU())
        self.synthesis = nn.ModuleList(
            [
                nn.ConvTranspose1d(share, 1, k, stride=hop, padding=(k - hop) // 2, bias=False)
                for share, k in zip(self.shares, kernels, strict=True)
            ]
        )

    def encode(self, audio: Tensor) -> Tensor:
        """Latents (rows, latents, frames) of audio (rows, samples)."""
        features = torch.cat([filters(audio[:, None]).relu() for filters in self.filters], 1)
        return self.mix(torch.cat([features, self.mel(audio, features.shape[-1]).to(features.dtype)], 1))

    def decode(self, latents: Tensor) -> Tensor:
        """Audio (rows, samples) of latents (rows, latents, frames)."""
        parts = self.unmix(latents).float().split(self.shares, dim=1)
        with torch.autocast(latents.device.type, enabled=False):  # bfloat16 samples would add audible noise
            return torch.stack([f(part) for f, part in zip(self.synthesis, parts, strict=True)]).sum(0)[:, 0]

    def sources(self, separated: Tensor) -> Tensor:
        """Audio (rows, sources, samples) of latents (rows, sources, latents, frames)."""
        return self.decode(separated.flatten(0, 1)).unflatten(0, separated.shape[:2])

    def forward(self, audio: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """Latents (rows, sources, latents, frames) of the sources, and (rows, latents, frames) of the mixture."""
        mixed = self.encode(audio)
        copies = mixed[:, None].expand(-1, self.n_sources, -1, -1)
        masks = self.masks(copies if before is None else torch.cat([copies, before.to(copies.dtype)], 2))
        return mixed[:, None] * masks, mixed


class MetaTasNet(WaveSeparator):
    """Mixture (batch, channels, samples) -> sources (batch, n_sources, channels, samples), each channel separately.

    45,545,602 numbers for four sources as counted by the authors: 45,531,260 parameters, and 14,342 of windows and
    statistics, which are buffers here. The mixture is resampled to base_rate times 1, 2, 4, scaled to unit deviation, and
    separated at each rate with the latents of the rate below as further input; the highest rate's sources are resampled
    back. latents, hop, n_fft: of the first stage (doubled in each further one); bands: of the learned mel; embedding,
    bottleneck: of the generated weights; width, hidden, kernel, layers, stacks: of the mask network. The loss
    `losses.MetaTasNetLoss` is scale-invariant: `forward` scales the sources so that their sum is nearest to the mixture
    (least squares over its samples, per channel; the authors: per track). Other losses do not train the decoders of the
    lower rates. segment: samples.
    Source: https://github.com/pfnet-research/meta-tasnet
    """

    def __init__(
        self,
        n_sources: int,
        sample_rate: int = 44_100,
        channels: int = 2,
        base_rate: int = 8_000,
        stages: int = 3,
        latents: int = 440,
        hop: int = 20,
        n_fft: int = 1024,
        bands: int = 256,
        embedding: int = 8,
        bottleneck: int = 5,
        width: int = 160,
        hidden: int = 160,
        kernel: int = 3,
        layers: int = 6,
        stacks: int = 3,
        segment: int = 352_800,
    ) -> None:
        if latents % 8 or width % 8 or hidden % 8:
            raise ValueError(
                f"latents, width and hidden of Meta-TasNet must be multiples of 8, got {latents}, {width}, {hidden}."
            )
        common = math.gcd(sample_rate, base_rate)
        grid = math.lcm(base_rate // common, hop, n_fft // 4)  # in samples at base_rate
        super().__init__(n_sources, sample_rate, channels, segment, align=grid * sample_rate // base_rate)
        self.hop, self.least = hop, n_fft // 2 + 1
        masks = {"width": width, "hidden": hidden, "kernel": kernel, "layers": layers, "stacks": stacks}
        self.stages = nn.ModuleList()
        for factor in (2**stage for stage in range(stages)):
            below = latents * factor // 2 if factor > 1 else 0
            sizes = (latents * factor, below, hop * factor, n_fft * factor, bands)
            self.stages.append(TasNet(n_sources, *sizes, sizes=(embedding, bottleneck), **masks))
        rates = [base_rate * 2**stage for stage in range(stages)]
        with torch.device("cpu"):  # torchaudio does not support the meta device
            self.down = nn.ModuleList([Resample(sample_rate, rate, **KAISER_BEST) for rate in rates])
            self.up = Resample(rates[-1], sample_rate, **KAISER_BEST)

    def at_rates(self, audio: Tensor) -> list[Tensor]:
        """Audio (..., samples) at the rate of every stage, zero-padded to the same whole number of frames."""
        with torch.autocast(audio.device.type, enabled=False):
            audio = audio.float().contiguous()  # torchaudio takes views of it
            resampled = [down(audio) for down in self.down]
        least = max(self.least, *(math.ceil(each.shape[-1] / 2**stage) for stage, each in enumerate(resampled)))
        samples = math.ceil(least / self.hop) * self.hop
        return [F.pad(each, (0, samples * 2**stage - each.shape[-1])) for stage, each in enumerate(resampled)]

    def waveforms(self, sources: Tensor, mixture: Tensor) -> Tensor:
        """Sources (rows, sources, samples of the highest rate) -> (batch, sources, channels, samples), scaled to the mixture."""
        batch, channels, samples = mixture.shape
        with torch.autocast(mixture.device.type, enabled=False):
            sources = self.up(sources.contiguous())[..., :samples]
            sources = gains(sources, mixture.flatten(0, 1).float())[..., None] * sources
        return sources.unflatten(0, (batch, channels)).transpose(1, 2).to(mixture.dtype)

    def forward(self, mixture: Tensor) -> Tensor:
        """Waveforms (batch, n_sources, channels, samples) of a mixture (batch, channels, samples) of any length."""
        latents = None
        for stage, audio in zip(self.stages, self.at_rates(mixture.flatten(0, 1)), strict=True):
            latents, _ = stage(audio / deviation(audio), latents)
        return self.waveforms(self.stages[-1].sources(latents), mixture)

    def training_outputs(self, mixture: Tensor, stems: Tensor) -> StageEstimates:
        """Inputs of `losses.MetaTasNetLoss` from mixture (batch, channels, samples) and stems (batch, n_sources, ...)."""
        mixtures = self.at_rates(mixture.flatten(0, 1))
        targets = self.at_rates(stems.transpose(1, 2).flatten(0, 1))
        latents, stages = None, []
        for stage, audio, target in zip(self.stages, mixtures, targets, strict=True):
            level = deviation(audio)
            audio, target = audio / level, target / level[..., None]
            latents, mixed = stage(audio, latents)
            sources = stage.sources(latents)
            alone = stage.encode(target.flatten(0, 1)).unflatten(0, (-1, self.n_sources))
            stages.append(Stage(sources, target, audio, stage.decode(mixed), alone))
        return StageEstimates(None, self.waveforms(sources, mixture), tuple(stages))


def deviation(audio: Tensor) -> Tensor:
    """Standard deviation (rows, 1) of audio (rows, samples); 1 for silence."""
    level = audio.std(-1, keepdim=True)
    return torch.where(level > 1e-5, level, 1.0)


def gains(sources: Tensor, mixture: Tensor) -> Tensor:
    """Least-squares gains (rows, sources) of sources (rows, sources, samples) for mixtures (rows, samples)."""
    wide = sources.double()
    gram = wide @ wide.transpose(1, 2)
    # Regularised, since silent or equal sources make the solution ambiguous.
    ridge = 1e-9 * gram.diagonal(dim1=1, dim2=2).mean(-1)[:, None, None] + 1e-12
    correlation = wide @ mixture.double()[..., None]
    return torch.linalg.solve(gram + ridge * torch.eye(gram.shape[1], device=gram.device), correlation)[..., 0].to(sources.dtype)
