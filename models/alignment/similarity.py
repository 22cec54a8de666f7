"""Base class of frame similarity: features -> embeddings of frames, and distances between them."""

from itertools import chain
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.alignment.costs import Costs, FeatureCosts
from models.alignment.front import Front

Side = Literal["performance", "score"]
CLOSEST = 1e-12
"""Least squared distance: the slope of the root at 0 is infinite."""
FRAMES_AT_ONCE = 2048


def euclidean(left: Tensor, right: Tensor) -> Tensor:
    """Distance (Agrawal and Dixon 2021, equation 2) of embeddings (..., d) -> (...) float32, with a finite gradient at 0."""
    return (left.float() - right.float()).square().sum(-1).clamp(min=CLOSEST).sqrt()


class Similarity(nn.Module):
    """Front end and network that embeds each frame with its context.

    Args:
        front: feature front end (`models.alignment.front`)
        context: input frames of one embedding; its own frame is number context // 2
    """

    metric: Literal["euclidean", "cosine"] = "euclidean"
    modes: tuple[str, ...] = ("distance", "binary")  # supported matrices of Table II; the first one is validated
    threshold: float | None = None  # of the binary matrix; None: measured in validation

    def __init__(self, front: Front, context: int) -> None:
        super().__init__()
        self.front, self.context = front, context

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        return next(chain(self.parameters(), self.buffers()), torch.zeros(0)).device

    @property
    def sample_rate(self) -> int:
        """Sample rate of the audio, Hz."""
        return self.front.sample_rate

    @property
    def frame_s(self) -> float:
        """Hop, s."""
        return self.front.frame_s

    def embed(self, features: Tensor, side: Side) -> Tensor:
        """Features (batch, channels, bins, frames) -> (batch, frames - context + 1, d); `side` matters if the twins differ."""
        raise NotImplementedError

    def between(self, left: Tensor, right: Tensor) -> Tensor:
        """Distance of embeddings of a performance and a score, (..., d) each -> (...)."""
        return euclidean(left, right)

    def costs(self, performance: np.ndarray, score: np.ndarray) -> Costs:
        """Distances of all pairs of embeddings (n, d) and (m, d), computed on demand."""
        return FeatureCosts(performance, score, self.metric)

    def features(self, audio: Tensor, cents: float = 0.0) -> Tensor:
        """Audio (samples,) -> (channels, bins, frames); corrects a tuning of `cents` above 440 Hz."""
        return self.front(audio[None], cents=cents)[0]

    @torch.no_grad()
    def frames(self, features: Tensor, side: Side) -> Tensor:
        """Embeddings of a whole recording: (channels, bins, frames) -> (frames, d).

        Padded with the first and last frame. Computed in overlapping pieces, in bounded memory.
        """
        before, after = self.context // 2, self.context - 1 - self.context // 2
        padded = F.pad(features, (before, after), mode="replicate")
        pieces = []
        for start in range(0, features.shape[-1], FRAMES_AT_ONCE):
            piece = padded[..., start : start + FRAMES_AT_ONCE + self.context - 1]
            pieces.append(self.embed(piece[None], side)[0].float())
        return torch.cat(pieces)


    @torch.no_grad()
    def recording_frames(self, audio: Tensor, side: Side, cents: float = 0.0) -> np.ndarray:
        """Embeddings (frames, d) float32 of audio (samples,) int16 or float, as of `features` and `frames`.

        A long recording is analysed in blocks, so that only audio and embeddings grow with it.
        """
        front, audio = self.front, audio.to(self.device)[None]
        if type(front).forward is not Front.forward:
            return self.frames(front(audio, cents=cents)[0], side).cpu().numpy()
        front.check(audio, cents)
        level, count = front.leveller(audio, cents), front.n_frames(audio.shape[-1])
        before, after = self.context // 2, self.context - 1 - self.context // 2
        result = np.empty((0, 0), np.float32)
        for first in range(0, count, FRAMES_AT_ONCE):
            last = min(first + FRAMES_AT_ONCE, count)
            start, stop = max(0, first - before), min(count, last + after)
            features = front.span(audio, start, stop, cents, level)
            padded = F.pad(features[0], (start - first + before, last + after - stop), mode="replicate")
            block = self.embed(padded[None], side)[0].float().cpu().numpy()
            if not len(result):
                result = np.empty((count, block.shape[1]), np.float32)
            result[first:last] = block
        return result


class Handcrafted(Similarity):
    """Handcrafted features without a network, compared by a metric.

    Args:
        front: chroma, MATCH feature, log CQT ... (`models.alignment.front`)
        metric: `euclidean` as in the paper, or `cosine`
    """

    modes = ("distance",)

    def __init__(self, front: Front, metric: Literal["euclidean", "cosine"] = "euclidean") -> None:
        super().__init__(front, context=1)
        self.metric = metric

    def embed(self, features: Tensor, side: Side = "performance") -> Tensor:
        """Features (batch, channels, bins, frames) -> (batch, frames, channels * bins)."""
        return features.flatten(1, 2).transpose(1, 2).float()
