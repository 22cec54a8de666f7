"""What a symbol of a Markov chain is: the note of one voice on its own, or a whole frame."""

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from models.generation.frame_spec import FrameSpec
from models.generation.ngram_counts import SPAN, UNKNOWN, Tables, find, pairs
from models.generation.sampling import Sampling, draw

FAINTEST = -600.0  # nats: what float64 still tells from nothing


class Voices(nn.Module):
    """One chain a column: rows are the columns of a batch, each a sequence of one cell a frame (batch * columns, frames, 1)."""

    sizes: Tensor

    def __init__(self, form: FrameSpec) -> None:
        super().__init__()
        self.symbols = max(form.sizes)
        self.register_buffer("sizes", torch.tensor(form.sizes), persistent=False)

    def learn(self, rows: list[Tensor], valid: list[Tensor]) -> None:
        """The alphabet is known beforehand."""

    def rows(self, frames: Tensor) -> Tensor:
        """(batch, frames, columns) -> (rows, frames, cells)."""
        return frames.transpose(1, 2).flatten(0, 1).unsqueeze(-1)

    def frames(self, rows: Tensor) -> Tensor:
        """(rows, frames, cells) -> (batch, frames, columns)."""
        return rows.squeeze(-1).unflatten(0, (-1, len(self.sizes))).transpose(1, 2)

    def streams(self, rows: int) -> Tensor:
        """The chain of each row (rows,)."""
        return torch.arange(len(self.sizes), device=self.sizes.device).repeat(rows // len(self.sizes))

    def read(self, cells: Tensor) -> Tensor:
        """Symbols (...,) of cells (..., cells)."""
        return cells[..., 0].long()

    def base(self, rows: Tensor) -> Tensor:
        """Nats (rows, frames) that the base distribution has for rows (rows, frames, cells): all categories alike."""
        return -self.sizes[self.streams(len(rows))].double().log().unsqueeze(1).expand(rows.shape[:2])

    def ground(self, streams: Tensor) -> Tensor:
        """The base distribution (rows, symbols) of streams (rows,), whatever was before."""
        return (1 / self.sizes[streams, None].double()).expand(-1, self.symbols)

    def admitted(self, values: Tensor, fixed: Tensor, allowed: Tensor | None) -> Tensor:
        """Nats (rows, symbols) of fixed cells (rows, cells) given each symbol: 0, or -inf where it may not stand."""
        every = torch.arange(self.symbols, device=values.device)
        fits = every < self.sizes[self.streams(len(values)), None]
        if allowed is not None:
            fits = fits & allowed[: self.symbols]
        fits = torch.where(fixed, every == values, fits)
        return torch.zeros_like(fits, dtype=torch.float64).masked_fill(~fits, -torch.inf)

    def prior(self, previous: Tensor, values: Tensor, fixed: Tensor, sampling: Sampling) -> Tensor:
        """The base distribution (rows, symbols)."""
        return self.ground(self.streams(len(values)))

    def write(self, symbol: Tensor, *_: object) -> Tensor:
        """Cells (rows, cells) of symbols (rows,)."""
        return symbol.unsqueeze(-1)


class WholeFrames(Tables):
    """One chain of whole frames: those seen in training, and one symbol more for any other, which `ColumnScope` writes.

    known: (n, columns) int32, the frames seen by number
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
        """Sorted pairs of what the parts before make and a part's word, one table a part; the last one numbers frames."""
        return [getattr(self, f"seen_{part}") for part in range(len(self.parts))]

    @property
    def symbols(self) -> int:
        """Frames seen and the symbol of all others."""
        return len(self.tables[-1]) + 1

    def learn(self, rows: list[Tensor], valid: list[Tensor]) -> None:
        """Number all frames of rows (batch, frames, columns) where valid, and count what follows what in each column."""
        self.columns.count(rows, valid)
        kept = torch.cat([part[there].to(torch.int32) for part, there in zip(rows, valid, strict=True)])
        node = torch.zeros(len(kept), dtype=torch.int64, device=kept.device)
        for number, part in enumerate(self.parts):
            table, node = pairs(node, _word(kept, *part)).unique(return_inverse=True)
            setattr(self, f"seen_{number}", table)
        self.known = self._spelled()

    def _load_from_state_dict(self, *parts):
        super()._load_from_state_dict(*parts)
        self.known = self._spelled()

    def _spelled(self) -> Tensor:
        """The frames that the tables number (n, columns)."""
        node = torch.arange(self.symbols - 1, device=self.tables[-1].device)
        found: list[Tensor] = []
        for (columns, steps, sizes), table in zip(self.parts[::-1], self.tables[::-1], strict=True):
            word, node = table[node] % SPAN, table[node] // SPAN
            digits = word.unsqueeze(1) // steps.to(word.device) % sizes.to(word.device)
            found.insert(0, digits if len(word) else digits.new_zeros(0, columns.stop - columns.start))
        return torch.cat(found, -1).to(torch.int32)

    def rows(self, frames: Tensor) -> Tensor:
        """As they are: a row is a piece, its cells the columns."""
        return frames

    frames = rows

    def streams(self, rows: int) -> Tensor:
        """The only chain, for each row (rows,)."""
        return torch.zeros(rows, dtype=torch.int64, device=self.tables[-1].device)

    def read(self, cells: Tensor) -> Tensor:
        """Numbers (...,) of frames (..., columns), `UNKNOWN` where one was not seen."""
        cells = cells.long()
        node = torch.zeros(cells.shape[:-1], dtype=torch.int64, device=cells.device)
        for part, table in zip(self.parts, self.tables, strict=True):
            place = find(table, pairs(node.clamp(min=0), _word(cells, *part)))
            node = torch.where(node < 0, -1, place)
        return torch.where(node < 0, UNKNOWN, node)

    def base(self, rows: Tensor) -> Tensor:
        """Nats (rows, frames) of frames as columns that do not know of each other, each given its own cell before."""
        chances = self.columns.chances(self.columns.before(rows.long()))
        return chances.gather(-1, rows.long().unsqueeze(-1)).squeeze(-1).sum(-1)

    def ground(self, streams: Tensor) -> Tensor:
        """The base distribution (rows, symbols), all of it in the last symbol."""
        return (torch.arange(self.symbols, device=streams.device) == self.symbols - 1).double().expand(len(streams), -1)

    def admitted(self, values: Tensor, fixed: Tensor, allowed: Tensor | None) -> Tensor:
        """As of `Voices`: 0 or -inf for frames seen, what the columns make of the fixed cells for all others."""
        most, given = self.columns.most, _inside(values, fixed)
        seen = torch.zeros(len(values), self.symbols - 1, dtype=torch.float64, device=values.device)
        if fixed.any():
            # How many fixed cells a frame has as they are: a product of ones and zeros.
            asked = torch.zeros(*values.shape, most, device=values.device).scatter(-1, given, fixed.float().unsqueeze(-1))
            hits = asked.flatten(1) @ one_hot(self.known.long(), most).flatten(1).float().T
            seen = seen.masked_fill(hits != fixed.sum(-1, keepdim=True), -torch.inf)
        alone = self.columns.alone().expand(*values.shape, most).gather(-1, given).squeeze(-1)
        return torch.cat([seen, torch.where(fixed, alone, 0.0).sum(-1, keepdim=True).clamp(min=FAINTEST)], -1)

    def prior(self, previous: Tensor, values: Tensor, fixed: Tensor, sampling: Sampling) -> Tensor:
        """What the base distribution adds to each symbol (rows, symbols), after frames `previous` (rows, columns).

        All of it is in the last symbol, where the columns may spell seen frames too; at temperature 0, where the likeliest
        of all frames is asked for, each frame has its own, and the last symbol stands for the likeliest of the columns.
        """
        chances = self.columns.chances(previous)
        result = chances.new_zeros(len(values), self.symbols)
        given = chances.gather(-1, _inside(values, fixed)).squeeze(-1)
        if sampling.temperature > 0:
            result[:, -1] = torch.where(fixed, given, 0.0).sum(-1).clamp(min=FAINTEST).exp()
            return result
        for column, frames in enumerate(self.known.long().T):
            result[:, :-1] += chances[:, column, frames]
        result[:, -1] = torch.where(fixed, given, chances.max(-1).values).sum(-1)
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
        """Frames (rows, columns) of symbols (rows,): as seen, or the fixed cells and what the columns draw beside them."""
        drawn = draw(self.columns.chances(previous), sampling, generator)
        drawn = torch.where(fixed, values.long(), drawn)
        new = symbol == self.symbols - 1
        if new.all():
            return drawn
        return torch.where(new.unsqueeze(1), drawn, self.known[torch.where(new, 0, symbol)].long())


class ColumnScope(nn.Module):
    """Each column on its own, given its own cell one frame before: the base distribution of frames that were never seen.

    counts: (columns, before, categories) where `before` is a category, or the last for the first frame of a piece
    """

    counts: Tensor

    def __init__(self, form: FrameSpec) -> None:
        super().__init__()
        self.most = max(form.sizes)
        self.register_buffer("counts", torch.zeros(form.columns, self.most + 1, self.most, dtype=torch.int64))
        self.register_buffer("real", torch.arange(self.most) < torch.tensor(form.sizes)[:, None], persistent=False)

    def count(self, frames: list[Tensor], valid: list[Tensor]) -> None:
        """Count over frames (batch, frames, columns) where valid."""
        self.counts.zero_()
        column = torch.arange(len(self.counts), device=self.counts.device)
        for batch, there in zip(frames, valid, strict=True):
            batch = batch.long()
            pair = (column * (self.most + 1) + self.before(batch)) * self.most + batch
            self.counts += pair[there].flatten().bincount(minlength=self.counts.numel()).view_as(self.counts)

    def before(self, frames: Tensor) -> Tensor:
        """The cells before those of frames (batch, frames, columns), `most` before the first."""
        return torch.cat([torch.full_like(frames[:, :1], self.most), frames[:, :-1]], 1)

    def alone(self) -> Tensor:
        """Nats (columns, categories) float64 of each cell, whatever was before it; -inf of what is no category."""
        counts = torch.where(self.real, self.counts.sum(1).double() + 0.5, 0.0)
        return (counts / counts.sum(-1, keepdim=True)).log()

    def chances(self, before: Tensor) -> Tensor:
        """Nats (..., columns, categories) float64 of each cell, given the cells before (..., columns)."""
        alone = self.alone().exp().unsqueeze(1)
        table = ((self.counts + alone) / (self.counts.sum(-1, keepdim=True) + 1)).log()
        return table[torch.arange(len(table), device=table.device), before.long()]


def _inside(values: Tensor, fixed: Tensor) -> Tensor:
    """Fixed cells as an index for `gather`, 0 elsewhere."""
    return torch.where(fixed, values.long(), 0).unsqueeze(-1)


def _parts(sizes: tuple[int, ...]) -> list[tuple[slice, Tensor, Tensor]]:
    """Runs of columns whose cells together make a number below UNKNOWN: which, the step of each column in it, and its size."""
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
    """One number (...,) for a part of cells (..., columns)."""
    return (cells[..., columns] * steps.to(cells.device)).sum(-1)
