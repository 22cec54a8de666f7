"""Open-Unmix (Stoeter et al. 2019) and CrossNet-Open-Unmix (Sawata et al. 2021): magnitudes -> masks per source."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.blocks.stft import STFT
from models.separation.separator import MaskSeparator

STD_FLOOR = 1e-4  # least deviation relative to the largest, for bins that are always silent


class UMX(MaskSeparator):
    """Magnitude (batch, channels, bins, frames) -> masks (batch, sources, channels, bins, frames), not negative.

    With `bridge` (X-UMX, Sawata et al. 2021) the branches are connected by the mean of their encodings before and after the
    LSTMs, so that every source's error trains every branch. Without (Open-Unmix, Stoeter et al. 2019): n_sources
    independent networks. 8,893,348 parameters per source either way, 28,257,188 with `hidden` 1024 (UMX-L).

    `bandwidth` (Hz, None: all) limits the input of the branches; the masks cover all bins. `unidirectional`: a causal LSTM of
    full width. `n_fft`, `hop`, `center`: see STFT. Any length is accepted. Input scaling, norms of the output and masks are
    float32 under any autocast.

    Raises ValueError for an odd `hidden` of two directions, or a negative bandwidth.
    """

    def __init__(
        self,
        n_sources: int,
        bridge: bool = True,
        hidden: int = 512,
        layers: int = 3,
        dropout: float = 0.4,
        bandwidth: float | None = 16_000.0,
        unidirectional: bool = False,
        sample_rate: int = 44_100,
        channels: int = 2,
        n_fft: int = 4096,
        hop: int = 1024,
        center: bool = True,
    ) -> None:
        super().__init__(n_sources, sample_rate, channels, STFT(n_fft, hop, center))
        self.bridge = bridge
        self.max_bin = max_bin(bandwidth, sample_rate, n_fft)
        self.branches = nn.ModuleList(
            UMXBranch(self.max_bin, self.stft.bins, channels, hidden, layers, dropout, unidirectional) for _ in range(n_sources)
        )

    def branch(self, source: int) -> "UMXBranch":
        """All parameters and statistics of one source."""
        return self.branches[source]

    @torch.no_grad()
    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Initialise the input scaling by mean and standard deviation of the training set's magnitudes, each (bins,)."""
        std = std.clamp(min=STD_FLOOR * float(std.max()))
        for branch in self.branches:
            branch.input_mean.copy_(-mean[: self.max_bin])
            branch.input_scale.copy_(1 / std[: self.max_bin])

    def forward(self, magnitude: Tensor) -> Tensor:
        return self.decode(self.encode(magnitude))

    def encode(self, magnitude: Tensor) -> list[Tensor]:
        """Encoding (frames, batch, hidden) per source: all layers that depend on other frames."""
        batch, frames = magnitude.shape[0], magnitude.shape[-1]
        encodings = self._encode(magnitude)
        if self.bridge:
            shared = sum(encodings) / self.n_sources
            memory = sum(branch.lstm(shared)[0] for branch in self.branches) / self.n_sources
            # Mean over sources of [encoding, memory]; `shared` is the mean encoding.
            features = torch.cat([shared, memory.to(shared.dtype)], -1).flatten(0, 1)
            dense = F.linear(features, torch.cat([branch.fc2.weight for branch in self.branches])).chunk(self.n_sources, -1)
        else:
            dense = [branch.recall(encoding) for branch, encoding in zip(self.branches, encodings, strict=True)]
        return [hidden.view(frames, batch, -1) for hidden in dense]

    def decode(self, encoded: list[Tensor], frames: slice = slice(None)) -> Tensor:
        """Masks of a range of frames, each independent; in training of all frames, whose statistics the norms learn."""
        dense = [hidden[frames].flatten(0, 1) for hidden in encoded]
        masks = torch.stack([branch.decode(hidden) for branch, hidden in zip(self.branches, dense, strict=True)])
        # A view without a copy: bins stay adjacent in memory, as in the spectra of STFT.
        size = (encoded[0].shape[1], self.channels, self.stft.bins)
        return masks.relu_().view(self.n_sources, -1, *size).permute(2, 0, 3, 4, 1)

    def _encode(self, magnitude: Tensor) -> list[Tensor]:
        """First layers of all branches in one product: (frames, batch, hidden) per source."""
        cropped = magnitude[:, :, : self.max_bin].permute(3, 0, 1, 2)
        weights, biases = zip(*(branch.first_layer() for branch in self.branches), strict=True)
        dense = F.linear(cropped.flatten(2).flatten(0, 1), torch.cat(weights), torch.cat(biases)).float()
        parts = dense.chunk(self.n_sources, -1)
        return [branch.bn1(part).tanh_().view(*cropped.shape[:2], -1) for branch, part in zip(self.branches, parts, strict=True)]


class UMXBranch(nn.Module):
    """Layers of one source, with the names of Open-Unmix."""

    def __init__(
        self, bins_in: int, bins: int, channels: int, hidden: int, layers: int, dropout: float, unidirectional: bool
    ) -> None:
        super().__init__()
        if hidden % 2 and not unidirectional:
            raise ValueError(f"hidden must be even for two directions, got {hidden}.")
        self.channels = channels
        self.input_mean = nn.Parameter(torch.zeros(bins_in))
        self.input_scale = nn.Parameter(torch.ones(bins_in))
        self.fc1 = nn.Linear(channels * bins_in, hidden, bias=False)
        self.bn1 = nn.BatchNorm1d(hidden)
        self.lstm = nn.LSTM(
            hidden,
            hidden if unidirectional else hidden // 2,
            layers,
            dropout=dropout if layers > 1 else 0.0,
            bidirectional=not unidirectional,
        )
        self.fc2 = nn.Linear(2 * hidden, hidden, bias=False)
        self.bn2 = nn.BatchNorm1d(hidden)
        self.fc3 = nn.Linear(hidden, channels * bins, bias=False)
        self.bn3 = nn.BatchNorm1d(channels * bins)
        self.output_scale = nn.Parameter(torch.ones(bins))
        self.output_mean = nn.Parameter(torch.ones(bins))

    def first_layer(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of fc1((x + input_mean) * input_scale) as one linear map of x, without a scaled copy of x."""
        with torch.autocast(self.input_mean.device.type, enabled=False):
            scale, shift = self.input_scale, self.input_scale * self.input_mean
            return self.fc1.weight * scale.repeat(self.channels), self.fc1.weight @ shift.repeat(self.channels)

    def recall(self, encoding: Tensor) -> Tensor:
        """LSTM with skip connection and second layer: (frames, batch, hidden) -> (frames * batch, hidden)."""
        memory, _ = self.lstm(encoding)
        return F.linear(torch.cat([encoding, memory.to(encoding.dtype)], -1).flatten(0, 1), self.fc2.weight)

    def decode(self, dense: Tensor) -> Tensor:
        """Masks before the ReLU: (rows, hidden) -> (rows, channels * bins); the output scaling is folded into the last norm."""
        rows = F.linear(self.bn2(dense.float()).relu_(), self.fc3.weight).float()
        scale, shift = self.output_scale.repeat(self.channels), self.output_mean.repeat(self.channels)
        folded = {"weight": self.bn3.weight * scale, "bias": torch.addcmul(shift, self.bn3.bias, scale)}
        return torch.func.functional_call(self.bn3, folded, (rows,))


def max_bin(bandwidth: float | None, sample_rate: int, n_fft: int) -> int:
    """Number of bins from 0 Hz to `bandwidth` Hz inclusive; all bins for None."""
    bins = n_fft // 2 + 1
    if bandwidth is None:
        return bins
    if bandwidth < 0:
        raise ValueError(f"bandwidth is {bandwidth} Hz, expected 0 or more, or null for all bins.")
    return min(int(bandwidth * n_fft / sample_rate + 1e-9) + 1, bins)
