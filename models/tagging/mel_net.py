"""What the networks of the 2020 comparison share: a log-mel inside, batch norm on it, blocks of 3x3 filters."""

from collections.abc import Sequence
from math import prod

from torch import Tensor, nn

from models.features import LogMel


class MelNet(nn.Module):
    """A tagging network on the log-mel spectrogram of a chunk of `seconds`; subclasses turn it into logits.

    Attributes in samples but the first (Hz): `sample_rate`; `samples` of one chunk, context included; `hop` of the grid
    on which chunks start; `lead` of context before a chunk's start.
    With a centred `mel` each chunk is padded by itself, as torchaudio users do, and may start anywhere; with a mel that is
    not, chunks are crops of the whole clip's frames.

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
        """The (batch, mels, frames) that the network looks at."""
        return self.mel(audio, level)

    def clip_level(self, audio: Tensor) -> Tensor | None:
        """Whole clips (batch, samples) -> (batch,) dB for their chunks; None without a `top_db`, as is the default."""
        return None if self.mel.top_db is None else self.mel.peak(audio)

    def image(self, audio: Tensor, level: Tensor | None) -> Tensor:
        """The normalised spectrogram as an image of one channel: (batch, 1, mels, frames)."""
        return self.norm(self.spectrogram(audio, level)[:, None].to(self.norm.weight.dtype))

    def make_blocks(self, channels: Sequence[int], bands: Sequence[int], frames: Sequence[int]) -> nn.Sequential:
        """Blocks of 3x3 filters that pool bands and frames by these factors.

        Raises ValueError where that would leave no band or no frame.
        """
        name = type(self).__name__
        if self.mel.n_mels < prod(bands):
            raise ValueError(f"{name}: {self.mel.n_mels} mel bands, but its pooling needs at least {prod(bands)}")
        if self.frames < prod(frames):
            raise ValueError(
                f"{name}: {self.samples / self.sample_rate:g} s give {self.frames} frames, but pooling by "
                f"{' x '.join(map(str, frames))} needs {prod(frames)}: ask for more `seconds`"
            )
        shapes = zip((1, *channels[:-1]), channels, zip(bands, frames, strict=True), strict=True)
        return nn.Sequential(*(Block(*shape) for shape in shapes))


def torchaudio_mel() -> LogMel:
    """torchaudio's MelSpectrogram and AmplitudeToDB as they come, but 16 kHz, n_fft 512 and 96 bands.

    Won, Ferraro, Bogdanov and Serra 2020, and so every network of that comparison: HTK bands, centred frames with
    reflected edges, 10*log10 of the power, no floor relative to the peak.
    """
    return LogMel(mel="htk", db="power", top_db=None, center=True, pad_mode="reflect")


class Block(nn.Sequential):
    """(batch, channels, bands, frames) -> (batch, width, bands / pooling[0], frames / pooling[1]): 3x3 filters, pooled."""

    def __init__(self, channels: int, width: int, pooling: tuple[int, int]):
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(pooling)
