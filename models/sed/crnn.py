"""The sound event detector of Boes and Van hamme 2021: filters over the log-mel, other networks' embeddings, a GRU."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.precision import full_precision
from models.sed.conv import CHANNELS, POOLS, Convolutions, pooled
from models.sed.fusion import Fusion, joined
from models.sed.gru import BiGRU
from models.sed.mel import Level, MelFrontEnd
from models.sed.pooling import POOLINGS


class Detection(NamedTuple):
    """What is heard when, and in the whole clip."""

    frames: Tensor  # (batch, out frames, classes) probabilities float32
    clip: Tensor  # (batch, classes) probabilities float32
    mask: Tensor  # (batch, out frames) bool: False where a clip is over


class CRNN(nn.Module):
    """Log-mel and embeddings -> Detection. 1,038,314 parameters for 10 classes; 1,072,126 with 128 -> 16 and 4096 -> 4.

    streams: name -> (dim of its embeddings, dim to project them to), aligned to the output frames by the caller.
    spectral: whether the log-mel is looked at; without it the streams are all there is.
    mel: front end, by default the paper's; its grid of frames is also that of a network without `spectral`.
    pooling: from frames to the clip: "linear" (the paper's), "attention", "attention_legacy", "max", "mean", "exponential"
    or a class called with the number of features and of classes.
    channels, pools, activation, bn_eps, bn_momentum, channels_last: see `Convolutions`; dropout: there and behind every
    projected stream. encoder: called with the number of features per frame; by default BiGRU of `hidden` and `layers`.

    A clip's result depends neither on its padding nor on its neighbours in the batch (in evaluation). Logits, sigmoid
    and pooling are float32 whatever the precision around.
    Raises ValueError without any input and for an unknown pooling.
    """

    def __init__(
        self,
        n_classes: int,
        streams: dict[str, tuple[int, int]] | None = None,
        spectral: bool = True,
        mel: MelFrontEnd | None = None,
        pooling: str | Callable[[int, int], nn.Module] = "linear",
        channels: Sequence[int] = CHANNELS,
        pools: Sequence[tuple[int, int]] = POOLS,
        activation: Literal["relu", "glu", "cg"] = "relu",
        hidden: int = 128,
        layers: int = 2,
        dropout: float = 0.33,
        bn_eps: float = 1e-5,
        bn_momentum: float = 0.1,
        channels_last: bool = True,
        encoder: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if not spectral and not streams:
            raise ValueError("a network without spectral input needs at least one stream of embeddings")
        if isinstance(pooling, str) and pooling not in POOLINGS:
            raise ValueError(f"pooling is {pooling!r}, expected one of {', '.join(POOLINGS)}")
        self.mel = mel or MelFrontEnd()
        self.factor = prod(pool for pool, _ in pools)
        self.convolutions = None
        if spectral:
            self.convolutions = Convolutions(
                self.mel.n_mels, channels, pools, activation, dropout, bn_eps, bn_momentum, channels_last
            )
        self.fusion = Fusion(streams or {}, dropout)
        width = self.fusion.width + (self.convolutions.width if spectral else 0)
        self.encoder = encoder(width) if encoder else BiGRU(width, hidden, layers)
        self.head = nn.Linear(self.encoder.width, n_classes)
        self.pooling = (POOLINGS[pooling] if isinstance(pooling, str) else pooling)(self.encoder.width, n_classes)

    @property
    def spectral(self) -> bool:
        """Whether the log-mel is an input."""
        return self.convolutions is not None

    @property
    def sample_rate(self) -> int:
        """Of the audio that `features` wants, in Hz."""
        return self.mel.sample_rate

    @property
    def hop(self) -> int:
        """Samples from one frame of the log-mel to the next."""
        return self.mel.hop

    @property
    def frame_s(self) -> float:
        """Seconds that one output frame covers."""
        return self.factor * self.hop / self.sample_rate

    def n_frames(self, samples: int) -> int:
        """Output frames of a clip of that many samples: whole ones, at least one."""
        return pooled(self.mel.n_frames(samples), self.factor)

    def frame_times(self, samples: int) -> np.ndarray:
        """Centres of the output frames of such a clip, (frames,) float64 in s: of the log-mel frames each is made of."""
        first = np.arange(self.n_frames(samples)) * self.factor
        return (first + (self.factor - 1) / 2) * self.hop / self.sample_rate

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Standardise the log-mel by these, each (bands,); part of every checkpoint."""
        self.mel.set_statistics(mean, std)

    def set_embedding_statistics(self, name: str, mean: Tensor, std: Tensor) -> None:
        """Standardise a stream's embeddings by these, each (dim,), which the paper does not; part of every checkpoint."""
        self.fusion.branches[name].set_statistics(mean, std)

    def features(
        self, audio: Tensor, lengths: Tensor | None = None, level: Level | None = None
    ) -> tuple[Tensor | None, Tensor]:
        """Standardised log-mel (batch, frames, bands), None without `spectral`, and valid frames (batch,); see MelFrontEnd."""
        if self.spectral:
            return self.mel(audio, lengths, level)
        if lengths is None:
            lengths = torch.full((len(audio),), audio.shape[-1], device=audio.device)
        return None, self.mel.n_frames(lengths)

    def forward(
        self, mel: Tensor | None, valid: Tensor | None = None, embeddings: Mapping[str, Tensor] | None = None
    ) -> Detection:
        """Detection from log-mel (batch, frames, bands) and embeddings, name -> (batch, out frames, dim).

        valid: (batch,) frames of the log-mel of each clip, what `features` gives; None if all clips are as long.
        """
        parts = self.fusion(embeddings or {})
        frames = parts[0].shape[1] if mel is None else pooled(mel.shape[1], self.factor)
        valid = None if valid is None else valid.cpu()  # where the GRU wants it too: one wait for the device
        lengths = None if valid is None else self._padded(valid, mel, frames)
        if self.spectral:
            if mel is None:
                raise ValueError("this network looks at the log-mel: give it one, or build it without `spectral`")
            parts.insert(0, self.convolutions(mel, None if lengths is None else valid))
        features = self.encoder(joined(parts), lengths)
        mask = torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
        if lengths is not None:
            mask = torch.arange(frames, device=features.device) < lengths.to(features.device)[:, None]
        return self._decided(features, mask)

    def _padded(self, valid: Tensor, mel: Tensor | None, frames: int) -> Tensor | None:
        """Output frames (batch,) of each clip; None where no frame of any clip is padding."""
        lengths = pooled(valid, self.factor).clamp(max=frames)
        full = bool((lengths == frames).all()) and (mel is None or bool((valid >= mel.shape[1]).all()))
        return None if full else lengths

    def _decided(self, features: Tensor, mask: Tensor) -> Detection:
        with full_precision(features):
            features = features.float()
            logits = F.linear(features, self.head.weight.float(), self.head.bias.float())
            probabilities = logits.sigmoid()
            return Detection(probabilities, self.pooling(probabilities, features, mask), mask)
