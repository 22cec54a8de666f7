"""Training each source on its own, as open-unmix does: its own optimizer, schedule, early stop and best weights."""

import copy

import torch
from torch import Tensor, nn


class BestOfEachSource(nn.Module):
    """The network in which every source has the weights of its own best epoch, and when a source stops training.

    Part of the checkpoint, so that a resumed run goes on exactly and every checkpoint separates with the best weights
    that each source had until then. `net` gives the part of one source as `net.branch(j)`.

    net: network that is trained; patience: validations without improvement after which a source stops, None: never.
    """

    loss: Tensor
    waited: Tensor

    def __init__(self, net: nn.Module, n_sources: int, patience: int | None) -> None:
        super().__init__()
        if not hasattr(net, "branch"):
            raise ValueError(f"{type(net).__name__} is one network for all sources: set --model.one_optimizer true")
        self.net = copy.deepcopy(net).requires_grad_(False)
        self.patience = patience
        self.register_buffer("loss", torch.full((n_sources,), torch.inf))
        self.register_buffer("waited", torch.zeros(n_sources, dtype=torch.long))

    def running(self) -> list[bool]:
        """Whether each source is still trained."""
        return [self.patience is None or waited < self.patience for waited in self.waited.tolist()]

    @torch.no_grad()
    def update(self, net: nn.Module, losses: Tensor) -> None:
        """Keep the weights of the sources whose validation loss (sources,) is their lowest so far."""
        better = losses < self.loss
        for j in better.nonzero().flatten().tolist():
            self.net.branch(j).load_state_dict(net.branch(j).state_dict())
        self.loss.copy_(torch.where(better, losses, self.loss))
        self.waited.copy_(torch.where(better, 0, self.waited + 1))
