"""Open-Unmix and CrossNet-Open-Unmix (X-UMX): one recurrent branch per source, side by side or bridged by two averages."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from models.blocks.stft import STFT
from models.separation.separator import MaskSeparator

# A linear layer by whichever of PyTorch's two CPU libraries is the faster.

ENOUGH = 1 << 24  # multiplications from which two changes of layout are worth it


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """F.linear of x (rows, in), in float32 on a processor with AVX-512 by oneDNN.

    PyTorch multiplies float32 matrices by MKL, which on processors that are not Intel's uses half the width of their
    registers: oneDNN took half the time there, forward and backward. Equal to rounding.
    """
    if _plain(x, weight):
        return F.linear(x, weight, bias)
    product = _Product.apply(x, weight)
    return product if bias is None else product.add_(bias)


def _plain(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN cannot be used, or does not pay."""
    return (
        x.device.type != "cpu"
        or not x.dtype == weight.dtype == torch.float32
        or x.shape[0] * weight.numel() < ENOUGH
        or torch.is_autocast_enabled("cpu")
        or torch.compiler.is_compiling()
        or not torch.backends.mkldnn.is_available()
        or torch.backends.cpu.get_cpu_capability() != "AVX512"
    )


class _Product(torch.autograd.Function):
    """x (rows, in) times the transpose of weight (out, in). PyTorch's own gradient of it keeps copies of all three."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor) -> Tensor:
        wanted_x, wanted_weight = ctx.needs_input_grad
        ctx.save_for_backward(x if wanted_weight else None, weight if wanted_x else None)
        return _multiply(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, error: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        return (
            None if weight is None else _multiply(error, weight.t()),
            None if x is None else _multiply(error.t(), x.t()),
        )


def _multiply(a: Tensor, b: Tensor) -> Tensor:
    return F.linear(a.to_mkldnn(), b).to_dense()


STD_FLOOR = 1e-4  # of the largest: a bin that is always silent is not blown up


class UMX(MaskSeparator):
    """Magnitude (batch, channels, bins, frames) -> masks (batch, sources, channels, bins, frames), not negative.

    Sawata et al. 2021 with `bridge`: all branches remember the mean of their encodings and decode the mean of what they
    then have, so that every source's error trains every branch. Stoeter et al. 2019 (Open-Unmix) without: n_sources
    networks that share nothing. 8,893,348 parameters per source either way, 28,257,188 with `hidden` 1024 (UMX-L).

    `bandwidth` (Hz, None: all): what the branches hear of the mixture; the masks cover all bins. `unidirectional`: an LSTM of
    full width that looks back only. `n_fft`, `hop`, `center`: the transform, see STFT. Any length is accepted.
    Input scaling, norms of the output and masks are float32 whatever the precision around.

    Raises ValueError for a `hidden` that is odd and shared by two directions, or a negative bandwidth.
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
        """Start every branch from the training set's magnitudes: mean and standard deviation per bin, each (bins,)."""
        std = std.clamp(min=STD_FLOOR * float(std.max()))
        for branch in self.branches:
            branch.input_mean.copy_(-mean[: self.max_bin])
            branch.input_scale.copy_(1 / std[: self.max_bin])

    def forward(self, magnitude: Tensor) -> Tensor:
        return self.decode(self.encode(magnitude))

    def encode(self, magnitude: Tensor) -> list[Tensor]:
        """(frames, batch, hidden) per source: all that depends on other frames."""
        batch, frames = magnitude.shape[0], magnitude.shape[-1]
        encodings = self._encode(magnitude)
        if self.bridge:
            shared = sum(encodings) / self.n_sources
            remembered = sum(branch.lstm(shared)[0] for branch in self.branches) / self.n_sources
            # The mean over sources of [encoding, memory]: the mean encoding is here already.
            seen = torch.cat([shared, remembered.to(shared.dtype)], -1).flatten(0, 1)
            dense = linear(seen, torch.cat([branch.fc2.weight for branch in self.branches])).chunk(self.n_sources, -1)
        else:
            dense = [branch.recall(encoding) for branch, encoding in zip(self.branches, encodings, strict=True)]
        return [hidden.view(frames, batch, -1) for hidden in dense]

    def decode(self, encoded: list[Tensor], frames: slice = slice(None)) -> Tensor:
        """Masks of a range of frames, each by itself; in training all frames, whose statistics the norms learn."""
        dense = [hidden[frames].flatten(0, 1) for hidden in encoded]
        masks = torch.stack([branch.decode(hidden) for branch, hidden in zip(self.branches, dense, strict=True)])
        # Seen as the result's axes without a copy: bins stay next to each other, as in the spectra that STFT gives.
        size = (encoded[0].shape[1], self.channels, self.stft.bins)
        return masks.relu_().view(self.n_sources, -1, *size).permute(2, 0, 3, 4, 1)

    def _encode(self, magnitude: Tensor) -> list[Tensor]:
        """(frames, batch, hidden) per source, by one product of the mixture with all branches' first layers."""
        heard = magnitude[:, :, : self.max_bin].permute(3, 0, 1, 2)
        weights, biases = zip(*(branch.first_layer() for branch in self.branches), strict=True)
        dense = linear(heard.flatten(2).flatten(0, 1), torch.cat(weights), torch.cat(biases)).float()
        parts = dense.chunk(self.n_sources, -1)
        return [branch.bn1(part).tanh_().view(*heard.shape[:2], -1) for branch, part in zip(self.branches, parts, strict=True)]


class UMXBranch(nn.Module):
    """The layers of one source, with Open-Unmix's names; UMX leads the data through them."""

    def __init__(
        self, bins_in: int, bins: int, channels: int, hidden: int, layers: int, dropout: float, unidirectional: bool
    ) -> None:
        super().__init__()
        if hidden % 2 and not unidirectional:
            raise ValueError(f"hidden is {hidden}, and two directions share it equally: give an even number.")
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
        """Weight and bias of fc1((x + input_mean) * input_scale) as one linear map of x, so that no scaled x is made."""
        with torch.autocast(self.input_mean.device.type, enabled=False):
            scale, shift = self.input_scale, self.input_scale * self.input_mean
            return self.fc1.weight * scale.repeat(self.channels), self.fc1.weight @ shift.repeat(self.channels)

    def recall(self, encoding: Tensor) -> Tensor:
        """(frames, batch, hidden) -> (frames * batch, hidden): the LSTM, its input beside it, the second layer."""
        memory, _ = self.lstm(encoding)
        return linear(torch.cat([encoding, memory.to(encoding.dtype)], -1).flatten(0, 1), self.fc2.weight)

    def decode(self, dense: Tensor) -> Tensor:
        """(rows, hidden) -> (rows, channels * bins), to be rectified; the last scaling is done by the last norm's own."""
        rows = linear(self.bn2(dense.float()).relu_(), self.fc3.weight).float()
        scale, shift = self.output_scale.repeat(self.channels), self.output_mean.repeat(self.channels)
        folded = {"weight": self.bn3.weight * scale, "bias": torch.addcmul(shift, self.bn3.bias, scale)}
        return torch.func.functional_call(self.bn3, folded, (rows,))


def max_bin(bandwidth: float | None, sample_rate: int, n_fft: int) -> int:
    """Number of bins from 0 Hz to `bandwidth` Hz, the last included; all of them for None."""
    bins = n_fft // 2 + 1
    if bandwidth is None:
        return bins
    if bandwidth < 0:
        raise ValueError(f"bandwidth is {bandwidth} Hz, expected 0 or more, or null for all bins.")
    return min(int(bandwidth * n_fft / sample_rate + 1e-9) + 1, bins)
