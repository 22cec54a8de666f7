"""Separation networks of other packages, imported only when one is built."""

import importlib
from types import ModuleType

import torch.nn.functional as F
from torch import Tensor, nn

from models.separation.separator import WaveSeparator


def installed(module: str, network: str) -> ModuleType:
    """A module of an optional package. Raises ValueError with the command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        raise ValueError(f"{network} is the network of the package {package}: pip install -e '.[zoo]'. ({error})") from error


def stem_names(n_sources: int) -> list[str]:
    """Names for classes that ask for a list of them and only count it."""
    return [f"stem {number}" for number in range(1, n_sources + 1)]


class LibrarySeparator(WaveSeparator):
    """`net` of another package, (batch, channels, samples) -> (batch, n_sources, channels, samples), for any length.

    Where the package does not take a length, or returns less, zeros are put after the mixture and cut off again: strides
    always count from the first sample, so that chunks whose starts are `align` apart see the same grid.
    """

    def __init__(self, net: nn.Module, n_sources: int, sample_rate: int, channels: int, segment: int, align: int) -> None:
        super().__init__(n_sources, sample_rate, channels, segment, align)
        self.net = net

    def fitting(self, samples: int) -> int:
        """The least length the network takes that holds so many samples."""
        return samples

    def forward(self, mixture: Tensor) -> Tensor:
        """Waveforms (batch, n_sources, channels, samples) of a mixture (batch, channels, samples)."""
        samples = mixture.shape[-1]
        sources = self.net(F.pad(mixture, (0, self.fitting(samples) - samples)))
        return sources[..., :samples].to(mixture.dtype)
