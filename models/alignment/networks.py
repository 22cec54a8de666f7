"""The Siamese CNN of Agrawal and Dixon 2021 (Table I): one of its two equal halves."""

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


# A network a fortieth the size of the paper's that embeds frames in a context of a third of a second.


class FrameNet(Similarity):
    """Three convolutions over time and frequency that halve the bins, then one over time; each but the last as the paper's.

    Nothing is padded in time, so that a crop's embeddings are those of the whole recording.

    Args:
        front: what it hears
        channels: kernels of the three convolutions (5 x 5, 5 x 5, 3 x 3)
        frames: width of the last one, frames
        embedding: numbers that stand for a frame, of length 1 together
        dropout: of whole feature maps before the last one
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
        """Features (batch, channels, bins, frames) -> (batch, frames - context + 1, embedding), alike on both sides."""
        x = self.last(self.layers(features).flatten(1, 2))
        return F.normalize(x.float(), dim=1).transpose(1, 2)


# A perceptron that says of two frames whether they are the same (Izmirli and Dannenberg 2010), reimplemented.

ROWS_AT_ONCE = 256


class MLP(Similarity):
    """Both frames' spectra side by side -> hidden units -> probability that they do not match.

    The original's details could not be had: layer size and activation are from memory.

    Args:
        front: what it hears, a semigram
        hidden: units
    """

    modes, threshold = ("binary",), 0.5

    def __init__(self, front: Front, hidden: int = 100) -> None:
        super().__init__(front, context=1)
        size = front.channels * front.bins
        # The first layer on two frames side by side is the sum of two, one a frame.
        self.performance, self.score = nn.Linear(size, hidden), nn.Linear(size, hidden, bias=False)
        self.output = nn.Linear(hidden, 1)

    def embed(self, features: Tensor, side: Side) -> Tensor:
        """Features (batch, channels, bins, frames) -> (batch, frames, hidden): what each side adds to the hidden units."""
        return getattr(self, side)(features.flatten(1, 2).transpose(1, 2)).float()

    def between(self, left: Tensor, right: Tensor) -> Tensor:
        """Probability (...) that the frames of embeddings (..., hidden) do not match."""
        return torch.sigmoid(self.output(torch.tanh(left + right)).float()).squeeze(-1)

    def costs(self, performance: np.ndarray, score: np.ndarray) -> "PairCosts":
        """Probabilities for all pairs, a block of rows at a time."""
        return PairCosts(self, performance, score)


class PairCosts:
    """Distances by a network that has to see both frames (`models.alignment.costs.Costs`)."""

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


# The salience network as something to train here, and to align by alone (Agrawal and Dixon 2021, section III-B).

PER_SEMITONE = 5
LOWEST = 24  # MIDI pitch of the first bin, C1
WIDTH_CENTS = 20.0


class SalienceMap(Similarity):
    """Deep salience trained by soft targets (equation 4), compared semitone by semitone.

    Its checkpoint is taken as `weights` of `models.alignment.front.Salience`.

    Args:
        front: the harmonic constant-Q transform, its only input
    """

    modes = ("distance",)

    def __init__(self, front: HCQT) -> None:
        super().__init__(front, context=1)
        self.net = DeepSalience()

    def salience(self, features: Tensor) -> Tensor:
        """Harmonic CQT (batch, 6, bins, frames) -> salience (batch, bins, frames) in 0 to 1, with gradients."""
        return self.net(features).float().sigmoid()

    def targets(self, pitches: Tensor) -> Tensor:
        """What sounds (batch, 128, frames) 0 or 1 -> salience wanted (batch, bins, frames), each pitch a bell of 20 cents.

        Bittner et al. 2017: 1 at the pitch, falling on both sides as a Gaussian of that standard deviation; the largest counts.
        """
        cents = torch.arange(self.front.bins, device=pitches.device) * 100.0 / PER_SEMITONE
        wanted = torch.zeros(len(pitches), self.front.bins, pitches.shape[-1], device=pitches.device)
        for pitch in torch.nonzero(pitches.amax((0, 2)))[:, 0].tolist():
            bell = torch.exp(-0.5 * ((cents - 100.0 * (pitch - LOWEST)) / WIDTH_CENTS) ** 2)
            wanted = torch.maximum(wanted, bell[None, :, None] * pitches[:, pitch, None].float())
        return wanted

    def frames(self, features: Tensor, side: Side) -> Tensor:
        """Every frame of a whole recording: (6, bins, frames) -> (frames, bins / 5); the network sees zeros beyond the ends."""
        return self._semitones(self.net.salience(features[None]))[0]

    def embed(self, features: Tensor, side: Side = "performance") -> Tensor:
        """Features (batch, 6, bins, frames) -> (batch, frames, bins / 5): the most salient bin of each semitone."""
        return self._semitones(self.salience(features))

    def _semitones(self, salience: Tensor) -> Tensor:
        padded = F.pad(salience, (0, 0, PER_SEMITONE // 2, 0))  # bin 0 is the middle of its semitone
        return F.max_pool2d(padded, (PER_SEMITONE, 1)).transpose(1, 2)
