"""CRNN: the convolutional recurrent network of Choi, Fazekas, Sandler and Cho 2017."""

from torch import Tensor, nn

from models.features import LogMel
from models.tagging.mel_net import MelNet, torchaudio_mel

CHANNELS = (64, 128, 128, 128)
POOLING = (2, 3, 4, 4)


class CRNN(MelNet):
    """Audio (batch, samples) int16 or float in [-1, 1) -> logits (batch, n_tags): filters sum up a moment, a GRU the clip.

    Choi et al. 2017 as re-implemented by Won et al. 2020: 96 bands, chunks of 29 s, 394,100 parameters for 50 tags.
    Four blocks pool bands and frames by 96, so a step of the GRU is 1.54 s and a chunk needs at least that; the state
    after the last step decides. `blocks` gives an embedding (batch, 128, bands, steps).

    Raises ValueError if the chunk is too short for the pooling, or the mel has too few bands.
    """

    def __init__(self, n_tags: int, seconds: float = 29.0, dropout: float = 0.5, mel: LogMel | None = None):
        super().__init__(seconds, torchaudio_mel() if mel is None else mel)
        self.blocks = self.make_blocks(CHANNELS, POOLING, POOLING)
        self.gru = nn.GRU(CHANNELS[-1], 32, num_layers=2, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(32, n_tags)

    def forward(self, audio: Tensor, level: Tensor | None = None) -> Tensor:
        moments = self.blocks(self.image(audio, level)).amax(2)
        states, _ = self.gru(moments.transpose(1, 2))
        return self.head(self.dropout(states[:, -1]))
