"""Similarity networks: Siamese CNN (Agrawal and Dixon 2021, Table I), FrameNet, perceptron and salience map.

Features (batch, channels, bins, frames) -> embeddings (batch, frames, d).
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.alignment.front import HCQT, Front
from models.alignment.salience import DeepSalience
from models.alignment.similarity import Side, Similarity

KERNELS = (5, 5, 3, 3)
POOLED = 3
"""Number of layers with pooling over 2 x 2; order of a layer: convolution, ReLU, batch norm, maximum."""
PATCHES_AT_ONCE = 64


class SCNN(Similarity):
    """Siamese CNN, one of two equal halves: four convolutions and a linear layer embed the middle frame of a patch.

    `padding: same` (the table to the letter) pads each patch in time, so that every patch is computed separately. With
    `valid` a patch of 164 frames gives the same 16 x 16 x 512 features with the same weights, and whole recordings are
    computed at once with the same embeddings.

    Args:
        front: feature front end; any number of channels and bins
        padding: in time; in frequency always `same`
        context: frames of a patch; null: 128 (`same`) or 164 (`valid`), which leave 16 columns
        embedding: size of the embedding (not given in the table)
        normalize: scale embeddings to norm 1 (not in the table)
        channels: output channels of the four convolutions
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
        """Features (batch, channels, bins, frames) -> (batch, frames - context + 1, embedding), equal for both sides."""
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
        """All patches at once: each maximum keeps all frames, and later layers are dilated by 2, 4 and 8."""
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
    """Rows or columns after all layers, of `size` at the input."""
    for layer, kernel in enumerate(KERNELS):
        size -= 0 if padded else kernel - 1
        size = size // 2 if layer < POOLED else size
    return size


def least(padding: str) -> int:
    """Shortest possible context, frames."""
    return next(context for context in range(1, 200) if _left(context, padding == "same") >= 1)


class FrameNet(Similarity):
    """Small network (1/40 of SCNN): three convolutions over time and frequency that halve the bins, then one over time.

    The context is a third of a second, without padding in time, so that crops and whole recordings give equal embeddings.

    Args:
        front: feature front end
        channels: kernels of the three convolutions (5 x 5, 5 x 5, 3 x 3)
        frames: kernel size of the last convolution, frames
        embedding: size of the embedding, of norm 1
        dropout: probability for whole feature maps before the last convolution
    """

    def __init__(
        self,
        front: Front,
        channels: Sequence[int] = (16, 32, 48),
        frames: int = 5,
        embedding: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(front, context=1 + 4 + 4 + 2 + frames - 1)
        first, second, third = channels
        self.layers = nn.Sequential(
            nn.Conv2d(front.channels, first, 5, stride=(2, 1), padding=(2, 0)),
            nn.ReLU(),
            nn.BatchNorm2d(first),
            nn.Conv2d(first, second, 5, stride=(2, 1), padding=(2, 0)),
            nn.ReLU(),
            nn.BatchNorm2d(second),
            nn.Conv2d(second, third, 3, stride=(2, 1), padding=(1, 0)),
            nn.ReLU(),
            nn.BatchNorm2d(third),
            nn.Dropout2d(dropout),
        )
        self.last = nn.Conv1d(third * -(-front.bins // 8), embedding, frames)

    def embed(self, features: Tensor, side: Side = "performance") -> Tensor:
        """Features (batch, channels, bins, frames) -> (batch, frames - context + 1, embedding), equal for both sides."""
        x = self.last(self.layers(features).flatten(1, 2))
        return F.normalize(x.float(), dim=1).transpose(1, 2)


ROWS_AT_ONCE = 256


class MLP(Similarity):
    """Perceptron on two concatenated spectra -> probability of a mismatch (Izmirli and Dannenberg 2010).

    The layer size and activation of the original are not known here.

    Args:
        front: feature front end, a semigram
        hidden: number of hidden units
    """

    modes, threshold = ("binary",), 0.5

    def __init__(self, front: Front, hidden: int = 100) -> None:
        super().__init__(front, context=1)
        size = front.channels * front.bins
        # The first layer on two concatenated frames is the sum of two layers, one per frame.
        self.performance, self.score = nn.Linear(size, hidden), nn.Linear(size, hidden, bias=False)
        self.output = nn.Linear(hidden, 1)

    def embed(self, features: Tensor, side: Side) -> Tensor:
        """Features (batch, channels, bins, frames) -> contribution of a side to the hidden units (batch, frames, hidden)."""
        return getattr(self, side)(features.flatten(1, 2).transpose(1, 2)).float()

    def between(self, left: Tensor, right: Tensor) -> Tensor:
        """Probability (...) that the frames of embeddings (..., hidden) do not match."""
        return torch.sigmoid(self.output(torch.tanh(left + right)).float()).squeeze(-1)

    def costs(self, performance: np.ndarray, score: np.ndarray) -> "PairCosts":
        """Probabilities for all pairs, a block of rows at a time."""
        return PairCosts(self, performance, score)


class PairCosts:
    """Costs from a network of pairs of frames (see `models.alignment.costs.Costs`)."""

    def __init__(self, net: Similarity, performance: np.ndarray, score: np.ndarray) -> None:
        self.net = net
        self.left, self.right = (torch.as_tensor(x, device=net.device) for x in (performance, score))
        self.shape = len(performance), len(score)

    def block(self, first: int, last: int) -> np.ndarray:
        """See `Costs`."""
        return self.window(first, last, 0, self.shape[1])

    @torch.no_grad()
    def window(self, first: int, last: int, left: int, right: int) -> np.ndarray:
        """See `Costs`."""
        starts, score = range(first, last, ROWS_AT_ONCE), self.right[None, left:right]
        rows = [self.net.between(self.left[s : min(s + ROWS_AT_ONCE, last), None], score) for s in starts]
        return torch.cat(rows).cpu().numpy().astype(np.float32)


PER_SEMITONE = 5
LOWEST = 24  # MIDI pitch of the first bin, C1
WIDTH_CENTS = 20.0


class SalienceMap(Similarity):
    """Deep salience trained on soft targets (Agrawal and Dixon 2021, section III-B), compared per semitone.

    Its checkpoints can be `weights` of `models.alignment.front.Salience`.

    Args:
        front: harmonic constant-Q transform
    """

    modes = ("distance",)

    def __init__(self, front: HCQT) -> None:
        super().__init__(front, context=1)
        self.net = DeepSalience()

    def salience(self, features: Tensor) -> Tensor:
        """Harmonic CQT (batch, 6, bins, frames) -> salience (batch, bins, frames) in 0 to 1, with gradients."""
        return self.net(features).float().sigmoid()

    def targets(self, pitches: Tensor) -> Tensor:
        """Piano roll (batch, 128, frames) -> target salience (batch, bins, frames), each pitch a bell of 20 cents.

        Bittner et al. 2017: a Gaussian of that standard deviation with maximum 1 at the pitch; overlaps take the maximum.
        """
        cents = torch.arange(self.front.bins, device=pitches.device) * 100.0 / PER_SEMITONE
        targets = torch.zeros(len(pitches), self.front.bins, pitches.shape[-1], device=pitches.device)
        for pitch in torch.nonzero(pitches.amax((0, 2)))[:, 0].tolist():
            bell = torch.exp(-0.5 * ((cents - 100.0 * (pitch - LOWEST)) / WIDTH_CENTS) ** 2)
            targets = torch.maximum(targets, bell[None, :, None] * pitches[:, pitch, None].float())
        return targets

    def frames(self, features: Tensor, side: Side) -> Tensor:
        """Embeddings of a whole recording, zero-padded: (6, bins, frames) -> (frames, bins / 5)."""
        return self._semitones(self.net.salience(features[None]))[0]

    def embed(self, features: Tensor, side: Side = "performance") -> Tensor:
        """Features (batch, 6, bins, frames) -> (batch, frames, bins / 5): the most salient bin of each semitone."""
        return self._semitones(self.salience(features))

    def _semitones(self, salience: Tensor) -> Tensor:
        padded = F.pad(salience, (0, 0, PER_SEMITONE // 2, 0))  # bin 0 is the middle of its semitone
        return F.max_pool2d(padded, (PER_SEMITONE, 1)).transpose(1, 2)
