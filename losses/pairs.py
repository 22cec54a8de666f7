"""Losses of alignment (Agrawal and Dixon 2021): contrastive loss of pairs and cross entropy of soft targets -> scalar."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ContrastiveLoss(nn.Module):
    """Contrastive loss (1 - Y) D^2 / 2 + Y max(0, m - D)^2 / 2; Y = 0 for matching pairs, else 1 (equation 1).

    Hadsell et al. 2006.

    Args:
        margin: m, the distance beyond which a pair that does not match has no loss
    """

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        if margin <= 0:
            raise ValueError(f"margin must be above 0, got {margin}")
        self.margin = margin

    def forward(self, distance: Tensor, label: Tensor) -> Tensor:
        """Mean over pairs of any shape, float32 scalar: `distance` D not negative, `label` Y 0 or 1.

        The gradient of D must be finite at 0 (`models.alignment.similarity.euclidean`). Raises ValueError for different shapes.
        """
        if distance.shape != label.shape:
            raise ValueError(f"expected a distance and a label for each pair, got {tuple(distance.shape)}, {tuple(label.shape)}")
        distance, label = distance.float(), label.float()
        short = (self.margin - distance).clamp(min=0)
        return ((1 - label) * distance.square() / 2 + label * short.square() / 2).mean()


class SoftCrossEntropy(nn.Module):
    """-y log p - (1 - y) log(1 - p) for p and y in [0, 1] (equation 4; Bittner et al. 2017)."""

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Mean over all entries, float32 scalar, finite in value and gradient at p = 0 and 1.

        Raises ValueError for different shapes.
        """
        if prediction.shape != target.shape:
            raise ValueError(f"expected a target for each prediction, got {tuple(prediction.shape)}, {tuple(target.shape)}")
        with torch.autocast(prediction.device.type, enabled=False):  # not supported under autocast on some devices
            return F.binary_cross_entropy(prediction.float(), target.float())
