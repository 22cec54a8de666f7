"""Symbols of n-gram models: frames (batch, frames, columns) -> symbols of single voices or of whole frames."""

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from models.generation.frame_spec import FrameSpec
from models.generation.ngram_counts import SPAN, UNKNOWN, Tables, find, pairs
from models.generation.sampling import Sampling, draw

FAINTEST = -600.0  # least log-probability that is positive in float64


class Voices(nn.Module):
    """One chain per column: rows are the columns of a batch, one cell per frame (batch * columns, frames, 1)."""

    sizes: Tensor

    def __init__(self, form: FrameSpec) -> None:
        super().__init__()
        self.symbols = max(form.sizes)
        self.register_buffer("sizes", torch.tensor(form.sizes), persistent=False)

    def learn(self, rows: list[Tensor], valid: list[Tensor]) -> None:
        """No operation: the alphabet is the view's."""

    def rows(self, frames: Tensor) -> Tensor:
        """(batch, frames, columns) -> (rows, frames, cells)."""
        return frames.transpose(1, 2).flatten(0, 1).unsqueeze(-1)

    def frames(self, rows: Tensor) -> Tensor:
        """(rows, frames, cells) -> (batch, frames, columns)."""
        return rows.squeeze(-1).unflatten(0, (-1, len(self.sizes))).transpose(1, 2)

    def streams(self, rows: int) -> Tensor:
        """Chain index (rows,) of each row."""
        return torch.arange(len(self.sizes), device=self.sizes.device).repeat(rows // len(self.sizes))

    def read(self, cells: Tensor) -> Tensor:
        """Symbols (...,) of cells (..., cells)."""
        return cells[..., 0].long()

    def base(self, rows: Tensor) -> Tensor:
        """Base log-probability (rows, frames) of rows (rows, frames, cells): uniform."""
        return -self.sizes[self.streams(len(rows))].double().log().unsqueeze(1).expand(rows.shape[:2])

    def ground(self, streams: Tensor) -> Tensor:
        """Base distribution (rows, symbols) of streams (rows,)."""
        return (1 / self.sizes[streams, None].double()).expand(-1, self.symbols)

    def admitted(self, values: Tensor, fixed: Tensor, allowed: Tensor | None) -> Tensor:
        """Log-probability (rows, symbols) of fixed cells (rows, cells) given each symbol: 0, or -inf if not allowed."""
        every = torch.arange(self.symbols, device=values.device)
        fits = every < self.sizes[self.streams(len(values)), None]
        if allowed is not None:
            fits = fits & allowed[: self.symbols]
        fits = torch.where(fixed, every == values, fits)
        return torch.zeros_like(fits, dtype=torch.float64).masked_fill(~fits, -torch.inf)

    def prior(self, previous: Tensor, values: Tensor, fixed: Tensor, sampling: Sampling) -> Tensor:
        """Base distribution (rows, symbols)."""
        return self.ground(self.streams(len(values)))

    def write(self, symbol: Tensor, *_: object) -> Tensor:
        """Cells (rows, cells) of symbols (rows,)."""
        return symbol.unsqueeze(-1)


class WholeFrames(Tables):
    """One chain of whole frames: the frames of the training set, and one symbol for all others, drawn by `ColumnScope`.

    known: (n, columns) int32, frames of the training set by symbol
    """

    known: Tensor

    def __init__(self, form: FrameSpec) -> None:
        super().__init__()
        self.columns = ColumnScope(form)
        self.parts = _parts(form.sizes)
        for part in range(len(self.parts)):
            self.register_buffer(f"seen_{part}", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("known", torch.zeros(0, form.columns, dtype=torch.int32), persistent=False)

    @property
    def tables(self) -> list[Tensor]:
        """Sorted pairs of prefix number and word, one table per part of a frame; the last one numbers frames."""
        return [getattr(self, f"seen_{part}") for part in range(len(self.parts))]

    @property
    def symbols(self) -> int:
        """Number of symbols: known frames and one for all others."""
        return len(self.tables[-1]) + 1

    def learn(self, rows: list[Tensor], valid: list[Tensor]) -> None:
        """Number the valid frames of rows (batch, frames, columns), and count bigrams in each column."""
        self.columns.count(rows, valid)
        kept = torch.cat([part[mask].to(torch.int32) for part, mask in zip(rows, valid, strict=True)])
        node = torch.zeros(len(kept), dtype=torch.int64, device=kept.device)
        for number, part in enumerate(self.parts):
            table, node = pairs(node, _word(kept, *part)).unique(return_inverse=True)
            setattr(self, f"seen_{number}", table)
        self.known = self._spelled()

    def _load_from_state_dict(self, *parts):
        super()._load_from_state_dict(*parts)
        self.known = self._spelled()

    def _spelled(self) -> Tensor:
        """Known frames (n, columns), decoded from the tables."""
        node = torch.arange(self.symbols - 1, device=self.tables[-1].device)
        columns_of_part: list[Tensor] = []
        for (columns, steps, sizes), table in zip(self.parts[::-1], self.tables[::-1], strict=True):
            word, node = table[node] % SPAN, table[node] // SPAN
            digits = word.unsqueeze(1) // steps.to(word.device) % sizes.to(word.device)
            columns_of_part.insert(0, digits if len(word) else digits.new_zeros(0, columns.stop - columns.start))
        return torch.cat(columns_of_part, -1).to(torch.int32)

    def rows(self, frames: Tensor) -> Tensor:
        """Frames unchanged: rows are pieces, cells are columns."""
        return frames

    frames = rows

    def streams(self, rows: int) -> Tensor:
        """Chain index (rows,), 0 for each row."""
        return torch.zeros(rows, dtype=torch.int64, device=self.tables[-1].device)

    def read(self, cells: Tensor) -> Tensor:
        """Symbols (...,) of frames (..., columns), `UNKNOWN` if not seen."""
        cells = cells.long()
        node = torch.zeros(cells.shape[:-1], dtype=torch.int64, device=cells.device)
        for part, table in zip(self.parts, self.tables, strict=True):
            index = find(table, pairs(node.clamp(min=0), _word(cells, *part)))
            node = torch.where(node < 0, -1, index)
        return torch.where(node < 0, UNKNOWN, node)

    def base(self, rows: Tensor) -> Tensor:
        """Base log-probability (rows, frames): independent columns, each given its previous cell."""
        chances = self.columns.chances(self.columns.before(rows.long()))
        return chances.gather(-1, rows.long().unsqueeze(-1)).squeeze(-1).sum(-1)

    def ground(self, streams: Tensor) -> Tensor:
        """Base distribution (rows, symbols), all in the last symbol."""
        return (torch.arange(self.symbols, device=streams.device) == self.symbols - 1).double().expand(len(streams), -1)

    def admitted(self, values: Tensor, fixed: Tensor, allowed: Tensor | None) -> Tensor:
        """See `Voices`: 0 or -inf for known frames, log-probability of the fixed cells by columns for all others."""
        most, cells = self.columns.most, _inside(values, fixed)
        seen = torch.zeros(len(values), self.symbols - 1, dtype=torch.float64, device=values.device)
        if fixed.any():
            # Number of matching fixed cells per known frame: a product of ones and zeros.
            one_hot_cells = torch.zeros(*values.shape, most, device=values.device).scatter(-1, cells, fixed.float().unsqueeze(-1))
            hits = one_hot_cells.flatten(1) @ one_hot(self.known.long(), most).flatten(1).float().T
            seen = seen.masked_fill(hits != fixed.sum(-1, keepdim=True), -torch.inf)
        alone = self.columns.alone().expand(*values.shape, most).gather(-1, cells).squeeze(-1)
        return torch.cat([seen, torch.where(fixed, alone, 0.0).sum(-1, keepdim=True).clamp(min=FAINTEST)], -1)

    def prior(self, previous: Tensor, values: Tensor, fixed: Tensor, sampling: Sampling) -> Tensor:
        """Base distribution (rows, symbols) after frames `previous` (rows, columns).

        It is all in the last symbol, whose columns may form known frames too. At temperature 0, which needs the most likely
        frame, each known frame has its own share, and the last symbol that of the most likely columns.
        """
        chances = self.columns.chances(previous)
        result = chances.new_zeros(len(values), self.symbols)
        cells = chances.gather(-1, _inside(values, fixed)).squeeze(-1)
        if sampling.temperature > 0:
            result[:, -1] = torch.where(fixed, cells, 0.0).sum(-1).clamp(min=FAINTEST).exp()
            return result
        for column, frames in enumerate(self.known.long().T):
            result[:, :-1] += chances[:, column, frames]
        result[:, -1] = torch.where(fixed, cells, chances.max(-1).values).sum(-1)
        return result.clamp(min=FAINTEST).exp()

    def write(
        self,
        symbol: Tensor,
        previous: Tensor,
        values: Tensor,
        fixed: Tensor,
        sampling: Sampling,
        generator: torch.Generator,
    ) -> Tensor:
        """Frames (rows, columns) of symbols (rows,): known frames, or fixed cells completed by independent columns."""
        drawn = draw(self.columns.chances(previous), sampling, generator)
        drawn = torch.where(fixed, values.long(), drawn)
        new = symbol == self.symbols - 1
        if new.all():
            return drawn
        return torch.where(new.unsqueeze(1), drawn, self.known[torch.where(new, 0, symbol)].long())


class ColumnScope(nn.Module):
    """Bigrams of each column: base distribution of unseen frames.

    counts: (columns, before, categories); `before` is the previous category, the last index before the first frame
    """

    counts: Tensor

    def __init__(self, form: FrameSpec) -> None:
        super().__init__()
        self.most = max(form.sizes)
        self.register_buffer("counts", torch.zeros(form.columns, self.most + 1, self.most, dtype=torch.int64))
        self.register_buffer("real", torch.arange(self.most) < torch.tensor(form.sizes)[:, None], persistent=False)

    def count(self, frames: list[Tensor], valid: list[Tensor]) -> None:
        """Count over valid frames of (batch, frames, columns)."""
        self.counts.zero_()
        column = torch.arange(len(self.counts), device=self.counts.device)
        for batch, mask in zip(frames, valid, strict=True):
            batch = batch.long()
            pair = (column * (self.most + 1) + self.before(batch)) * self.most + batch
            self.counts += pair[mask].flatten().bincount(minlength=self.counts.numel()).view_as(self.counts)

    def before(self, frames: Tensor) -> Tensor:
        """Previous cells of frames (batch, frames, columns), `most` before the first."""
        return torch.cat([torch.full_like(frames[:, :1], self.most), frames[:, :-1]], 1)

    def alone(self) -> Tensor:
        """Unigram log-probability (columns, categories) float64; -inf outside the column's categories."""
        counts = torch.where(self.real, self.counts.sum(1).double() + 0.5, 0.0)
        return (counts / counts.sum(-1, keepdim=True)).log()

    def chances(self, before: Tensor) -> Tensor:
        """Bigram log-probability (..., columns, categories) float64, given previous cells (..., columns)."""
        alone = self.alone().exp().unsqueeze(1)
        table = ((self.counts + alone) / (self.counts.sum(-1, keepdim=True) + 1)).log()
        return table[torch.arange(len(table), device=table.device), before.long()]


def _inside(values: Tensor, fixed: Tensor) -> Tensor:
    """Fixed cells as an index for `gather`, 0 elsewhere."""
    return torch.where(fixed, values.long(), 0).unsqueeze(-1)


def _parts(sizes: tuple[int, ...]) -> list[tuple[slice, Tensor, Tensor]]:
    """Runs of columns whose cells form a number below UNKNOWN: slice, stride of each column, and sizes."""
    starts, product = [0], 1
    for column, size in enumerate(sizes):
        product *= size
        if product >= UNKNOWN:
            starts.append(column)
            product = size
    spans = [slice(first, last) for first, last in zip(starts, [*starts[1:], len(sizes)], strict=True)]
    return [(span, _steps(sizes[span]), torch.tensor(sizes[span])) for span in spans]


def _steps(sizes: tuple[int, ...]) -> Tensor:
    return torch.tensor([1, *sizes[:-1]]).cumprod(0)


def _word(cells: Tensor, columns: slice, steps: Tensor, sizes: Tensor) -> Tensor:
    """Number (...,) of a part of cells (..., columns)."""
    return (cells[..., columns] * steps.to(cells.device)).sum(-1)
