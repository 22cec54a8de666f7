"""BS-RoFormer (Lu et al. 2023): attention over time and over bands of the complex spectrum, from the package bs-roformer."""

import warnings
from typing import Any

from torch import Tensor, nn

from models.separation.library import LibrarySeparator, installed

BANDS = (2,) * 24 + (4,) * 12 + (12,) * 8 + (24,) * 8 + (48,) * 8 + (128, 129)  # bins of an n_fft of 2048


def in_float32(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
    """Forward hook: the package views masks as complex numbers, which bfloat16 cannot be."""
    return output.float()


class BSRoFormer(LibrarySeparator):
    """`bs_roformer.BSRoformer` for mono or stereo: a complex mask per source from rotary transformers.

    222,366,612 parameters for four stereo sources at width 384 and depth 6, nearly all in the masks' perceptrons (a single
    source: 74,563,452; the authors train a network per source). width: of the residual path; depth: pairs of a transformer
    over time and one over bands; bands: bins of each band, n_fft/2 + 1 in all; segment: samples; options: any other
    argument of the class, of which its hyper-connections (`num_residual_streams`) are off here, as in the paper.
    Raises ValueError where the package is missing, where channels is neither 1 nor 2, or where the bands do not fill the
    spectrum.
    """

    def __init__(
        self,
        n_sources: int,
        sample_rate: int = 44_100,
        channels: int = 2,
        width: int = 384,
        depth: int = 6,
        heads: int = 8,
        head_width: int = 64,
        n_fft: int = 2048,
        hop: int = 512,
        bands: tuple[int, ...] = BANDS,
        segment: int = 352_800,
        options: dict[str, Any] | None = None,
    ) -> None:
        if channels not in (1, 2):
            raise ValueError(f"BS-RoFormer separates mono or stereo, not {channels} channels.")
        if sum(bands) != n_fft // 2 + 1:
            raise ValueError(f"The bands of BS-RoFormer hold {sum(bands)} bins, an n_fft of {n_fft} has {n_fft // 2 + 1}.")
        paper = {"time_transformer_depth": 1, "freq_transformer_depth": 1, "num_residual_streams": 1}
        with warnings.catch_warnings():  # the package transforms noise without a window to count bins
            warnings.simplefilter("ignore", UserWarning)
            net = installed("bs_roformer", "BS-RoFormer").BSRoformer(
                width,
                depth=depth,
                stereo=channels == 2,
                num_stems=n_sources,
                heads=heads,
                dim_head=head_width,
                freqs_per_bands=tuple(bands),
                stft_n_fft=n_fft,
                stft_win_length=n_fft,
                stft_hop_length=hop,
                **paper | (options or {}),
            )
        for module in net.modules():
            if hasattr(module, "cuda_config"):  # on an A100 the package allows the one kernel that knows no float32
                module.cuda_config = module.cpu_config
        for estimator in net.mask_estimators:
            estimator.register_forward_hook(in_float32)
        super().__init__(net, n_sources, sample_rate, channels, segment, align=hop)

    def fitting(self, samples: int) -> int:
        """A whole number of hops, else the rest is lost, and at least one window."""
        n_fft = self.net.stft_kwargs["n_fft"]
        return -(-max(samples, n_fft) // self.align) * self.align

    def forward(self, mixture: Tensor) -> Tensor:
        """Waveforms (batch, n_sources, channels, samples) of a mixture (batch, channels, samples)."""
        sources = super().forward(mixture)
        return sources[:, None] if self.n_sources == 1 else sources  # the package drops the axis of a single source
