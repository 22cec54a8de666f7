"""One storey of a stack: a restricted Boltzmann machine while it is trained by itself, then a step of encoder and decoder."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.precision import full_precision


class Storey(nn.Module):
    """Sigmoid units above others, in both directions through the same weights, or through the decoder's own (untied).

    As a restricted Boltzmann machine it has the energy -vW'h - av - bh (Hinton, Osindero and Teh 2006).

    visible, hidden: units below and above
    """

    def __init__(self, visible: int, hidden: int, tied: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(hidden, visible))
        self.above = nn.Parameter(torch.zeros(hidden))
        self.below = nn.Parameter(torch.zeros(visible))
        # Glorot and Bengio 2010, for sigmoid units.
        nn.init.xavier_uniform_(self.weight, gain=4)
        self.register_parameter("back", None if tied else nn.Parameter(self.weight.detach().clone()))

    def up(self, visible: Tensor) -> Tensor:
        """Logits (..., hidden)."""
        return F.linear(visible, self.weight, self.above)

    def down(self, hidden: Tensor) -> Tensor:
        """Logits (..., visible)."""
        return F.linear(hidden, (self.weight if self.back is None else self.back).t(), self.below)

    def unroll(self) -> None:
        """Let a decoder of its own begin with the weights that were pretrained."""
        if self.back is not None:
            with torch.no_grad():
                self.back.copy_(self.weight)

    def free_energy(self, visible: Tensor) -> Tensor:
        """(rows,) in float32: minus the logarithm of the unnormalised probability of visible units (rows, visible)."""
        with full_precision(visible):
            visible = visible.float()
            return -(visible @ self.below) - F.softplus(self.up(visible)).sum(-1)

    def contrast(self, visible: Tensor, chances: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """A loss whose gradient is that of one step of contrastive divergence (Hinton 2002), and the step's squared error.

        visible (rows, visible) holds probabilities or states; chances makes probabilities of their logits. The hidden units
        are drawn by torch's own generator, the visible ones again are left as probabilities.
        """
        with torch.no_grad():
            hidden = self.up(visible).float().sigmoid()
            hidden = (torch.rand_like(hidden) < hidden).to(hidden.dtype)
            again = chances(F.linear(hidden, self.weight.t(), self.below))
        loss = (self.free_energy(visible) - self.free_energy(again)).mean()
        return loss, (again - visible).square().sum(-1).mean()

    def own(self) -> list[nn.Parameter]:
        """Parameters of the machine: all but a decoder's own weights."""
        return [self.weight, self.above, self.below]
