"""Networks on log-mel spectrograms (Won et al. 2020): base class, CRNN and FCN, audio (batch, samples) -> logits."""

from collections.abc import Sequence
from math import prod

from torch import Tensor, nn

from models.blocks.features import LogMel


class MelNet(nn.Module):
    """Base class of tagging networks on the log-mel spectrogram of a chunk of `seconds`.

    Attributes in samples, except the first (Hz): `sample_rate`; `samples` of one chunk including context; `hop` of the grid
    of chunk starts; `lead` (context before a chunk's start). With a centred `mel` each chunk is padded separately and may
    start anywhere; otherwise chunks are crops of the whole clip's frames.

    Raises ValueError if a chunk is shorter than one frame.
    """

    def __init__(self, seconds: float, mel: LogMel, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.mel = mel
        self.norm = nn.BatchNorm2d(1, eps, momentum)
        self.sample_rate, self.lead = mel.sample_rate, mel.lead
        length = round(seconds * mel.sample_rate)
        if length < mel.n_fft:
            raise ValueError(f"{type(self).__name__}: seconds is {seconds:g}, but one mel frame alone spans {mel.n_fft} samples")
        if mel.center:
            self.hop, self.samples, self.frames = 1, length, 1 + length // mel.hop
        else:
            self.frames = 1 + (length - mel.n_fft // 2) // mel.hop
            self.hop, self.samples = mel.hop, mel.samples(self.frames)

    def spectrogram(self, audio: Tensor, level: Tensor | None = None) -> Tensor:
        """Log-mel input (batch, mels, frames)."""
        return self.mel(audio, level)

    def clip_level(self, audio: Tensor) -> Tensor | None:
        """Level (batch,) in dB of whole clips (batch, samples) for their chunks; None without a `top_db` (default)."""
        return None if self.mel.top_db is None else self.mel.peak(audio)

    def image(self, audio: Tensor, level: Tensor | None) -> Tensor:
        """Normalised spectrogram as an image: (batch, 1, mels, frames)."""
        return self.norm(self.spectrogram(audio, level)[:, None].to(self.norm.weight.dtype))

    def make_blocks(self, channels: Sequence[int], bands: Sequence[int], frames: Sequence[int]) -> nn.Sequential:
        """Blocks of 3x3 filters with pooling of bands and frames by these factors.

        Raises ValueError if no band or frame would be left.
        """
        name = type(self).__name__
        if self.mel.n_mels < prod(bands):
            raise ValueError(f"{name}: {self.mel.n_mels} mel bands, but its pooling needs at least {prod(bands)}")
        if self.frames < prod(frames):
            raise ValueError(
                f"{name}: {self.samples / self.sample_rate:g} s give {self.frames} frames, but pooling by "
                f"{' x '.join(map(str, frames))} needs {prod(frames)}: increase `seconds`"
            )
        shapes = zip((1, *channels[:-1]), channels, zip(bands, frames, strict=True), strict=True)
        return nn.Sequential(*(MelBlock(*shape) for shape in shapes))


def torchaudio_mel() -> LogMel:
    """Log-mel of Won, Ferraro, Bogdanov and Serra 2020: torchaudio's defaults at 16 kHz, n_fft 512 and 96 bands.

    HTK bands, centred frames with reflected edges, 10*log10 of the power, no floor relative to the peak.
    """
    return LogMel(mel="htk", db="power", top_db=None, center=True, pad_mode="reflect")


class MelBlock(nn.Sequential):
    """3x3 filters with pooling: (batch, channels, bands, frames) -> (batch, width, bands / pooling[0], frames / pooling[1])."""

    def __init__(self, channels: int, width: int, pooling: tuple[int, int]):
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(pooling)


CRNN_CHANNELS = (64, 128, 128, 128)
POOLING = (2, 3, 4, 4)


class TaggingCRNN(MelNet):
    """Convolutional recurrent network: audio (batch, samples) int16 or float in [-1, 1) -> logits (batch, n_tags).

    Choi et al. 2017 as re-implemented by Won et al. 2020: 96 bands, chunks of 29 s, 394,100 parameters for 50 tags.
    Four blocks pool bands and frames by 96, so a step of the GRU and the shortest chunk are 1.54 s; the last state is
    classified. `blocks` gives an embedding (batch, 128, bands, steps).

    Raises ValueError if the chunk is too short for the pooling, or the mel has too few bands.
    """

    def __init__(self, n_tags: int, seconds: float = 29.0, dropout: float = 0.5, mel: LogMel | None = None):
        super().__init__(seconds, torchaudio_mel() if mel is None else mel)
        self.blocks = self.make_blocks(CRNN_CHANNELS, POOLING, POOLING)
        self.gru = nn.GRU(CRNN_CHANNELS[-1], 32, num_layers=2, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(32, n_tags)

    def forward(self, audio: Tensor, level: Tensor | None = None) -> Tensor:
        moments = self.blocks(self.image(audio, level)).amax(2)
        states, _ = self.gru(moments.transpose(1, 2))
        return self.head(self.dropout(states[:, -1]))


FCN_CHANNELS = (64, 128, 128, 128, 64)
BAND_POOLING = (2, 2, 2, 3, 4)


class FCN(MelNet):
    """Fully convolutional network: audio (batch, samples) int16 or float in [-1, 1) -> logits (batch, n_tags).

    Choi et al. 2016 as re-implemented by Won et al. 2020: 96 bands, chunks of 29 s (of clips of 29.1 s), 447,732 parameters
    for 50 tags. Five blocks of 3x3 filters pool the frames by `time_pooling`, by default 1280 in total for chunks of at
    least 20.5 s; (4, 4, 4, 3, 3) allows 9.3 s. The remaining frames are reduced by their maximum. `blocks` gives an
    embedding (batch, 64, bands, frames).

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
        if len(time_pooling) != len(FCN_CHANNELS):
            raise ValueError(f"FCN: time_pooling has {len(time_pooling)} factors, expected {len(FCN_CHANNELS)}, one per block")
        self.blocks = self.make_blocks(FCN_CHANNELS, BAND_POOLING, time_pooling)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(FCN_CHANNELS[-1], n_tags)

    def forward(self, audio: Tensor, level: Tensor | None = None) -> Tensor:
        return self.head(self.dropout(self.blocks(self.image(audio, level)).amax((2, 3))))
