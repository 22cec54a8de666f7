"""The part of an endless signal that is still needed."""

import torch
from torch import Tensor


class Tape:
    """Samples (channels, n) of a stream: appended at its end, read anywhere in what is kept, forgotten from the front."""

    def __init__(self) -> None:
        self.blocks: list[Tensor] = []
        self.start = self.end = 0

    def append(self, block: Tensor) -> None:
        """Add samples (channels, n) at the end."""
        self.blocks.append(block)
        self.end += block.shape[-1]

    def read(self, start: int, stop: int) -> Tensor:
        """Samples `start .. stop` of the stream, (channels, stop - start). Raises ValueError where they are not kept."""
        if not self.start <= start <= stop <= self.end:
            raise ValueError(f"samples {start} .. {stop} asked for, {self.start} .. {self.end} kept")
        pieces, place = [], self.start
        for block in self.blocks:
            begin, place = place, place + block.shape[-1]
            if begin < stop and place > start:
                pieces.append(block[..., max(start - begin, 0) : stop - begin])
        if not pieces:
            return self.blocks[-1][..., :0]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=-1)

    def forget(self, before: int) -> None:
        """Let go of blocks that end before a sample."""
        while self.blocks and self.start + self.blocks[0].shape[-1] <= before:
            self.start += self.blocks.pop(0).shape[-1]
