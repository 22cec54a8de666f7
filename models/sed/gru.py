"""The recurrent encoder: what a CRNN remembers of a clip, in both directions."""

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class BiGRU(nn.Module):
    """(batch, frames, width_in) -> (batch, frames, 2 * hidden): gated recurrent units over a clip's valid frames alone."""

    def __init__(self, width_in: int, hidden: int = 128, layers: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        self.width = 2 * hidden
        dropout = dropout if layers > 1 else 0.0
        self.gru = nn.GRU(width_in, hidden, layers, batch_first=True, bidirectional=True, dropout=dropout)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """`valid` (batch,): frames of each clip, on the CPU; None if all are valid. 0 behind them."""
        if valid is None:
            return self.gru(x)[0]
        packed = pack_padded_sequence(x, valid, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=x.shape[1])[0]
