"""Plain version of Spec Att with the same state_dict, the peer of `benchmarks.tagging`."""

from collections.abc import Iterable

import torch
from torch import Tensor

from models.tagging.back_ends import SelfAttention, TransformerLayer
from models.tagging.front_back import FrontBack


class NaiveSpecAtt(FrontBack):
    """Spec Att as published: four means over bands, an explicit softmax, every token through the last layer.

    Takes the arguments of FrontBack (a Spec and an Att), and loads its state_dict.
    """

    def forward(self, audio: Tensor, level: Tensor | None = None) -> Tensor:
        return self.head(self.dropout(self.back_end.pooler(self.last_layer(self.maps(audio, level))[:, 0])))

    def maps(self, audio: Tensor, level: Tensor | None = None) -> Tensor:
        """Feature maps (batch, width, frames), with pooling in each branch."""
        spec = self.front_end
        mel = spec.gain * spec.norm(spec.mel(audio, level).unsqueeze(1).to(spec.gain.dtype)) + spec.offset
        maps = []
        for branch in spec.vertical:
            rows = torch.relu(branch.norm(branch.conv(mel)))
            maps.append(torch.max_pool2d(rows, (rows.shape[2], 1)).squeeze(2))
        for branch in spec.horizontal:
            maps.append(branch(torch.nn.functional.avg_pool2d(mel, (mel.shape[2], 1)).squeeze(2)))
        return spec.projection(torch.cat(maps, 1))

    def last_layer(self, maps: Tensor, only: int | None = None) -> Tensor:
        """Output of the last layer for every token; `only` bends all its heads and queries on that one token."""
        att = self.back_end
        cls = torch.stack([att.cls.to(maps)[None]] * len(maps))
        sequence = att.positions(torch.cat([cls, maps.permute(0, 2, 1)], 1))
        for layer in att.layers:
            sequence = full_layer(layer, sequence, only if layer is att.layers[-1] else None)
        return sequence

    def contributions(self, audio: Tensor, level: Tensor | None = None, tokens: Iterable[int] | None = None) -> Tensor:
        """One forward pass per token, by default for all, [CLS] included: (batch, tokens, tags) probability."""
        maps = self.maps(audio, level)
        tokens = range(1 + maps.shape[2]) if tokens is None else tokens
        passes = [self.last_layer(maps, only=token)[:, 0] for token in tokens]
        return torch.stack([self.head(self.dropout(self.back_end.pooler(output))).sigmoid() for output in passes], 1)


def full_layer(layer: TransformerLayer, tokens: Tensor, only: int | None = None) -> Tensor:
    """A Transformer layer with its attention written out, every token a query: (batch, tokens, width)."""
    context = explicit_attention(layer.attention, tokens, only)
    hidden = layer.attention_norm(tokens + layer.dropout(layer.attention.out(context)))
    return layer.norm(hidden + layer.dropout(layer.feed_forward(hidden)))


def explicit_attention(attention: SelfAttention, tokens: Tensor, only: int | None = None) -> Tensor:
    """Heads one by one: softmax(Q K^T / sqrt(d)) V, joined: (batch, tokens, heads * head_dim)."""
    query, key, value = attention.query(tokens), attention.key(tokens), attention.value(tokens)
    heads = []
    for q, k, v in zip(*(part.chunk(attention.heads, -1) for part in (query, key, value)), strict=True):
        table = torch.softmax(torch.bmm(q, k.transpose(1, 2)) / q.shape[-1] ** 0.5, -1)
        if only is not None:
            table = torch.zeros_like(table)
            table[:, :, only] = 1.0
        heads.append(torch.bmm(torch.dropout(table, attention.dropout, attention.training), v))
    return torch.cat(heads, -1)
