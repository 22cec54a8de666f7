"""Loss of Meta-TasNet (Samuel, Ganeshan and Naradowsky 2020): levels do not count, encodings of one instrument are alike."""

from itertools import combinations
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-8


def si_snr(estimate: Tensor, target: Tensor) -> Tensor:
    """Scale-invariant signal-to-noise ratio in dB: (..., samples) twice -> (...)."""
    scale = (target * estimate).sum(-1, keepdim=True) / (target.square().sum(-1, keepdim=True) + EPS)
    wanted = scale * target
    powers = [signal.square().sum(-1).clamp(min=EPS).log10() for signal in (wanted, estimate - wanted)]
    return 10 * (powers[0] - powers[1])


def dissimilarity(latents: Tensor, active: Tensor) -> Tensor:
    """Mean cosine of magnitudes of different sources' latents (rows, sources, latents, frames), where both are `active`."""
    pairs = torch.tensor(list(combinations(range(latents.shape[1]), 2)), device=latents.device).reshape(-1, 2).T
    both = active[:, pairs[0]] * active[:, pairs[1]]
    alike = F.cosine_similarity(latents[:, pairs[0]].abs(), latents[:, pairs[1]].abs(), dim=2)
    return (alike * both[..., None]).sum((0, 1)).mean() / both.sum().clamp(min=1)


def similarity(latents: Tensor, active: Tensor, shift: int) -> Tensor:
    """Mean cosine of one source's latents in a row and in the row `shift` before, where both are `active`."""
    both = active * active.roll(shift, 0)
    alike = F.cosine_similarity(latents, latents.roll(shift, 0), dim=2)
    return (alike * both[..., None]).sum((0, 1)).mean() / both.sum().clamp(min=1)


class MetaTasNetLoss(nn.Module):
    """Sum over the stages of the network, and over sources, of -SI-SNR; with weights, three terms about its encoder.

    reconstruction: of -SI-SNR of the mixture encoded and decoded unmasked; dissimilarity: of how alike different sources
    are encoded; similarity: of how alike one source is in neighbouring examples. A source that is silent in an excerpt
    counts nowhere in it. `needs_stages`: the estimate is `net.training_outputs(mixture, stems)`, not `net(mixture)`.
    """

    needs_magnitudes = False
    needs_waveforms = True
    needs_stages = True

    def __init__(self, reconstruction: float = 0.05, dissimilarity: float = 3.0, similarity: float = 2.0) -> None:
        super().__init__()
        self.reconstruction, self.dissimilarity, self.similarity = reconstruction, dissimilarity, similarity

    def forward(self, estimate: Any, target: Any, mixture: Tensor) -> Tensor:
        """Scalar; of the mixture (batch, channels, samples) only the number of channels counts, of `target` nothing.

        Raises ValueError where the estimate has no `stages`.
        """
        if not hasattr(estimate, "stages"):
            raise ValueError(
                "MetaTasNetLoss compares what the stages of models.separation.MetaTasNet give: use it with that net."
            )
        return torch.stack([self.stage(stage, mixture.shape[1]) for stage in estimate.stages]).sum()

    def per_source(self, estimate: Any, target: Any, mixture: Tensor) -> Tensor:
        """Raises ValueError: the sources share their weights and half of the loss."""
        raise ValueError("MetaTasNetLoss has no part per source: leave --model.one_optimizer true.")

    def stage(self, stage: Any, channels: int) -> Tensor:
        """Loss of one stage, whose rows are examples by channels."""
        active = (stage.target != 0).any(-1).float()
        ratios = (si_snr(stage.estimate.float(), stage.target) * active).sum(0) / active.sum(0).clamp(min=1)
        loss = -ratios.sum() - self.reconstruction * si_snr(stage.reconstruction.float(), stage.mixture).mean()
        latents = stage.latents.float()
        loss = loss + self.dissimilarity * dissimilarity(latents, active)
        return loss - self.similarity * similarity(latents, active, shift=channels)
