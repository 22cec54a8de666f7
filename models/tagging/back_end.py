"""What every back-end promises to the network that joins it with a front-end."""

from torch import Tensor, nn


class BackEnd(nn.Module):
    """Feature maps (batch, channels, frames) -> one vector per chunk (batch, width); `channels` comes first in init."""

    width: int

    def forward(self, maps: Tensor) -> Tensor:
        raise NotImplementedError

    def describe(self) -> dict[str, int | str]:
        """What a table of results has to say about this back-end beside its name."""
        return {}
