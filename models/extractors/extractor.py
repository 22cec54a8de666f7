"""Base class of embedding extractors: audio or images -> embeddings and times; loading of their weights."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from models.blocks.plain_weights import load_plain


class Extractor(nn.Module):
    """Audio or images -> embeddings and their times; a subclass sets the attributes and implements `pieces` and `embed`.

    dim: features of an embedding; kind: "audio" or "video"; sample_rate in Hz (audio) or fps in images/s (video).
    Always in evaluation mode and without gradients. `batch` patches or images are computed at once.
    """

    dim: int
    kind: Literal["audio", "video"]
    sample_rate: int | None = None
    fps: float | None = None
    batch: int = 64

    def __init__(self, **settings: Any) -> None:
        """`settings`: all options that change the embeddings, part of the fingerprint."""
        super().__init__()
        self.settings = settings
        self._fingerprint: str | None = None

    @property
    def fingerprint(self) -> str:
        """Cache key of embeddings: 16 hexadecimal digits over class, settings and weights."""
        if self._fingerprint is None:
            digest = hashlib.sha256(repr((type(self).__name__, sorted(self.settings.items()))).encode())
            for name, value in sorted(self.state_dict().items()):
                digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
            self._fingerprint = digest.hexdigest()[:16]
        return self._fingerprint

    def extract(self, signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings (n, dim) float32 and the times (n,) float64 in s of their centres.

        signal: audio (samples,) float32 in [-1, 1] at `sample_rate`, or video (images, height, width, 3) uint8 at `fps`.
        Raises ValueError for another shape.
        """
        dims, shape = (1, "(samples,)") if self.kind == "audio" else (4, "(images, height, width, 3)")
        if signal.ndim != dims or (dims == 4 and signal.shape[3] != 3):
            raise ValueError(f"{type(self).__name__}: {self.kind} of shape {signal.shape}, expected {shape}")
        self.eval()
        with torch.inference_mode():
            parts = [self.embed(piece).float().cpu().numpy() for piece in self.pieces(signal)]
        embeddings = np.concatenate([np.zeros((0, self.dim), np.float32), *parts])
        return embeddings, self.times(len(embeddings))

    def pieces(self, signal: np.ndarray) -> Iterator[Tensor]:
        """Inputs of `embed`, at most `batch` at a time, on the device of the network."""
        raise NotImplementedError

    def embed(self, piece: Tensor) -> Tensor:
        """Embeddings (n, dim) of one batch of inputs."""
        raise NotImplementedError

    def times(self, n: int) -> np.ndarray:
        """Times (n,) in s of the first n embeddings."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """Device of the weights; the CPU if there are none."""
        return next((parameter.device for parameter in self.parameters()), torch.device("cpu"))


def fill(
    net: nn.Module, weights: str | None, random_init: bool, where: str, read: Callable[[str], dict[str, Tensor]] | None = None
) -> None:
    """Load weights strictly; without weights keep the initial ones if `random_init`.

    Args:
        net: network to fill
        weights: path
        random_init: whether missing weights are allowed
        where: source of the weights, for messages
        read: path -> state dict, by default `state_dict_of`

    Raises:
        ValueError: no weights, an unreadable file, or other names or shapes.
    """
    name = type(net).__name__
    if weights is None:
        if not random_init:
            raise ValueError(f"{name} needs `weights`: {where} (or `random_init: true` for an untrained network)")
        return
    if not Path(weights).is_file():
        raise ValueError(f"{name}: weights {weights} do not exist: {where}")
    try:
        net.load_state_dict((read or state_dict_of)(weights), strict=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{name}: weights {weights} do not fit ({reason}): {where}") from error


def state_dict_of(path: str) -> dict[str, Tensor]:
    """Tensors by name from a .safetensors or torch.save file of tensors; nothing is unpickled."""
    if Path(path).suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return load_plain(path)
