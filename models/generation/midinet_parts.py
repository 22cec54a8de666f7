"""The two networks of MidiNet (Yang, Chou and Yang 2017, section 3): what draws a bar, and what tells it from a real one."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

LEAK = 0.2
SPREAD = 0.02
DOUBLINGS = 3


class BarGenerator(nn.Module):
    """A bar from noise, its chord and the bar before it; deeper the more steps: 2 rows become 16.

    The bar before is read by a network of convolutions that mirrors this one's; each of its maps joins where this one has as
    many steps. The chord joins everywhere.
    """

    def __init__(self, steps: int, pitches: int, chord: int, noise: int, dense: int, channels: int, conditioner: int) -> None:
        super().__init__()
        self.rows = steps >> DOUBLINGS
        self.first = dense_layer(noise + chord, dense, nn.ReLU())
        self.second = dense_layer(dense + chord, channels * self.rows, nn.ReLU())
        reads = [nn.Conv2d(1, conditioner, (1, pitches))]
        reads += [nn.Conv2d(conditioner, conditioner, (2, 1), (2, 1)) for _ in range(DOUBLINGS)]
        self.reads = nn.ModuleList(nn.Sequential(read, nn.BatchNorm2d(conditioner), nn.LeakyReLU(LEAK)) for read in reads)
        joined = channels + chord + conditioner
        self.doubles = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(joined, channels, (2, 1), (2, 1)), nn.BatchNorm2d(channels), nn.ReLU())
            for _ in range(DOUBLINGS)
        )
        self.out = nn.ConvTranspose2d(joined, 1, (1, pitches))
        self.apply(started)

    def forward(self, noise: Tensor, chord: Tensor, before: Tensor) -> Tensor:
        """Noise (bars, noise), chord (bars, chord) and bars before (bars, 1, steps, pitches) to logits of the same shape."""
        maps = [before]
        for read in self.reads:
            maps.append(read(maps[-1]))
        x = self.first(torch.cat([noise, chord], -1))
        x = self.second(torch.cat([x, chord], -1)).unflatten(-1, (-1, self.rows, 1))
        for double in self.doubles:
            x = double(torch.cat([beside(x, chord), maps.pop()], 1))
        return self.out(torch.cat([beside(x, chord), maps.pop()], 1))


class BarDiscriminator(nn.Module):
    """Whether a bar over a chord is a real one. The bar before is not shown to it.

    Its batch norms keep no running statistics: it only ever judges batches of real bars or of drawn ones, which differ.
    """

    def __init__(self, steps: int, pitches: int, chord: int, channels: Sequence[int], dense: int) -> None:
        super().__init__()
        first, second = channels
        self.first = nn.Sequential(nn.Conv2d(1 + chord, first, (2, pitches), (2, 1)), nn.LeakyReLU(LEAK))
        self.second = nn.Sequential(
            nn.Conv2d(first + chord, second, (4, 1), (2, 1)),
            nn.BatchNorm2d(second, track_running_stats=False),
            nn.LeakyReLU(LEAK),
            nn.Flatten(),
        )
        rows = (steps // 2 - 4) // 2 + 1
        self.dense = dense_layer(second * rows + chord, dense, nn.LeakyReLU(LEAK), running=False)
        self.out = nn.Linear(dense + chord, 1)
        self.apply(started)

    def forward(self, bars: Tensor, chord: Tensor) -> tuple[Tensor, Tensor]:
        """Bars (bars, 1, steps, pitches) to logits (bars,) and the first layer's maps (bars, channels, steps / 2, 1)."""
        maps = self.maps(bars, chord)
        x = self.second(beside(maps, chord))
        x = self.dense(torch.cat([x, chord], -1))
        return self.out(torch.cat([x, chord], -1))[:, 0], maps

    def maps(self, bars: Tensor, chord: Tensor) -> Tensor:
        """The first layer's maps alone."""
        return self.first(beside(bars, chord))


def dense_layer(inputs: int, width: int, activation: nn.Module, running: bool = True) -> nn.Sequential:
    """A dense layer, batch norm, activation."""
    return nn.Sequential(nn.Linear(inputs, width), nn.BatchNorm1d(width, track_running_stats=running), activation)


def beside(maps: Tensor, chord: Tensor) -> Tensor:
    """Maps (bars, channels, rows, columns) and the chord in every place, as further channels."""
    return torch.cat([maps, chord[:, :, None, None].expand(-1, -1, *maps.shape[2:])], 1)


def started(module: nn.Module) -> None:
    """Weights of a DCGAN (Radford et al. 2016): normal, 0.02 wide."""
    if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0, SPREAD)
        nn.init.zeros_(module.bias)
