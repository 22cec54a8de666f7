"""Cross entropy of soft targets (Agrawal and Dixon 2021, equation 4; Bittner et al. 2017)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
