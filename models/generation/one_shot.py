"""MiniBach: the missing voices of a whole excerpt in one step, from the voices that are given."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from models.generation.cells import Cells, cut, ended, given, joined
from models.generation.frame_spec import Ask, FrameBatch, FrameSpec
from models.generation.generative_model import GenerativeModel, kept


class OneShot(GenerativeModel):
    """A feed-forward network from the given columns of a window to all others at once, each independent of the others.

    MiniBach (Briot, Hadjeres and Pachet 2017): four bars of 16 steps, a soprano of one-hot pitches ->
    200 rectified units -> alto, tenor and bass, softmax over each voice and step. Music of any length is cut into windows
    that do not overlap, the last one filled up with empty frames, which cost nothing.

    Args:
        form: of the frames
        window: frames that are read and written at once
        hidden: units of each hidden layer
        given: columns that are read; all others are written
        dropout: of hidden units
        conditions: whether what is known of a frame (metre, fermata) is read too

    Raises:
        ValueError: `given` names no column, all of them, or one that is not there.
    """

    supports = frozenset({"harmonise"})
    conditional: ClassVar[bool] = True
    """`nll` is exact, but of the written columns given the read ones: no likelihood of whole frames."""

    def __init__(
        self,
        form: FrameSpec,
        window: int = 64,
        hidden: Sequence[int] = (200,),
        given: Sequence[int] = (0,),
        dropout: float = 0.0,
        conditions: bool = False,
    ) -> None:
        super().__init__(form)
        rest = [column for column in range(form.columns) if column not in given]
        if not given or not rest or not set(given) <= set(range(form.columns)):
            raise ValueError(f"given is {list(given)}, expected some but not all of the {form.columns} columns of a frame")
        self.window, self.conditions = window, conditions
        self.heard, self.written = Cells(form, sorted(given)), Cells(form, rest)
        sizes = [window * (self.heard.width + conditions * form.conditions), *hidden]
        layers: list[nn.Module] = []
        for below, above in pairwise(sizes):
            layers += [nn.Linear(below, above), nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], window * self.written.width))

    @torch.no_grad()
    def prepare(self, batches: Iterable[FrameBatch]) -> None:
        """Begin where nothing but the frequency of each cell is known: silence is most of a roll, and slow to learn."""
        self.layers[-1].bias.copy_(self.written.habit(batches).repeat(self.window))

    def logits(self, batch: FrameBatch) -> Tensor:
        """(batch, frames, width) of the written columns."""
        x = self.heard.read(batch.frames)
        if self.conditions:
            x = torch.cat([x, batch.conditions.float()], -1)
        x = cut(x * batch.valid[..., None], self.window)
        return joined(self.layers(x.flatten(1)).unflatten(1, (self.window, -1)), batch.frames.shape[1])

    def nll(self, batch: FrameBatch) -> Tensor:
        """Nats (batch, frames) of the written columns of each frame, given the read columns of its window; 0 where padded."""
        nats = self.written.nats(self.logits(batch), batch.frames).sum(-1)
        return torch.where(batch.valid, nats, 0.0)

    def loss(self, batch: FrameBatch) -> dict[str, Tensor]:
        """Nats of a written cell, as `loss`."""
        return {"loss": self.nll(batch).sum() / batch.valid.sum().clamp(min=1) / len(self.written.columns)}

    @property
    def scored(self) -> list[int]:
        """The written columns."""
        return list(self.written.columns)

    def guess(self, batch: FrameBatch) -> Tensor:
        """As `predict_columns`: no cell that is written knows of another."""
        return self.predict_columns(batch)

    def predict_columns(self, batch: FrameBatch) -> Tensor:
        """Frames (batch, frames, columns) with the likeliest cells in the written columns; the read ones as they are."""
        frames = batch.frames.clone()
        frames[..., self.written.columns] = self.written.likeliest(self.logits(batch)).to(frames.dtype)
        return frames

    def generate(self, ask: Ask) -> Tensor:
        """As `GenerativeModel.generate`. Raises ValueError for another use, or if a cell of an input column is missing."""
        if ask.use not in self.supports:
            raise ValueError(f"a one-shot network cannot be asked to {ask.use}: it harmonises")
        if not ask.fixed[..., self.heard.columns].all():
            raise ValueError(f"columns {self.heard.columns} must be given in every frame: the others follow from them")
        frames = given(ask).clone()
        valid = torch.ones(frames.shape[:2], dtype=torch.bool, device=frames.device)
        logits = self.logits(FrameBatch(frames, ask.conditions, valid))
        frames[..., self.written.columns] = self.written.draw(logits, ask.sampling, ask.generator).to(frames.dtype)
        return kept(ask, ended(kept(ask, frames), self.form.end))
