"""The Siamese CNN of Agrawal and Dixon 2021 (Table I): one of its two equal halves."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.alignment.front import Front
from models.alignment.similarity import Side, Similarity

KERNELS = (5, 5, 3, 3)
POOLED = 3
"""The first three convolutions are followed by a maximum over 2 x 2; their order is convolution, ReLU, batch norm, maximum."""
PATCHES_AT_ONCE = 64


class SCNN(Similarity):
    """Four convolutions and a fully connected layer over a patch of frames, whose middle frame it stands for.

    With `padding: same`, the table to the letter, zeros surround each patch in time, so that every patch has to be computed
    on its own. With `valid` they do not: a patch of 164 frames ends as the same 16 x 16 x 512 numbers, by the same weights, and
    a whole recording is computed at once, which gives the same embeddings.

    Args:
        front: what it hears; any number of channels and bins
        padding: in time; in frequency always `same`
        context: frames of a patch; null: 128 (`same`) or 164 (`valid`), from which 16 columns are left
        embedding: numbers that stand for a frame; the table leaves it open
        normalize: embeddings of length 1; the table knows no such thing
        channels: kernels of the four convolutions
    """

    def __init__(
        self,
        front: Front,
        padding: Literal["same", "valid"] = "valid",
        context: int | None = None,
        embedding: int = 128,
        normalize: bool = False,
        channels: tuple[int, int, int, int] = (64, 128, 256, 512),
    ) -> None:
        context = context or {"same": 128, "valid": 164}[padding]
        super().__init__(front, context)
        self.padding, self.normalize = padding, normalize
        self.columns, rows = _left(context, padding == "same"), _left(front.bins, True)
        if self.columns < 1 or rows < 1:
            raise ValueError(f"context {context} is too short with padding {padding}: expected {least(padding)} frames or more")
        sizes = zip((front.channels, *channels), channels, KERNELS, strict=False)
        self.convolutions = nn.ModuleList(nn.Conv2d(before, after, kernel) for before, after, kernel in sizes)
        self.norms = nn.ModuleList(nn.BatchNorm2d(after) for after in channels)
        self.dense = nn.Linear(channels[-1] * rows * self.columns, embedding)

    def embed(self, features: Tensor, side: Side = "performance") -> Tensor:
        """Features (batch, channels, bins, frames) -> (batch, frames - context + 1, embedding), alike on both sides."""
        if features.shape[-1] == self.context:
            return self._finish(self.dense(self.maps(features).flatten(1)))[:, None]
        if self.padding == "valid":
            return self._finish(self._everywhere(features).transpose(1, 2))
        patches = features.unfold(-1, self.context, 1).movedim(-2, 1)  # (batch, places, channels, bins, context)
        parts = [self._finish(self.dense(self.maps(part).flatten(1))) for part in patches.flatten(0, 1).split(PATCHES_AT_ONCE)]
        return torch.cat(parts).view(*patches.shape[:2], -1)

    def maps(self, patch: Tensor) -> Tensor:
        """Patches (batch, channels, bins, context) -> (batch, kernels, bins / 8, columns), the table's last feature map."""
        x = patch
        for layer in range(len(KERNELS)):
            x = self._convolved(x, layer, 1)
            if layer < POOLED:
                x = F.max_pool2d(x, 2)
        return x

    def _everywhere(self, features: Tensor) -> Tensor:
        """The same for every place at once: each maximum keeps all frames, and what follows it looks at every 2nd, 4th, 8th."""
        x, spacing = features, 1
        for layer in range(len(KERNELS)):
            x = self._convolved(x, layer, spacing)
            if layer < POOLED:
                x = F.max_pool2d(x, 2, stride=(2, 1), dilation=(1, spacing))
                spacing *= 2
        weight = self.dense.weight.view(self.dense.out_features, x.shape[1], x.shape[2], self.columns)
        places = features.shape[-1] - self.context + 1
        return F.conv2d(x, weight, self.dense.bias, dilation=(1, spacing))[:, :, 0, :places]

    def _convolved(self, x: Tensor, layer: int, spacing: int) -> Tensor:
        convolution, half = self.convolutions[layer], KERNELS[layer] // 2
        padding = (half, half if self.padding == "same" else 0)
        x = F.conv2d(x, convolution.weight, convolution.bias, padding=padding, dilation=(1, spacing))
        return self.norms[layer](F.relu(x))

    def _finish(self, x: Tensor) -> Tensor:
        return F.normalize(x.float(), dim=-1) if self.normalize else x.float()


def _left(size: int, padded: bool) -> int:
    """Rows or columns that are left of so many."""
    for layer, kernel in enumerate(KERNELS):
        size -= 0 if padded else kernel - 1
        size = size // 2 if layer < POOLED else size
    return size


def least(padding: str) -> int:
    """The shortest context, frames."""
    return next(context for context in range(1, 200) if _left(context, padding == "same") >= 1)
