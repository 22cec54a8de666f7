"""Input specifications of networks, passed from a LightningModule to its data module by `connect`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from torch import Tensor

from datamodules.audio.windows import FrameGrid, Window

Align = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Embeddings (n, dim), their times (n,) s and frame centres (frames,) s -> embeddings on the frames (frames, dim)."""
Extract = Callable[[np.ndarray, float], np.ndarray]
"""Audio (samples,) and transposition in cents -> features (channels, bins, frames) float32."""


class ExtractorLike(Protocol):
    """A pretrained network (`models.extractors`)."""

    dim: int
    kind: Literal["audio", "video"]
    fingerprint: str

    def extract(self, signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(embeddings (n, dim), times (n,) s) of audio (samples,) or images (images, height, width, 3)."""


@dataclass(frozen=True)
class TaggingSpec:
    """Input of a tagging network: chunks of waveform.

    Attributes:
        window: chunk (samples, Hz), its hop and its context
        clip_level: waveform of a whole clip (1, samples) -> reference level (1,) in dB; None if the network needs none
    """

    window: Window
    clip_level: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True)
class SEDSpec:
    """Input of a sound event network: clips, with embeddings on its output frames.

    Attributes:
        grid: output frames of the network, at its sample rate
        align: resamples embeddings to the frames
        extractors: pretrained networks by stream
        features: clip (1, samples) int16 -> log-mel (frames, bands) whose statistics standardise the input, or None
    """

    grid: FrameGrid
    align: Align | None = None
    extractors: Mapping[str, ExtractorLike] = field(default_factory=dict)
    features: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True)
class SeparationSpec:
    """Transform whose training-set statistics initialise a separation network.

    Attributes:
        spectrogram: signal (channels, samples) -> magnitudes (channels, bins, frames); None if no statistics are needed
        key: name of the transform, which changes with its settings
    """

    spectrogram: Callable[[Tensor], Tensor] | None = None
    key: str = ""


@dataclass(frozen=True)
class AlignmentSpec:
    """Input of an alignment network: features of a front end.

    Functions are called when features are computed, after weights were loaded and the network was moved to a device.

    Attributes:
        sample_rate: Hz
        frame_s: hop of the frames, s
        context: receptive field of an embedding, frames
        extract: front end
        feature_key: returns the name of the features, which changes with settings and weights
        on_cpu: returns True if several processes may extract features at once
    """

    sample_rate: int
    frame_s: float
    context: int
    extract: Extract
    feature_key: Callable[[], str]
    on_cpu: Callable[[], bool] = lambda: True
