"""A tagger as one function of a waveform, written so that torch.export can freeze it with its front end inside."""

import torch
from torch import Tensor, nn

from datamodules.windows import units
from models.features import LogMel
from tasks.tagging.ladder import tagger_window


class ClipProgram(nn.Module):
    """Waveform (samples,) float32 at the network's rate -> probabilities (tags,); equals `Audio2Tags` with `cover`.

    Any length from one chunk on; pad a shorter recording with zeros.
    """

    def __init__(self, tagger: nn.Module) -> None:
        super().__init__()
        self.net, self.window = tagger.net, tagger_window(tagger)
        self.chunk_units = units(self.window)
        self.mels = [m for m in tagger.net.modules() if isinstance(m, LogMel) and m.top_db is not None]

    def forward(self, audio: Tensor) -> Tensor:
        """Weighted mean over chunks that follow one another, the last one flush with the end."""
        window, one = self.window, self.chunk_units
        whole = audio.shape[0] // window.hop + (1 if window.lead else 0)
        grid = torch.arange(whole, device=audio.device)
        # Counted by `nonzero`, the number of chunks is a symbol of its own to torch.export, not a fraction of a length.
        starts = (grid % one == 0).nonzero().squeeze(1).clamp(max=whole - one)
        torch._check(starts.shape[0] > 0)
        padded = nn.functional.pad(audio, (window.lead, window.samples))
        places = starts[:, None] * window.hop + torch.arange(window.samples, device=audio.device)
        chunks = padded[places]
        scores = self.net(chunks, self._level(chunks)).sigmoid()
        ends = starts + one
        weights = torch.diff(ends, prepend=ends.new_zeros(1)) / whole
        return weights.to(scores.dtype) @ scores

    def _level(self, chunks: Tensor) -> Tensor | None:
        """Peak of the whole recording: its chunks hold every frame; a floor at minus infinity changes none."""
        if not self.mels:
            return None
        floor = chunks.new_full((1,), float("-inf"))
        return self.mels[0](chunks, floor).amax().expand(chunks.shape[0])

    def lengths(self) -> list[int]:
        """Two lengths in samples to check a frozen program on."""
        return [int(2.6 * self.window.samples), 5 * self.window.samples + 321]
