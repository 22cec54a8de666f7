"""Where in the sequence a token stands: sinusoidal (the paper's training code) or learned (its figures' code)."""

import torch
from torch import Tensor, nn


def sinusoids(tokens: int, width: int) -> Tensor:
    """(tokens, width): sine in even columns, cosine in odd ones, angle pos / 10000^(2*floor(j/2)/width); row 0 is 0."""
    position = torch.arange(tokens, dtype=torch.float64)[:, None]
    column = torch.arange(width)
    angle = position / 10_000 ** (2 * (column // 2).double() / width)
    table = torch.where(column % 2 == 0, angle.sin(), angle.cos())
    table[0] = 0.0  # [CLS] has no place in time
    return table.float()


class Sinusoidal(nn.Module):
    """Adds a fixed table of `sinusoids` to (batch, tokens, width), of any length."""

    table: Tensor

    def __init__(self, width: int, tokens: int):
        super().__init__()
        self.register_buffer("table", sinusoids(tokens, width), persistent=False)

    def forward(self, sequence: Tensor) -> Tensor:
        tokens, width = sequence.shape[1:]
        if tokens > self.table.shape[0]:
            self.table = sinusoids(tokens, width).to(self.table)
        return sequence + self.table[:tokens]


class Learned(nn.Module):
    """Adds a trained row per token, then LayerNorm; no sequence may be longer than `tokens`.

    Raises ValueError for a longer one.
    """

    def __init__(self, width: int, tokens: int):
        super().__init__()
        self.table = nn.Embedding(tokens, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, sequence: Tensor) -> Tensor:
        tokens, known = sequence.shape[1], self.table.num_embeddings
        if tokens > known:
            raise ValueError(f"{tokens} tokens, but positions were learned for {known}: set max_tokens to {tokens}")
        return self.norm(sequence + self.table.weight[:tokens])
