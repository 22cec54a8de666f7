"""Loss of Meta-TasNet (Samuel, Ganeshan and Naradowsky 2020): SI-SNR and similarity terms of latents -> scalar."""

from itertools import combinations
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-8


def si_snr(estimate: Tensor, target: Tensor) -> Tensor:
    """Scale-invariant signal-to-noise ratio in dB of estimate and target (..., samples) -> (...)."""
    scale = (target * estimate).sum(-1, keepdim=True) / (target.square().sum(-1, keepdim=True) + EPS)
    projection = scale * target
    powers = [signal.square().sum(-1).clamp(min=EPS).log10() for signal in (projection, estimate - projection)]
    return 10 * (powers[0] - powers[1])


def dissimilarity(latents: Tensor, active: Tensor) -> Tensor:
    """Mean cosine similarity of magnitudes of different sources' latents (rows, sources, latents, frames), if both are active."""
    pairs = torch.tensor(list(combinations(range(latents.shape[1]), 2)), device=latents.device).reshape(-1, 2).T
    both = active[:, pairs[0]] * active[:, pairs[1]]
    cosine = F.cosine_similarity(latents[:, pairs[0]].abs(), latents[:, pairs[1]].abs(), dim=2)
    return (cosine * both[..., None]).sum((0, 1)).mean() / both.sum().clamp(min=1)


def similarity(latents: Tensor, active: Tensor, shift: int) -> Tensor:
    """Mean cosine similarity of a source's latents in a row and `shift` rows before, if both are active."""
    both = active * active.roll(shift, 0)
    cosine = F.cosine_similarity(latents, latents.roll(shift, 0), dim=2)
    return (cosine * both[..., None]).sum((0, 1)).mean() / both.sum().clamp(min=1)


class MetaTasNetLoss(nn.Module):
    """Negative SI-SNR summed over stages and sources, and three weighted terms on the encoder.

    reconstruction: weight of -SI-SNR of the mixture encoded and decoded without mask; dissimilarity: weight of the
    similarity of different sources' latents; similarity: weight of the similarity of a source's latents in neighbouring
    examples. Silent sources of an excerpt are ignored. `needs_stages`: the estimate is `net.training_outputs(mixture,
    stems)`, not `net(mixture)`.
    """

    needs_magnitudes = False
    needs_waveforms = True
    needs_stages = True

    def __init__(self, reconstruction: float = 0.05, dissimilarity: float = 3.0, similarity: float = 2.0) -> None:
        super().__init__()
        self.reconstruction, self.dissimilarity, self.similarity = reconstruction, dissimilarity, similarity

    def forward(self, estimate: Any, target: Any, mixture: Tensor) -> Tensor:
        """Scalar loss; only the number of channels of the mixture (batch, channels, samples) is used, `target` is not.

        Raises ValueError if the estimate has no `stages`.
        """
        if not hasattr(estimate, "stages"):
            raise ValueError(
                "MetaTasNetLoss needs the outputs of the stages of models.separation.MetaTasNet: use it with that network."
            )
        return torch.stack([self.stage(stage, mixture.shape[1]) for stage in estimate.stages]).sum()

    def per_source(self, estimate: Any, target: Any, mixture: Tensor) -> Tensor:
        """Not supported (ValueError): the sources share weights and half of the loss."""
        raise ValueError("MetaTasNetLoss has no loss per source: leave --model.one_optimizer true.")

    def stage(self, stage: Any, channels: int) -> Tensor:
        """Loss of one stage; rows are examples by channels."""
        active = (stage.target != 0).any(-1).float()
        ratios = (si_snr(stage.estimate.float(), stage.target) * active).sum(0) / active.sum(0).clamp(min=1)
        loss = -ratios.sum() - self.reconstruction * si_snr(stage.reconstruction.float(), stage.mixture).mean()
        latents = stage.latents.float()
        loss = loss + self.dissimilarity * dissimilarity(latents, active)
        return loss - self.similarity * similarity(latents, active, shift=channels)
