"""Video as the networks trained on ImageNet want it: single images, scaled and standardised."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.extractors.extractor import Extractor


class ImageExtractor(Extractor):
    """Embeds every image by itself; image k is seen at k / fps s: 10 s at 15 images/s, both ends included, are 151.

    size: (height, width) that images are scaled to, whatever their shape; mean, std: per colour, of values from 0 to 1.
    """

    kind = "video"

    def __init__(
        self, fps: float, size: tuple[int, int], mean: Sequence[float], std: Sequence[float], batch: int, **settings: object
    ) -> None:
        super().__init__(size=tuple(size), mean=tuple(mean), std=tuple(std), **settings)
        self.fps, self.size, self.batch = fps, tuple(size), batch
        self.register_buffer("colour_mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("colour_std", torch.tensor(std)[:, None, None], persistent=False)

    def times(self, n: int) -> np.ndarray:
        return np.arange(n) / self.fps

    def pieces(self, signal: np.ndarray) -> Iterator[Tensor]:
        """Images (at most `batch`, 3, height, width), standardised."""
        for first in range(0, len(signal), self.batch):
            images = torch.from_numpy(np.ascontiguousarray(signal[first : first + self.batch])).to(self.device)
            images = images.permute(0, 3, 1, 2).float() / 255.0
            if images.shape[2:] != self.size:
                images = F.interpolate(images, self.size, mode="bilinear", antialias=True, align_corners=False)
            yield (images - self.colour_mean) / self.colour_std
