"""YAMNet (Plakal and Ellis 2019): MobileNet over patches of 0.96 s, trained to name the 521 sounds of AudioSet."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.extractors.extractor import fill
from models.extractors.patches import PatchExtractor
from models.extractors.same import SameConv2d

# Stride and filters of each pair of a depthwise and a pointwise convolution.
LAYERS = ((1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512), *((1, 512),) * 5, (2, 1024), (1, 1024))
CLASSES = 521
WHERE = "an .npz of the published Keras weights by their names, `layer_with_weights-<i>/<variable>`"


class YAMNet(PatchExtractor):
    """The 1024 means before the last layer; `scores` gives what that makes of them. 3,751,369 numbers.

    step_s: from one patch to the next, published 0.48, here the fusion's 60 ms by default; centred: see PatchExtractor.
    weights: path of the .npz; random_init: go without. Raises ValueError otherwise, and for weights that do not fit.
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
        for stride, width in LAYERS:
            layers += [Filtered(channels, channels, 3, stride, channels), Filtered(channels, width, 1, 1)]
            channels = width
        self.layers = nn.Sequential(*layers)
        self.classes = nn.Linear(channels, CLASSES)
        fill(self, weights, random_init, WHERE, lambda path: converted(path, len(self.layers)))

    def embed(self, piece: Tensor) -> Tensor:
        """Patches (n, 96, 64) -> (n, 1024)."""
        return self.layers(piece[:, None]).mean((2, 3))

    def scores(self, signal: np.ndarray) -> np.ndarray:
        """Probabilities (n, 521) of AudioSet's classes in every patch of audio (samples,) at 16 kHz."""
        embeddings = torch.from_numpy(self.extract(signal)[0]).to(self.device)
        with torch.inference_mode():
            return self.classes(embeddings).sigmoid().cpu().numpy()


class Filtered(nn.Module):
    """Convolution, batch norm without a factor, ReLU."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__()
        self.conv = SameConv2d(channels, width, kernel, stride, groups=groups, bias=False)
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(self.conv(x), self.mean, self.variance, None, self.bias, False, 0.0, 1e-4).relu()


def converted(path: str, layers: int) -> dict[str, Tensor]:
    """Keras' variables as the state dict of YAMNet. Raises KeyError for a missing, ValueError for an unknown variable."""
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
