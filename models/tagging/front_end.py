"""What every front-end promises to the network that joins it with a back-end."""

from torch import Tensor, nn


class FrontEnd(nn.Module):
    """Audio (batch, samples) -> feature maps (batch, width, frames), the sequence that a back-end reads.

    Attributes, all in samples but the first and the last: `sample_rate` (Hz), `samples` of one chunk, context included,
    `hop` of the grid on which chunks start, `lead` of context before a chunk's start, `frame_hop` between two output
    frames, `frame_centre` of the first one (from the chunk's start), `width` (channels) of the output.
    """

    sample_rate: int
    samples: int
    hop: int = 1
    lead: int = 0
    frame_hop: int
    frame_centre: int = 0
    width: int

    def forward(self, audio: Tensor, level: Tensor | None = None) -> Tensor:
        return self.maps(self.inputs(audio, level))

    def inputs(self, audio: Tensor, level: Tensor | None = None) -> Tensor:
        """What the first filter reads: log-mel (batch, mels, frames) or samples (batch, samples)."""
        raise NotImplementedError

    def maps(self, inputs: Tensor) -> Tensor:
        """Feature maps (batch, width, frames) of `inputs`, which may be cut and joined along time."""
        raise NotImplementedError

    def clip_level(self, audio: Tensor) -> Tensor | None:
        """Whole clips (batch, samples) -> the (batch,) dB that chunks need as `level`; None where they need none."""
        return None


def conv_norm_relu(channels: int, width: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Conv1d that keeps the length (divided by the stride), batch norm, ReLU: the block all parts are built from."""
    return nn.Sequential(nn.Conv1d(channels, width, kernel, stride, padding=kernel // 2), nn.BatchNorm1d(width), nn.ReLU())
