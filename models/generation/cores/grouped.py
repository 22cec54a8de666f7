"""Two groups of memory cells of which only the first feeds the other, as the blues improviser has them."""

import torch
from torch import Tensor, nn

from models.generation.cores.core import Core

State = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]


class GroupedCore(Core):
    """Chord cells and melody cells; chords feed the melody and never the other way (Eck and Schmidhuber 2002, section 3.2).

    The first `chords` inputs reach the chord cells alone, the next `melody` inputs the melody cells alone; conditions behind
    them reach both. Chord cells see themselves and melody cells both, of the frame before. The output is the chord cells'
    then the melody cells'. The paper has 4 blocks of 2 cells in each group.
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
        chords, melody = self._parted(x)
        heard = self.first(chords)[0]
        before = torch.cat([torch.zeros_like(heard[:, :1]), heard[:, :-1]], 1)
        return torch.cat([heard, self.second(torch.cat([melody, before], -1))[0]], -1)

    def start(self, batch: int) -> State:
        cells = self.chord_cells, self.width - self.chord_cells
        return tuple((self.zeros(batch, count), self.zeros(batch, count)) for count in cells)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        chords, melody = self._parted(x)
        first = torch.lstm_cell(chords, state[0], *self.first.all_weights[0])
        second = torch.lstm_cell(torch.cat([melody, state[0][0]], -1), state[1], *self.second.all_weights[0])
        return torch.cat([first[0], second[0]], -1), (first, second)

    def _parted(self, x: Tensor) -> tuple[Tensor, Tensor]:
        chords, melody, conditions = x.tensor_split([self.chords, self.chords + self.melody], -1)
        return torch.cat([chords, conditions], -1), torch.cat([melody, conditions], -1)
