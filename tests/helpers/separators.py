"""Small separation networks on waveforms, one of each kind, and noise to put through them."""

import pytest
import torch
from torch import Tensor, nn

from models.separation.conv_tasnet import ConvTasNet
from models.separation.library import BSRoFormer, Demucs, HDemucs, HTDemucs
from models.separation.meta_tasnet import MetaTasNet

PACKAGES = {"Demucs": "demucs", "HTDemucs": "demucs", "BSRoFormer": "bs_roformer"}
BANDS = (2,) * 24 + (9,) * 9
SMALL = {
    "ConvTasNet": lambda n, c: ConvTasNet(n, channels=c, filters=16, bottleneck=8, hidden=12, blocks=3, repeats=2),
    "Demucs": lambda n, c: Demucs(n, channels=c, width=4, depth=3),
    "HDemucs": lambda n, c: HDemucs(n, channels=c, width=4, n_fft=1024, depth=5, options={"norm_starts": 2}),
    "HTDemucs": lambda n, c: HTDemucs(
        n, channels=c, width=8, n_fft=1024, depth=3, t_layers=1, t_heads=2, options={"dconv_comp": 4}
    ),
    "BSRoFormer": lambda n, c: BSRoFormer(n, channels=c, width=8, depth=1, heads=2, head_width=8, n_fft=256, hop=64, bands=BANDS),
    "MetaTasNet": lambda n, c: MetaTasNet(
        n, channels=c, latents=16, n_fft=128, bands=8, width=8, hidden=8, layers=2, stacks=1, embedding=3, bottleneck=2
    ),
}


def build(name: str, n: int = 4, channels: int = 2) -> nn.Module:
    """A small network of a name, the same at every call."""
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name])
    torch.manual_seed(0)
    return SMALL[name](n, channels)


def noise(samples: int, channels: int = 2, batch: int = 2) -> Tensor:
    return 0.1 * torch.randn(batch, channels, samples, generator=torch.Generator().manual_seed(samples))
