"""Multi-head self-attention and the Transformer encoder layer around it (post-norm, as in BERT)."""

import torch.nn.functional as F
from torch import Tensor, nn


class SelfAttention(nn.Module):
    """softmax(Q K^T / sqrt(head_dim)) V for each head, equation 1 of Won, Chun and Serra 2019.

    Projections run width -> heads * head_dim -> width. `dropout` acts on the softmax.
    """

    def __init__(self, width: int, heads: int, head_dim: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(width, heads * head_dim)
        self.key = nn.Linear(width, heads * head_dim)
        self.value = nn.Linear(width, heads * head_dim)
        self.out = nn.Linear(heads * head_dim, width)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """queries (batch, q, width), tokens (batch, t, width) -> joined heads (batch, q, heads * head_dim)."""
        query = self._split(self.query(queries))
        key, value = self._split(self.key(tokens)), self._split(self.value(tokens))
        # The fused kernels never hold the (tokens x tokens) table, which is what makes long inputs affordable.
        joined = F.scaled_dot_product_attention(query, key, value, dropout_p=self.dropout if self.training else 0.0)
        return joined.transpose(1, 2).flatten(2)

    def weights(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """The softmax that `forward` keeps to itself, for heat maps: (batch, heads, q, t)."""
        query, key = self._split(self.query(queries)), self._split(self.key(tokens))
        return (query @ key.transpose(2, 3) * query.shape[-1] ** -0.5).softmax(-1)

    def _split(self, projected: Tensor) -> Tensor:
        return projected.unflatten(2, (self.heads, -1)).transpose(1, 2)


class TransformerLayer(nn.Module):
    """Self-attention and a feed-forward network, each with dropout, residual and LayerNorm after it."""

    def __init__(self, width: int, heads: int, head_dim: int, feed_forward: int, attention_dropout: float, hidden_dropout: float):
        super().__init__()
        self.attention = SelfAttention(width, heads, head_dim, attention_dropout)
        self.attention_norm = nn.LayerNorm(width, eps=1e-12)
        self.feed_forward = nn.Sequential(nn.Linear(width, feed_forward), nn.GELU(), nn.Linear(feed_forward, width))
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.dropout = nn.Dropout(hidden_dropout)

    def forward(self, tokens: Tensor, queries: Tensor | None = None) -> Tensor:
        """tokens (batch, t, width) -> the layer's output (batch, q, width) for `queries`, by default every token."""
        queries = tokens if queries is None else queries
        return self.finish(self.attention(queries, tokens), queries)

    def finish(self, context: Tensor, queries: Tensor) -> Tensor:
        """All that follows the attention: context (batch, q, heads * head_dim), queries (batch, q or 1, width)."""
        hidden = self.attention_norm(queries + self.dropout(self.attention.out(context)))
        return self.norm(hidden + self.dropout(self.feed_forward(hidden)))

    def contributions(self, tokens: Tensor, query: Tensor) -> Tensor:
        """What `query` (batch, 1, width) leads to if all heads attend to one token alone, for each: (batch, t, width).

        A one-hot attention row picks that token's value vector, so one pass over all values covers every token.
        """
        return self.finish(self.attention.value(tokens), query)
