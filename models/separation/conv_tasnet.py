"""Stereo Conv-TasNet (Luo and Mesgarani 2019, as trained on music by Defossez et al. 2019): mixture -> sources."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.separation.separator import WaveSeparator


class FrameNorm(nn.LayerNorm):
    """Layer norm over the channels of every frame: (batch, channels, frames) -> (batch, channels, frames)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


def global_norm(channels: int) -> nn.GroupNorm:
    """Global layer norm (gLN): mean and variance over channels and frames, gain and bias per channel."""
    return nn.GroupNorm(1, channels, eps=1e-8)


class ConvTasNetBlock(nn.Module):
    """Residual block (batch, width, frames): pointwise, dilated depthwise and pointwise convolution; no skip path."""

    def __init__(self, width: int, hidden: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(width, hidden, 1, bias=False),
            nn.PReLU(),
            global_norm(hidden),
            nn.Conv1d(hidden, hidden, kernel, dilation=dilation, padding="same", groups=hidden, bias=False),
            nn.PReLU(),
            global_norm(hidden),
            nn.Conv1d(hidden, width, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class ConvTasNet(WaveSeparator):
    """Mixture (batch, channels, samples) -> sources (batch, n_sources, channels, samples); not causal.

    10,977,872 parameters for four stereo sources; with blocks=8 8,852,032. filters: of the encoder, `length`
    samples long over all `channels`, with half that as hop; bottleneck, hidden, kernel: width of the residual path, width
    inside a block and its kernel size (frames); blocks: per repeat, dilated by 1, 2, 4, ... frames.
    Masks are ReLUs and may exceed one. The mixture is zero-padded to a whole number of frames, so that the last samples are
    estimated too (the authors return zeros there). Norms average over the whole input, so results differ for chunks much
    longer than the `segment` (samples) of training.
    norm_xavier: draw the gains and biases of the norms from Xavier's normal distribution too, as the authors' loop does;
    False initialises them to one and zero.
    Source: https://github.com/facebookresearch/demucs/tree/v1, demucs/tasnet.py, with --X 10.
    """

    def __init__(
        self,
        n_sources: int,
        sample_rate: int = 44_100,
        channels: int = 2,
        filters: int = 256,
        length: int = 20,
        bottleneck: int = 256,
        hidden: int = 512,
        kernel: int = 3,
        blocks: int = 10,
        repeats: int = 4,
        norm_xavier: bool = True,
        segment: int = 80_000,
    ) -> None:
        if length % 2:
            raise ValueError(f"length of Conv-TasNet's filters must be even, got {length}.")
        super().__init__(n_sources, sample_rate, channels, segment, align=length // 2)
        self.encoder = nn.Conv1d(channels, filters, length, stride=length // 2, bias=False)
        self.norm = FrameNorm(filters, eps=1e-8)
        self.masker = nn.Sequential(
            nn.Conv1d(filters, bottleneck, 1, bias=False),
            *(ConvTasNetBlock(bottleneck, hidden, kernel, 2**block) for _ in range(repeats) for block in range(blocks)),
            nn.Conv1d(bottleneck, n_sources * filters, 1, bias=False),
        )
        self.decoder = nn.ConvTranspose1d(filters, channels, length, stride=length // 2, bias=False)
        self.draw(norm_xavier)

    def draw(self, norm_xavier: bool) -> None:
        """Xavier-normal initialisation; the decoder is treated as a matrix from filters to samples."""
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.xavier_normal_(module.weight)
            elif isinstance(module, nn.LayerNorm | nn.GroupNorm) and norm_xavier:
                nn.init.xavier_normal_(module.weight.data.view(1, -1, 1))
                nn.init.xavier_normal_(module.bias.data.view(1, -1, 1))
        nn.init.xavier_normal_(self.decoder.weight.data.flatten(1))

    def forward(self, mixture: Tensor) -> Tensor:
        """Waveforms (batch, n_sources, channels, samples) of a mixture (batch, channels, samples) of any length."""
        samples, length, hop = mixture.shape[-1], self.encoder.kernel_size[0], self.align
        hops = max(0, -((length - samples) // hop))  # rounded up
        encoded = self.encoder(F.pad(mixture, (0, length + hops * hop - samples))).relu()
        masks = self.masker(self.norm(encoded)).relu().unflatten(1, (self.n_sources, -1))
        masked = (masks * encoded[:, None]).flatten(0, 1).to(self.decoder.weight.dtype)
        with torch.autocast(masked.device.type, enabled=False):  # bfloat16 samples would add audible noise
            sources = self.decoder(masked)
        return sources.unflatten(0, (-1, self.n_sources))[..., :samples]
