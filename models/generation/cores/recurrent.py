"""Recurrent cores: GRU, LSTM, tanh units, grouped LSTMs and context units."""

from typing import Literal

import torch
from torch import Tensor, nn

from models.generation.cores.core import Core

KINDS = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}
RNNState = list[tuple[Tensor, ...]]


class RNNCore(Core):
    """`layers` recurrent layers with dropout between them."""

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

    def start(self, batch: int) -> RNNState:
        """Initial state of (batch,) sequences."""
        parts = 2 if self.kind == "lstm" else 1
        return [tuple(self.zeros(batch, self.width) for _ in range(parts)) for _ in range(self.rnn.num_layers)]

    def step(self, x: Tensor, state: RNNState) -> tuple[Tensor, RNNState]:
        """Inputs (batch, inputs) of one frame -> hidden state (batch, width), next state."""
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


GroupedState = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]


class GroupedCore(Core):
    """LSTM of chord cells that also feeds an LSTM of melody cells (Eck and Schmidhuber 2002, section 3.2).

    The first `chords` inputs go to the chord cells, the next `melody` inputs to the melody cells, the conditions behind them
    to both. Melody cells also read the chord cells of the previous frame. Outputs: chord cells, then melody cells. The paper
    has 4 blocks of 2 cells in each group.
    """

    def __init__(self, inputs: int, chords: int = 12, melody: int = 13, chord_cells: int = 8, melody_cells: int = 8) -> None:
        super().__init__(inputs, chord_cells + melody_cells)
        conditions = inputs - chords - melody
        if conditions < 0:
            raise ValueError(f"chords {chords} and melody {melody} are more than the {inputs} inputs")
        self.chords, self.melody, self.chord_cells = chords, melody, chord_cells
        self.first = nn.LSTM(chords + conditions, chord_cells, batch_first=True)
        self.second = nn.LSTM(melody + conditions + chord_cells, melody_cells, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        chords, melody = self._split(x)
        states = self.first(chords)[0]
        before = torch.cat([torch.zeros_like(states[:, :1]), states[:, :-1]], 1)
        return torch.cat([states, self.second(torch.cat([melody, before], -1))[0]], -1)

    def start(self, batch: int) -> GroupedState:
        """Initial state of (batch,) sequences."""
        cells = self.chord_cells, self.width - self.chord_cells
        return tuple((self.zeros(batch, count), self.zeros(batch, count)) for count in cells)

    def step(self, x: Tensor, state: GroupedState) -> tuple[Tensor, GroupedState]:
        """Inputs (batch, inputs) of one frame -> hidden state (batch, width), next state."""
        chords, melody = self._split(x)
        first = torch.lstm_cell(chords, state[0], *self.first.all_weights[0])
        second = torch.lstm_cell(torch.cat([melody, state[0][0]], -1), state[1], *self.second.all_weights[0])
        return torch.cat([first[0], second[0]], -1), (first, second)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        chords, melody, conditions = x.tensor_split([self.chords, self.chords + self.melody], -1)
        return torch.cat([chords, conditions], -1), torch.cat([melody, conditions], -1)


class ContextCore(Core):
    """Recurrent units with different time constants (CONCERT, Mozer 1994, section 4).

    c_i(t) = tau_i c_i(t - 1) + (1 - tau_i) tanh(net_i), net a linear map of the input and of c(t - 1). The units are
    divided equally among `taus`, each in [0, 1); 0 is a plain recurrent unit.
    """

    def __init__(self, inputs: int, width: int = 40, taus: tuple[float, ...] = (0.0, 0.5, 0.8, 0.95)) -> None:
        super().__init__(inputs, width)
        if not taus or not all(0 <= tau < 1 for tau in taus):
            raise ValueError(f"taus are {tuple(taus)}, expected time constants from 0 to below 1")
        self.into = nn.Linear(inputs, width)
        self.again = nn.Linear(width, width, bias=False)
        nn.init.orthogonal_(self.again.weight)
        self.register_buffer("tau", torch.tensor([taus[unit * len(taus) // width] for unit in range(width)]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        c, driven, outputs = self.start(len(x)), self.into(x), []
        for net in driven.unbind(1):
            c = self._after(net, c)
            outputs.append(c)
        return torch.stack(outputs, 1) if outputs else driven

    def start(self, batch: int) -> Tensor:
        return self.zeros(batch, self.width)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (batch, inputs) of one frame -> hidden state (batch, width), next state."""
        c = self._after(self.into(x), state)
        return c, c

    def _after(self, net: Tensor, c: Tensor) -> Tensor:
        return self.tau * c + (1 - self.tau) * torch.tanh(net + self.again(c))
