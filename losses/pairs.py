"""Contrastive loss of pairs (Agrawal and Dixon 2021, equation 1; Hadsell et al. 2006)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ContrastiveLoss(nn.Module):
    """(1 - Y) D^2 / 2 + Y max(0, m - D)^2 / 2, Y = 0: the pair matches, Y = 1: it does not.

    Args:
        margin: m, the distance beyond which a pair that does not match counts for nothing
    """

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        if margin <= 0:
            raise ValueError(f"margin must be above 0, got {margin}")
        self.margin = margin

    def forward(self, distance: Tensor, label: Tensor) -> Tensor:
        """Mean over pairs of any shape, a float32 scalar: `distance` D not negative, `label` Y 0 or 1.

        D's own slope must be finite at 0 (`models.alignment.euclidean`). Raises ValueError for different shapes.
        """
        if distance.shape != label.shape:
            raise ValueError(f"expected a distance and a label for each pair, got {tuple(distance.shape)}, {tuple(label.shape)}")
        distance, label = distance.float(), label.float()
        short = (self.margin - distance).clamp(min=0)
        return ((1 - label) * distance.square() / 2 + label * short.square() / 2).mean()


# Cross entropy of soft targets (Agrawal and Dixon 2021, equation 4; Bittner et al. 2017).


class SoftCrossEntropy(nn.Module):
    """-y log p - (1 - y) log(1 - p), where both p and the target y are continuous between 0 and 1."""

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Mean over all entries, a float32 scalar, finite in value and gradient at p = 0 and 1.

        Raises ValueError for different shapes.
        """
        if prediction.shape != target.shape:
            raise ValueError(f"expected a target for each prediction, got {tuple(prediction.shape)}, {tuple(target.shape)}")
        with torch.autocast(prediction.device.type, enabled=False):  # which refuses this loss on some devices
            return F.binary_cross_entropy(prediction.float(), target.float())
