"""What `export` freezes of an aligner: one program from a waveform to its frames' embeddings, front end inside."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.alignment.similarity import Similarity

SECONDS = 10.0


class FrameProgram(nn.Module):
    """Audio (samples,) float32 of 10 s at the network's rate -> embeddings (frames, d), those of a performance.

    Cut a longer recording with a second of overlap on both sides that is thrown away. The level is that of the chunk: level a
    recording as a whole first, where its front end levels.
    """

    def __init__(self, net: Similarity) -> None:
        super().__init__()
        self.net, self.samples = net, round(SECONDS * net.sample_rate)

    def forward(self, audio: Tensor) -> Tensor:
        front, context = self.net.front, self.net.context
        audio = front.levelled(audio[None])
        features = front.span(audio, 0, front.n_frames(self.samples))[0]
        padded = F.pad(features, (context // 2, context - 1 - context // 2), mode="replicate")
        return self.net.embed(padded[None], "performance")[0]

    def exported(self) -> tuple[nn.Module, tuple[Tensor, ...], None, list[tuple[Tensor, ...]]]:
        """The program, an example input, no free dimension, further inputs to check: other noise, and a filled up chunk."""
        noise = torch.Generator().manual_seed(0)
        example, other, short = (0.1 * torch.randn(self.samples, generator=noise) for _ in range(3))
        short[len(short) // 3 :] = 0
        return self, (example,), None, [(other,), (short,)]
