"""Input specifications: what a network reads, as a module tells it to its data by `connect`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from torch import Tensor

from datamodules.audio.windows import FrameGrid, Window

Align = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Embeddings (n, dim), their times (n,) s and frame centres (frames,) s -> embeddings on the frames (frames, dim)."""
Extract = Callable[[np.ndarray, float], np.ndarray]
"""Audio (samples,) and cents -> features (channels, bins, frames) float32; analysed so many cents higher."""


class ExtractorLike(Protocol):
    """A pretrained network (`models.extractors`)."""

    dim: int
    kind: Literal["audio", "video"]
    fingerprint: str

    def extract(self, signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(embeddings (n, dim), times (n,) s) of audio (samples,) or images (images, height, width, 3)."""


@dataclass(frozen=True)
class TaggingSpec:
    """Chunks that a tagging network reads.

    Attributes:
        window: chunk (samples, Hz), its hop and its context
        clip_level: waveform of a whole clip (1, samples) -> reference level (1,) in dB; None where the network needs none
    """

    window: Window
    clip_level: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True)
class SEDSpec:
    """Frames and embeddings that a sound event network reads.

    Attributes:
        grid: output frames of the network, at its sample rate
        align: puts embeddings on the frames
        extractors: pretrained networks by stream
        features: clip (1, samples) int16 -> log-mel (frames, bands) whose statistics standardise the input; None: no such
    """

    grid: FrameGrid
    align: Align | None = None
    extractors: Mapping[str, ExtractorLike] = field(default_factory=dict)
    features: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True)
class SeparationSpec:
    """Magnitudes whose statistics a separation network starts from.

    Attributes:
        spectrogram: signal (channels, samples) -> magnitudes (channels, bins, frames); None where it starts from none
        key: name of the transform, which changes with its settings
    """

    spectrogram: Callable[[Tensor], Tensor] | None = None
    key: str = ""


@dataclass(frozen=True)
class AlignmentSpec:
    """Features that an alignment network reads.

    What depends on weights or the device is a function, called when features are computed: by then the network may have
    moved to a GPU, and weights may have been loaded.

    Attributes:
        sample_rate: Hz
        frame_s: from frame to frame, s
        context: frames that an embedding sees
        extract: front end
        feature_key: returns the name of the features, which changes with settings and weights
        on_cpu: returns whether several processes may extract at once
    """

    sample_rate: int
    frame_s: float
    context: int
    extract: Extract
    feature_key: Callable[[], str]
    on_cpu: Callable[[], bool] = lambda: True
