"""Embeddings of other networks beside the spectral ones: aligned in time, projected, joined."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.precision import ExactBuffers

STD_FLOOR = 1e-4  # of the largest


class Fusion(nn.Module):
    """Streams of embeddings, each (batch, frames, its dim) -> (batch, frames, its width): Linear, ReLU, dropout.

    Section 3 of Boes and Van hamme 2021. `streams`: name -> (dim in, dim out); their order is that of the result.
    """

    def __init__(self, streams: Mapping[str, tuple[int, int]], dropout: float = 0.33) -> None:
        super().__init__()
        self.branches = nn.ModuleDict({name: Branch(*dims, dropout) for name, dims in streams.items()})
        self.width = sum(out for _, out in streams.values())

    def forward(self, embeddings: Mapping[str, Tensor]) -> list[Tensor]:
        """One tensor (batch, frames, dim out) per stream. Raises ValueError where a stream is missing."""
        missing = [name for name in self.branches if name not in embeddings]
        if missing:
            raise ValueError(f"no embeddings `{missing[0]}`; there are {', '.join(embeddings) or 'none'}")
        return [branch(embeddings[name]) for name, branch in self.branches.items()]


class Branch(ExactBuffers):
    """One stream. `set_statistics` makes it start from embeddings of mean 0 and deviation 1; the paper takes them as they are."""

    mean: Tensor
    std: Tensor

    def __init__(self, width_in: int, width: int, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(width_in, width)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("mean", torch.zeros(width_in))
        self.register_buffer("std", torch.ones(width_in))

    @torch.no_grad()
    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Mean and standard deviation of each feature over the training set, each (dim in,)."""
        std = torch.as_tensor(std)
        self.mean.copy_(torch.as_tensor(mean))
        # A feature that is the same everywhere stays as it is.
        self.std.copy_(torch.where(std > STD_FLOOR * std.max(), std, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        # Part of the projection, so that no standardised copy of wide embeddings is made.
        weight = self.linear.weight / self.std.to(self.linear.weight.dtype)
        bias = self.linear.bias - weight @ self.mean.to(weight.dtype)
        return self.dropout(F.linear(x.to(weight.dtype), weight, bias.to(weight.dtype)).relu())


def joined(parts: list[Tensor]) -> Tensor:
    """(batch, frames, widths) side by side. Raises ValueError unless all have as many frames."""
    frames = {part.shape[1] for part in parts}
    if len(frames) > 1:
        raise ValueError(f"streams have {', '.join(map(str, sorted(frames)))} frames: align the embeddings to the network's")
    return torch.cat(parts, 2) if len(parts) > 1 else parts[0]


def align(
    embeddings: np.ndarray, times: np.ndarray, frame_times: np.ndarray, how: Literal["index", "time", "nearest"] = "time"
) -> np.ndarray:
    """Embeddings (n, dim) of moments `times` (n,) s -> (frames, dim) for `frame_times` (frames,) s.

    "index", the paper's: row k for frame k, as it is; the others give float32. Where n is not `frames`, evenly spread
    rows. Half a second off at the ends of a 10 s clip, since the first patch is centred half a patch into it (and the last
    as long before its end).
    "time": interpolated between the two nearest moments, constant before the first and after the last.
    "nearest": the moment nearest in time. Raises ValueError for another `how` or for times that do not rise.
    """
    n, frames = len(embeddings), len(frame_times)
    if how not in ("index", "time", "nearest"):
        raise ValueError(f"align: how is {how!r}, expected index, time or nearest")
    if len(times) != n or (np.diff(times) <= 0).any():
        raise ValueError(f"align: {n} embeddings and {len(times)} times, expected as many, rising")
    if n == 0:
        return np.zeros((frames, embeddings.shape[1]), np.float32)
    if how == "index":
        return embeddings if n == frames else embeddings[np.arange(frames) * n // max(1, frames)]
    after = np.clip(np.searchsorted(times, frame_times), 1, max(1, n - 1)) if n > 1 else np.zeros(frames, np.int64)
    before = np.maximum(after - 1, 0)
    span = np.where(after > before, times[after] - times[before], 1.0)
    share = np.clip((frame_times - times[before]) / span, 0.0, 1.0)
    if how == "nearest":
        share = (share > 0.5).astype(np.float64)
    share = share[:, None].astype(np.float32)
    # As a difference a constant stream stays exactly what it is.
    start = np.asarray(embeddings[before], np.float32)
    return start + share * (np.asarray(embeddings[after], np.float32) - start)
