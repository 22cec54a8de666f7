"""Self-attention over the valid frames of clips, with positions as rotations or as sums."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.sed.inside import Inside


def sinusoids(frames: int, width: int, device: torch.device) -> Tensor:
    """(frames, width) of Vaswani et al. 2017: sines in the first half of the features, cosines in the second."""
    rates = 10_000.0 ** -(torch.arange(width // 2, device=device) / (width // 2))
    angles = torch.arange(frames, device=device)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)


def rotated(x: Tensor) -> Tensor:
    """Pairs of features of (batch, heads, frames, head_dim) turned by an angle that grows with the frame.

    Products of queries and keys then depend on how far apart two frames are and on nothing else (Su et al. 2021).
    """
    frames, width = x.shape[-2:]
    sine, cosine = sinusoids(frames, width, x.device).to(x.dtype).chunk(2, -1)
    first, second = x.chunk(2, -1)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], -1)


class SelfAttention(nn.Module):
    """(batch, frames, width) -> same; frames outside the mask are attended by none.

    rotary: positions enter as rotations of queries and keys; else they must be in the input already.
    """

    def __init__(self, width: int, heads: int, dropout: float, rotary: bool = False) -> None:
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"width {width} over {heads} heads leaves no even number for each: choose another")
        self.heads, self.dropout, self.rotary = heads, dropout, rotary
        self.joint = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, inside: Inside | None) -> Tensor:
        query, key, value = self.joint(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if self.rotary:
            query, key = rotated(query), rotated(key)
        mask = None if inside is None else inside.mask[:, None, None]
        dropout = self.dropout if self.training else 0.0
        joined = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
        return self.out(joined.transpose(1, 2).flatten(2))
