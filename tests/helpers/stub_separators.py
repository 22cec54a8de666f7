"""Small networks and a module that stand in for a trained separator: equal masks, a local filter, a wave filter."""

import torch
from torch import Tensor, nn

from models.blocks.stft import STFT
from models.separation.separator import MaskSeparator, WaveSeparator
from tasks.separation.inference import File2Stems, SeparationOptions
from tasks.suite_module import SuiteModule

SOURCES = ["drums", "bass", "other", "vocals"]


class EqualMasks(MaskSeparator):
    """Every source is an equal share of the mixture."""

    def __init__(self, n_sources: int = 4, sample_rate: int = 8000, channels: int = 2, n_fft: int = 512, hop: int = 128):
        super().__init__(n_sources, sample_rate, channels, STFT(n_fft, hop))

    def forward(self, magnitude: Tensor) -> Tensor:
        return (torch.ones_like(magnitude)[:, None] / self.n_sources).expand(-1, self.n_sources, -1, -1, -1)


class LocalMasks(EqualMasks):
    """Masks that depend on `reach` frames to either side, on frequency and on the source, all of them different."""

    def __init__(self, reach: int = 3, **how) -> None:
        super().__init__(**how)
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.rand(self.n_sources, 1, 2 * reach + 1, generator=generator))
        self.reach = reach

    def forward(self, magnitude: Tensor) -> Tensor:
        batch, channels, bins, frames = magnitude.shape
        rows = nn.functional.pad(magnitude.reshape(-1, 1, frames), (self.reach, self.reach), mode="replicate")
        scores = nn.functional.conv1d(rows, self.weight).log1p()
        masks = scores / (scores.sum(1, keepdim=True) + 1e-6)
        return masks.unflatten(0, (batch, channels, bins)).permute(0, 4 - 1, 1, 2, 4)


class EqualWaves(WaveSeparator):
    """Every source is an equal share of the waveform, seen through a filter of `reach` samples to either side."""

    def __init__(self, reach: int = 0, n_sources: int = 4, channels: int = 2, segment: int = 4000, align: int = 8) -> None:
        super().__init__(n_sources, 8000, channels, segment, align)
        self.weight = nn.Parameter(torch.ones(2 * reach + 1) / (2 * reach + 1))
        self.lengths: list[int] = []

    def forward(self, mixture: Tensor) -> Tensor:
        self.lengths.append(mixture.shape[-1])
        rows, reach = mixture.flatten(0, 1)[:, None], len(self.weight) // 2
        rows = nn.functional.conv1d(rows, self.weight[None, None], padding=reach)
        return (rows.unflatten(0, mixture.shape[:2])[:, None, :, 0] / self.n_sources).expand(-1, self.n_sources, -1, -1)


class StandIn(SuiteModule):
    """What the writer and the ladder need of a separator."""

    def __init__(
        self, net: nn.Module | None = None, inference: SeparationOptions | None = None, covers_mixture: bool = True
    ) -> None:
        super().__init__(torch.optim.Adam)
        self.covers_mixture = covers_mixture
        self.net, self.sources = net or EqualMasks(), SOURCES
        self.inference = inference or SeparationOptions(niter=0, window=20, chunk=1.0, context=0.2)

    def predict_input(self, batch):
        return File2Stems(self)(batch.path)
