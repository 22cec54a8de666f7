"""Mask network of Meta-TasNet: dilated convolutions whose weights a linear map makes from an embedding of each source.

After Samuel, Ganeshan and Naradowsky 2020. All sources are computed at once, as groups of one convolution.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class GeneratedConv(nn.Module):
    """Convolution without bias of every source by its own filters: (batch, sources*inputs, frames), embedding (sources, e).

    Returns (batch, sources*outputs, frames). The filters pass through a bottleneck: e -> bottleneck -> all weights.
    """

    def __init__(
        self, embedding: int, bottleneck: int, inputs: int, outputs: int, kernel: int = 1, dilation: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.shape, self.dilation, self.groups = (-1, inputs // groups, kernel), dilation, groups
        self.bottleneck = nn.Linear(embedding, bottleneck)
        self.filters = nn.Linear(bottleneck, outputs * inputs // groups * kernel)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        filters = self.filters(self.bottleneck(embedding)).reshape(self.shape)
        padding = self.dilation * (self.shape[-1] // 2)
        return F.conv1d(x, filters, padding=padding, dilation=self.dilation, groups=self.groups * len(embedding))


class GeneratedNorm(nn.Module):
    """PReLU, then a norm over groups of each source's channels and all frames, with gains and biases made for the source."""

    def __init__(self, embedding: int, bottleneck: int, channels: int, groups: int = 8) -> None:
        super().__init__()
        self.groups = groups
        self.act = nn.PReLU()
        self.bottleneck = nn.Linear(embedding, bottleneck)
        self.affine = nn.Linear(bottleneck, 2 * channels)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        gain, bias = self.affine(self.bottleneck(embedding)).float().chunk(2, dim=1)
        with torch.autocast(x.device.type, enabled=False):
            return F.group_norm(self.act(x.float()), len(embedding) * self.groups, gain.flatten(), bias.flatten(), 1e-8)


class Layer(nn.Module):
    """(batch, sources*width, frames) -> (batch, sources*hidden, frames), out of which come `residual` and `skip`."""

    def __init__(self, sizes: tuple[int, int], width: int, hidden: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.widen = GeneratedConv(*sizes, width, hidden)
        self.norm = GeneratedNorm(*sizes, hidden)
        self.dilated = GeneratedConv(*sizes, hidden, hidden, kernel, dilation, groups=hidden)
        self.norm_2 = GeneratedNorm(*sizes, hidden)
        self.residual = GeneratedConv(*sizes, hidden, width)
        self.skip = GeneratedConv(*sizes, hidden, width)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        x = self.norm(self.widen(x, embedding), embedding)
        return self.norm_2(self.dilated(x, embedding), embedding)


class GeneratedMasks(nn.Module):
    """Latents of each source (batch, sources, inputs, frames) -> masks (batch, sources, latents, frames) that sum to one.

    sizes: of the embedding and of the bottleneck; width, hidden: of the residual path and inside a layer; layers: per
    stack, dilated by 1, 2, 4, ... frames.
    """

    def __init__(
        self,
        n_sources: int,
        inputs: int,
        latents: int,
        sizes: tuple[int, int] = (8, 5),
        width: int = 160,
        hidden: int = 160,
        kernel: int = 3,
        layers: int = 6,
        stacks: int = 3,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_sources, sizes[0])
        self.norm_in = GeneratedNorm(*sizes, inputs)
        self.narrow = GeneratedConv(*sizes, inputs, width)
        self.norm_narrow = GeneratedNorm(*sizes, width)
        dilations = [2**layer for _ in range(stacks) for layer in range(layers)]
        self.layers = nn.ModuleList([Layer(sizes, width, hidden, kernel, dilation) for dilation in dilations])
        self.layers[-1].residual.requires_grad_(False)  # nothing follows it; it is there for the published size
        self.norm_skips = GeneratedNorm(*sizes, width)
        self.out = GeneratedConv(*sizes, width, latents)
        self.norm_out = GeneratedNorm(*sizes, latents)

    def forward(self, latents: Tensor) -> Tensor:
        embedding, n_sources = self.embedding.weight, latents.shape[1]
        x = self.narrow(self.norm_in(latents.flatten(1, 2), embedding), embedding)
        x = self.norm_narrow(x, embedding)
        skips: Tensor | float = 0.0
        for layer in self.layers:
            inside = layer(x, embedding)
            skips = skips + layer.skip(inside, embedding)
            if layer is not self.layers[-1]:
                x = x + layer.residual(inside, embedding)
        masks = self.norm_out(self.out(self.norm_skips(skips, embedding), embedding), embedding)
        return masks.unflatten(1, (n_sources, -1)).softmax(1)
