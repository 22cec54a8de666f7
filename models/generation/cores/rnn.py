"""Recurrent cores: gated recurrent units, long short-term memory, or plain tanh units."""

from typing import Literal

import torch
from torch import Tensor, nn

from models.generation.cores.core import Core

KINDS = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}
State = list[tuple[Tensor, ...]]


class RNNCore(Core):
    """`layers` of recurrent units, dropout between them; the width is that of the last."""

    def __init__(
        self, inputs: int, kind: Literal["gru", "lstm", "rnn"] = "gru", width: int = 256, layers: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__(inputs, width)
        if kind not in KINDS:
            raise ValueError(f"kind of recurrent core is {kind!r}, expected one of {', '.join(KINDS)}")
        self.kind = kind
        self.rnn = KINDS[kind](inputs, width, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0]

    def start(self, batch: int) -> State:
        parts = 2 if self.kind == "lstm" else 1
        return [tuple(self.zeros(batch, self.width) for _ in range(parts)) for _ in range(self.rnn.num_layers)]

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        after = []
        for before, weights in zip(state, self.rnn.all_weights, strict=True):
            if self.kind == "gru":
                parts = (torch.gru_cell(x, before[0], *weights),)
            elif self.kind == "lstm":
                parts = torch.lstm_cell(x, before, *weights)
            else:
                parts = (torch.rnn_tanh_cell(x, before[0], *weights),)
            after.append(parts)
            x = parts[0]
        return x, after
