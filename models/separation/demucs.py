"""Demucs and its successors, built from the classes of their authors' packages."""

from typing import Any

from models.separation.library import LibrarySeparator, installed, stem_names


class Demucs(LibrarySeparator):
    """The first Demucs (Defossez et al. 2019): convolutions of stride 4, two bidirectional LSTMs, transposed convolutions.

    648,548,208 parameters for four stereo sources, with width=64 265,679,496. It is `demucs.demucs.Demucs` with what came
    later switched off; beside the authors' first version it differs where that one cut its edges instead of padding them
    (and at the edges alone). width, growth: channels of the first layer and their factor per layer; segment: samples.
    options: any other argument of `demucs.demucs.Demucs`.
    Raises ValueError where the package `demucs` is missing.
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
        # Its own norms, residual branches, activation, resampling and normalisation are inventions of later versions.
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
        """The least length without remainder in any layer; the package would put half of the rest in front."""
        return self.net.valid_length(samples)


class HDemucs(LibrarySeparator):
    """Hybrid Demucs (Defossez 2021) as `torchaudio.models.HDemucs`: one branch on waveforms, one on complex spectra.

    83,639,368 parameters for four stereo sources at n_fft 4096 and depth 6 (torchaudio's `hdemucs_high`). n_fft and depth
    go together: 2048 and 1024 want depth 6 and 5. segment: samples; options: any other argument of the class.
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
        """At least one window, else it cannot be padded by reflection."""
        return max(samples, self.net.nfft)


class HTDemucs(LibrarySeparator):
    """Hybrid Transformer Demucs (Rouard et al. 2022), `demucs.htdemucs.HTDemucs`: attention between the two branches.

    26,899,536 parameters for four stereo sources with the class's own settings; options {bottom_channels: 512,
    dconv_mode: 3} make the authors' published network, 41,984,456. n_fft and depth go together: 1024 wants depth 3.
    t_layers, t_heads: of the transformer; segment: samples; options: any other argument.
    Raises ValueError where the package `demucs` is missing or nothing is left of the residual branches.
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
        # use_train_segment would keep the length of the last batch outside the weights and refuse longer chunks.
        if width < (share := (options or {}).get("dconv_comp", 8)):
            raise ValueError(f"The residual branches of HTDemucs are 1/{share} as wide as it is: make width {share} or more.")
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
        """At least one window: the package divides by the deviation of the samples."""
        return max(samples, self.net.nfft)
