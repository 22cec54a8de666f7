"""CNN_P: the residual convolutional back-end after Pons et al."""

import torch
from torch import Tensor, nn

from models.tagging.back_end import BackEnd
from models.tagging.front_end import conv_norm_relu


class CNN_P(BackEnd):
    """(batch, channels, frames) -> (batch, dense) by three convolutions over time and global pooling.

    Section 3.2 and Figure 2 of Won, Chun and Serra 2019: kernels of 7, the second and third with a residual around
    them, time halved between; then maximum and mean over all time that is left, and one dense layer.
    """

    def __init__(self, channels: int, width: int = 512, dense: int = 500):
        super().__init__()
        self.width = dense
        self.first = conv_norm_relu(channels, width, 7)
        self.second = conv_norm_relu(width, width, 7)
        self.halve = nn.MaxPool1d(2)
        self.third = conv_norm_relu(width, width, 7)
        self.dense = nn.Sequential(nn.Linear(2 * width, dense), nn.BatchNorm1d(dense), nn.ReLU())

    def forward(self, maps: Tensor) -> Tensor:
        maps = self.first(maps)
        maps = self.halve(maps + self.second(maps))
        maps = maps + self.third(maps)
        return self.dense(torch.cat([maps.amax(2), maps.mean(2)], 1))
