"""FCN: the fully convolutional network of Choi, Fazekas and Sandler 2016."""

from collections.abc import Sequence

from torch import Tensor, nn

from models.features import LogMel
from models.tagging.mel_net import MelNet, torchaudio_mel

CHANNELS = (64, 128, 128, 128, 64)
BAND_POOLING = (2, 2, 2, 3, 4)


class FCN(MelNet):
    """Audio (batch, samples) int16 or float in [-1, 1) -> logits (batch, n_tags) by five blocks of 3x3 filters.

    Choi et al. 2016 as re-implemented by Won et al. 2020: 96 bands, chunks of 29 s (their clips have 29.1 s), 447,732
    parameters for 50 tags. The blocks pool the frames by `time_pooling`, by 1280 in all, so 20.5 s is the shortest chunk;
    for shorter ones pool less, for instance by (4, 4, 4, 3, 3) from 9.3 s on. What a longer chunk leaves of time is
    reduced by its maximum. `blocks` gives an embedding (batch, 64, bands, frames).

    Raises ValueError if the chunk is too short for the pooling, or the mel has too few bands.
    """

    def __init__(
        self,
        n_tags: int,
        seconds: float = 29.0,
        time_pooling: Sequence[int] = (4, 4, 4, 5, 4),
        dropout: float = 0.5,
        mel: LogMel | None = None,
    ):
        super().__init__(seconds, torchaudio_mel() if mel is None else mel)
        if len(time_pooling) != len(CHANNELS):
            raise ValueError(f"FCN: time_pooling has {len(time_pooling)} factors, expected {len(CHANNELS)}, one per block")
        self.blocks = self.make_blocks(CHANNELS, BAND_POOLING, time_pooling)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(CHANNELS[-1], n_tags)

    def forward(self, audio: Tensor, level: Tensor | None = None) -> Tensor:
        return self.head(self.dropout(self.blocks(self.image(audio, level)).amax((2, 3))))
