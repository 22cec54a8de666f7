"""Systems that know each cell given all the others, in no order: what they answer, and which cells may change together."""

import torch
from torch import Tensor

from models.generation.family import Family
from models.generation.form import Form, Frames


class Orderless(Family):
    """Base of systems of conditionals of one cell given the rest; a piece has no likelihood, a pseudo-likelihood instead."""

    supports = frozenset({"free", "continue", "harmonise", "inpaint"})
    likelihood = "none"

    def __init__(self, form: Form) -> None:
        super().__init__(form)
        if form.kind != "categories":
            raise ValueError(f"{type(self).__name__} writes one category a voice, so it needs a view such as the voice grid")

    def conditionals(self, frames: Tensor, conditions: Tensor, column: int) -> Tensor:
        """Logits (batch, frames, categories) of the cells of one column, each given every cell but itself."""
        raise NotImplementedError

    def cells(self, batch: Frames) -> Tensor:
        """Nats (batch, frames, columns) of each cell given all the others; 0 where padded."""
        raise NotImplementedError

    def surrogate(self, batch: Frames) -> Tensor:
        """Nats (batch, frames) of a frame's cells, each given all the others: the pseudo-likelihood (Besag 1975)."""
        return self.cells(batch).sum(-1)

    def pseudo_nll(self, batch: Frames) -> Tensor:
        """Mean nats of a cell given all the others; not to be compared with any likelihood."""
        return self.surrogate(batch).sum() / batch.valid.sum().clamp(min=1) / self.form.columns

    def loss(self, batch: Frames) -> dict[str, Tensor]:
        """The pseudo-likelihood, as `loss`."""
        return {"loss": self.pseudo_nll(batch)}


def colours(fixed: Tensor, apart: int) -> list[tuple[int, int]]:
    """Column and phase of each set of cells that change together: one column, every `apart`-th frame.

    No two cells of a set are of one chord or of neighbouring frames, so that none is drawn beside a value that is just being
    replaced. Sets whose cells are all fixed (batch, frames, columns) are left out.
    """
    open_ = ~fixed.all(0)
    return [
        (column, phase)
        for column in range(open_.shape[1])
        for phase in range(min(apart, open_.shape[0]))
        if open_[phase::apart, column].any()
    ]


def legal(form: Form, frames: int, column: int, begins: bool, device: torch.device) -> Tensor:
    """What may stand in the cells (frames, categories) of a column: nothing is held over where a piece begins."""
    allowed = torch.ones(frames, form.sizes[column], dtype=torch.bool, device=device)
    if begins and form.hold >= 0:
        allowed[0, form.hold] = False
    return allowed
