"""CNN_L: the back-end of the sample-level network, whose ten layers all lie in the Raw front-end."""

from torch import Tensor

from models.tagging.back_end import BackEnd


class CNN_L(BackEnd):
    """(batch, channels, frames) -> (batch, channels); a nominal chunk has one frame left, longer ones are averaged.

    Section 3.2 of Won, Chun and Serra 2019: there is no clear boundary in the network of Lee et al. 2017.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.width = channels

    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean(2)
