"""Musicnn (Pons and Serra 2019; Won et al. 2020): audio (batch, samples) -> logits (batch, n_tags)."""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.blocks.features import LogMel
from models.tagging.mel_nets import MelNet, torchaudio_mel

TIMBRAL, TEMPORAL = 204, 51  # filters of each timbral and each temporal shape: floor(1.6 * 128), floor(1.6 * 32)


class MusicnnVariant(NamedTuple):
    """Differences between the two published implementations."""

    heights: tuple[float, ...]  # of the timbral filters, as a share of the bands, in the order of the channels
    lengths: tuple[int, ...]  # of the temporal filters, in frames
    per_band: bool  # temporal filters on every band with a maximum over bands; else on the mean over bands
    norm_first: bool  # convolution, batch norm, ReLU; else convolution, ReLU, batch norm
    pooled_norm: bool  # batch norm and dropout between the pooling over time and the dense layer
    eps: float
    momentum: float  # weight of the newest batch in the running statistics


FORMS = {
    "original": MusicnnVariant((0.4, 0.7), (128, 64, 32), True, False, True, 1e-3, 0.01),
    "won2020": MusicnnVariant((0.7, 0.4), (129, 65, 33), False, True, False, 1e-5, 0.1),
}


def musicnn_mel() -> LogMel:
    """Log-mel of musicnn's published weights: log10(1 + 10000 * power) of 96 Slaney bands, in float32.

    librosa's melspectrogram with its defaults at 16 kHz, n_fft 512, hop 256. The package stores the mel as float16 before
    the product: float32 with NumPy 1, but float16 with NumPy 2, where any power above 6.55 becomes infinite. The rounding
    itself has no effect.
    """
    return LogMel(mel="slaney", db="compressed", top_db=None)


class NormReLU(nn.Module):
    """Batch norm and ReLU in either order."""

    def __init__(self, norm: nn.Module, norm_first: bool):
        super().__init__()
        self.norm, self.norm_first = norm, norm_first

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x).relu() if self.norm_first else self.norm(x.relu())


class MusicnnFilters(nn.Module):
    """Filters of one shape with a maximum over frequency: (batch, 1, bands, frames) -> (batch, width, frames)."""

    def __init__(self, width: int, height: int, length: int, form: MusicnnVariant, band_mean: bool = False):
        super().__init__()
        self.band_mean = band_mean
        self.padding = ((length - 1) // 2, length // 2)  # an even length has one more frame ahead, as in TensorFlow
        self.conv = nn.Conv2d(1, width, (height, length))
        self.act = NormReLU(nn.BatchNorm2d(width, form.eps, form.momentum), form.norm_first)

    def forward(self, image: Tensor) -> Tensor:
        image = image.mean(2, keepdim=True) if self.band_mean else image
        return self.act(self.conv(F.pad(image, self.padding))).amax(2)


class Musicnn(MelNet):
    """Audio (batch, samples) int16 or float in [-1, 1) -> logits (batch, n_tags).

    Two timbral filter shapes (7 frames by 0.4 and 0.7 of the bands), three temporal ones, three convolutions over time
    with residuals, maximum and mean over time of all feature maps, one linear layer. `form` is one of
    "original": the musicnn package (Pons and Serra 2019), whose published weights `load_musicnn` reads; 787,159 parameters
    for 50 tags; its own log-mel; chunks of 187 frames, which are crops of the clip's frames;
    "won2020": the re-implementation of Won et al. 2020; 784,300 parameters; torchaudio's log-mel; chunks of 3 s.
    `width` 512 and `dense` 500 is the large version for the Million Song Dataset. Any number of frames is accepted.
    Layers for embeddings: `front.0` ... `front.4`, `middle.0` ... `middle.2` (batch, channels, frames)
    and `act` (batch, dense), the penultimate layer.

    Raises ValueError for an unknown `form`.
    """

    def __init__(
        self,
        n_tags: int,
        form: Literal["original", "won2020"] = "original",
        width: int = 64,
        dense: int = 200,
        seconds: float = 3.0,
        dropout: float = 0.5,
        mel: LogMel | None = None,
    ):
        if form not in FORMS:
            raise ValueError(f"Musicnn: form is {form!r}, expected one of {', '.join(FORMS)}")
        variant = FORMS[form]
        if mel is None:
            mel = musicnn_mel() if form == "original" else torchaudio_mel()
        super().__init__(seconds, mel, variant.eps, variant.momentum)
        timbral = (MusicnnFilters(TIMBRAL, int(share * mel.n_mels), 7, variant) for share in variant.heights)
        temporal = (MusicnnFilters(TEMPORAL, 1, length, variant, band_mean=not variant.per_band) for length in variant.lengths)
        self.front = nn.ModuleList((*timbral, *temporal))
        front = TIMBRAL * len(variant.heights) + TEMPORAL * len(variant.lengths)
        self.middle = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(channels, width, 7, padding=3),
                NormReLU(nn.BatchNorm1d(width, variant.eps, variant.momentum), variant.norm_first),
            )
            for channels in (front, width, width)
        )
        pooled = 2 * (front + 3 * width)
        self.pooled = nn.Identity()
        if variant.pooled_norm:
            self.pooled = nn.Sequential(nn.BatchNorm1d(pooled, variant.eps, variant.momentum), nn.Dropout(dropout))
        self.dense = nn.Linear(pooled, dense)
        self.act = NormReLU(nn.BatchNorm1d(dense, variant.eps, variant.momentum), variant.norm_first)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(dense, n_tags)

    def forward(self, audio: Tensor, level: Tensor | None = None) -> Tensor:
        image = self.image(audio, level)
        maps = [torch.cat([filters(image) for filters in self.front], 1)]
        maps.append(self.middle[0](maps[-1]))
        for residual in self.middle[1:]:
            maps.append(maps[-1] + residual(maps[-1]))
        every = torch.cat(maps, 1)
        pooled = self.pooled(torch.cat([every.amax(2), every.mean(2)], 1))
        return self.head(self.dropout(self.act(self.dense(pooled))))
