"""Separation networks of other packages: BS-RoFormer, Demucs, Hybrid Demucs and Hybrid Transformer Demucs."""

import importlib
import warnings
from types import ModuleType
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from models.separation.separator import WaveSeparator


def installed(module: str, network: str) -> ModuleType:
    """Import a module of an optional package. Raises ValueError with the command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        raise ValueError(f"{network} needs the package {package}: pip install -e '.[zoo]'. ({error})") from error


def stem_names(n_sources: int) -> list[str]:
    """Placeholder names for classes that take a list of sources."""
    return [f"stem {number}" for number in range(1, n_sources + 1)]


class LibrarySeparator(WaveSeparator):
    """Network of another package, (batch, channels, samples) -> (batch, n_sources, channels, samples), for any length.

    Unsupported lengths are zero-padded at the end and cut again: strides start at the first sample, so that chunks whose
    starts differ by multiples of `align` share a grid.
    """

    def __init__(self, net: nn.Module, n_sources: int, sample_rate: int, channels: int, segment: int, align: int) -> None:
        super().__init__(n_sources, sample_rate, channels, segment, align)
        self.net = net

    def fitting(self, samples: int) -> int:
        """Smallest supported length of at least `samples`."""
        return samples

    def forward(self, mixture: Tensor) -> Tensor:
        """Waveforms (batch, n_sources, channels, samples) of a mixture (batch, channels, samples)."""
        samples = mixture.shape[-1]
        sources = self.net(F.pad(mixture, (0, self.fitting(samples) - samples)))
        return sources[..., :samples].to(mixture.dtype)


BANDS = (2,) * 24 + (4,) * 12 + (12,) * 8 + (24,) * 8 + (48,) * 8 + (128, 129)  # bins of an n_fft of 2048


def in_float32(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
    """Forward hook: the package views masks as complex numbers, which bfloat16 does not support."""
    return output.float()


class BSRoFormer(LibrarySeparator):
    """BS-RoFormer (Lu et al. 2023, package bs-roformer): attention over time and bands -> complex mask per source.

    222,366,612 parameters for four stereo sources at width 384 and depth 6, nearly all in the masks' perceptrons (a single
    source: 74,563,452; the authors train a network per source). width: of the residual path; depth: pairs of a transformer
    over time and one over bands; bands: bins of each band, n_fft/2 + 1 in all; segment: samples; options: any other
    argument of the class; its hyper-connections (`num_residual_streams`) are off by default, as in the paper.
    Raises ValueError if the package is missing, channels is neither 1 nor 2, or the bands do not cover the spectrum.
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
            raise ValueError(f"BS-RoFormer supports 1 or 2 channels, got {channels}.")
        if sum(bands) != n_fft // 2 + 1:
            raise ValueError(f"The bands of BS-RoFormer have {sum(bands)} bins, expected {n_fft // 2 + 1} for n_fft {n_fft}.")
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
        for module in (module for module in net.modules() if hasattr(module, "cuda_config")):
            module.cuda_config = module.cpu_config  # on an A100 the package allows only the kernel without float32
        for estimator in net.mask_estimators:
            estimator.register_forward_hook(in_float32)
        super().__init__(net, n_sources, sample_rate, channels, segment, align=hop)

    def fitting(self, samples: int) -> int:
        """Whole number of hops (the package drops a remainder), at least one window."""
        n_fft = self.net.stft_kwargs["n_fft"]
        return -(-max(samples, n_fft) // self.align) * self.align

    def forward(self, mixture: Tensor) -> Tensor:
        """Waveforms (batch, n_sources, channels, samples) of a mixture (batch, channels, samples)."""
        sources = super().forward(mixture)
        return sources[:, None] if self.n_sources == 1 else sources  # the package drops the axis of a single source


# Demucs and its successors


class Demucs(LibrarySeparator):
    """The first Demucs (Defossez et al. 2019): convolutions of stride 4, two bidirectional LSTMs, transposed convolutions.

    648,548,208 parameters for four stereo sources, with width=64 265,679,496. It is `demucs.demucs.Demucs` without later
    additions; it differs from the authors' first version at the edges only, which that one cut instead of padding. width,
    growth: channels of the first layer and their factor per layer; segment: samples.
    options: any other argument of `demucs.demucs.Demucs`.
    Raises ValueError if the package `demucs` is missing.
    """

    def __init__(
        self,
        n_sources: int,
        sample_rate: int = 44_100,
        channels: int = 2,
        width: int = 100,
        growth: float = 2.0,
        depth: int = 6,
        lstm_layers: int = 2,
        segment: int = 441_000,
        options: dict[str, Any] | None = None,
    ) -> None:
        # Norms, residual branches, GELU, resampling and normalisation belong to later versions.
        first = {"dconv_mode": 0, "gelu": False, "normalize": False, "resample": False, "norm_starts": 99, "context": 1}
        net = installed("demucs.demucs", "Demucs").Demucs(
            stem_names(n_sources),
            audio_channels=channels,
            channels=width,
            growth=growth,
            depth=depth,
            lstm_layers=lstm_layers,
            samplerate=sample_rate,
            **first | (options or {}),
        )
        super().__init__(net, n_sources, sample_rate, channels, segment, align=net.stride**depth)

    def fitting(self, samples: int) -> int:
        """Smallest length without remainder in any layer; the package would pad half of the rest in front."""
        return self.net.valid_length(samples)


class HDemucs(LibrarySeparator):
    """Hybrid Demucs (Defossez 2021) as `torchaudio.models.HDemucs`: one branch on waveforms, one on complex spectra.

    83,639,368 parameters for four stereo sources at n_fft 4096 and depth 6 (torchaudio's `hdemucs_high`). n_fft and depth
    depend on each other: 2048 and 1024 need depth 6 and 5. segment: samples; options: any other argument of the class.
    """

    def __init__(
        self,
        n_sources: int,
        sample_rate: int = 44_100,
        channels: int = 2,
        width: int = 48,
        n_fft: int = 4096,
        depth: int = 6,
        segment: int = 485_100,
        options: dict[str, Any] | None = None,
    ) -> None:
        from torchaudio.models import HDemucs as Hybrid

        sizes = {"channels": width, "nfft": n_fft, "depth": depth}
        net = Hybrid(stem_names(n_sources), audio_channels=channels, **sizes, **(options or {}))
        for layer in net.time_encoder:
            if layer.empty:  # its norm is never used: weights without gradient stop a distributed training
                layer.norm1.requires_grad_(False)
        super().__init__(net, n_sources, sample_rate, channels, segment, align=n_fft // 2)

    def fitting(self, samples: int) -> int:
        """At least one window, for the padding by reflection."""
        return max(samples, self.net.nfft)


class HTDemucs(LibrarySeparator):
    """Hybrid Transformer Demucs (Rouard et al. 2022), `demucs.htdemucs.HTDemucs`: attention between the two branches.

    26,899,536 parameters for four stereo sources with the class's own settings; options {bottom_channels: 512,
    dconv_mode: 3} make the authors' published network, 41,984,456. n_fft and depth depend on each other: 1024 needs depth 3.
    t_layers, t_heads: of the transformer; segment: samples; options: any other argument.
    Raises ValueError if the package `demucs` is missing or the residual branches have no channel.
    """

    def __init__(
        self,
        n_sources: int,
        sample_rate: int = 44_100,
        channels: int = 2,
        width: int = 48,
        n_fft: int = 4096,
        depth: int = 4,
        t_layers: int = 5,
        t_heads: int = 8,
        segment: int = 343_980,
        options: dict[str, Any] | None = None,
    ) -> None:
        # use_train_segment would store the length of the last batch outside the weights and reject longer chunks.
        if width < (share := (options or {}).get("dconv_comp", 8)):
            raise ValueError(f"The residual branches of HTDemucs have width / {share} channels: set width to {share} or more.")
        settings = {"t_layers": t_layers, "t_heads": t_heads, "use_train_segment": False} | (options or {})
        net = installed("demucs.htdemucs", "HTDemucs").HTDemucs(
            stem_names(n_sources),
            audio_channels=channels,
            channels=width,
            nfft=n_fft,
            depth=depth,
            samplerate=sample_rate,
            **settings,
        )
        super().__init__(net, n_sources, sample_rate, channels, segment, align=net.hop_length)

    def fitting(self, samples: int) -> int:
        """At least one window: the package divides by the standard deviation of the samples."""
        return max(samples, self.net.nfft)
