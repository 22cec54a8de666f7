"""What `export` freezes of a detector: one program from a clip of waveform to its scores, front end and head inside."""

import torch
from torch import Tensor, nn

from datamodules.frames import FrameGrid

SECONDS = 10.0


class ClipProgram(nn.Module):
    """Audio (samples,) float32 of 10 s at the network's rate, and each stream's embeddings (frames, dim) -> scores.

    Scores are frames (frames, classes) and clip (classes,). The clip is brought to its robust level, as a window is in
    `predict`. torch.export fixes the length of recurrent layers: fill up a shorter clip with zeros, cut a longer recording
    into windows.
    """

    def __init__(self, net: nn.Module, grid: FrameGrid) -> None:
        super().__init__()
        self.net, self.samples = net, round(SECONDS * net.sample_rate)
        self.frames = grid.count(self.samples)
        self.dims = {name: branch[0].in_features for name, branch in net.fusion.branches.items()}

    def forward(self, audio: Tensor, *embeddings: Tensor) -> tuple[Tensor, Tensor]:
        mel, _ = self.net.features(audio[None], level="robust")
        found = self.net(mel, None, {name: values[None] for name, values in zip(self.dims, embeddings, strict=True)})
        return found.frames[0], found.clip[0]

    def exported(self) -> tuple[nn.Module, tuple[Tensor, ...], None, list[tuple[Tensor, ...]]]:
        """The program, example inputs, no free dimension, further inputs to check: other noise, and a filled up clip."""
        noise = torch.Generator().manual_seed(0)

        def inputs() -> tuple[Tensor, ...]:
            audio = 0.1 * torch.randn(self.samples, generator=noise)
            return audio, *(torch.randn(self.frames, dim, generator=noise) for dim in self.dims.values())

        example, other, short = (inputs() for _ in range(3))
        short[0][len(short[0]) // 3 :] = 0
        return self, example, None, [other, short]
