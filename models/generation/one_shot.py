"""MiniBach (Briot, Hadjeres and Pachet 2017): input voices of a window -> all other voices in one step."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from models.generation.cells import Cells, cut, ended, fixed_values, joined
from models.generation.frame_spec import FrameBatch, FrameSpec, SamplingRequest
from models.generation.generative_model import GenerativeModel, kept


class OneShot(GenerativeModel):
    """Feed-forward network from the input columns of a window to all others, which are conditionally independent.

    MiniBach: four bars of 16 steps, one-hot soprano -> 200 rectified units -> alto, tenor and bass, a softmax per voice and
    step. Music of any length is cut into non-overlapping windows, the last one padded with empty frames, which cost nothing.

    Args:
        form: frame specification
        window: frames per window
        hidden: units of each hidden layer
        given: input columns; all others are outputs
        dropout: of hidden units
        conditions: whether conditions of frames (metre, fermata) are inputs too

    Raises:
        ValueError: `given` names no column, all of them, or an unknown one.
    """

    supports = frozenset({"harmonise"})
    conditional: ClassVar[bool] = True
    """`nll` is exact, but of the output columns given the input columns: no likelihood of whole frames."""

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
        self.inputs, self.outputs = Cells(form, sorted(given)), Cells(form, rest)
        sizes = [window * (self.inputs.width + conditions * form.conditions), *hidden]
        layers: list[nn.Module] = []
        for below, above in pairwise(sizes):
            layers += [nn.Linear(below, above), nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], window * self.outputs.width))

    @torch.no_grad()
    def prepare(self, batches: Iterable[FrameBatch]) -> None:
        """Initialise the output bias by the frequency of each cell: most of a roll is silence, which is slow to learn."""
        self.layers[-1].bias.copy_(self.outputs.initial_bias(batches).repeat(self.window))

    def logits(self, batch: FrameBatch) -> Tensor:
        """Logits (batch, frames, width) of the output columns."""
        x = self.inputs.read(batch.frames)
        if self.conditions:
            x = torch.cat([x, batch.conditions.float()], -1)
        x = cut(x * batch.valid[..., None], self.window)
        return joined(self.layers(x.flatten(1)).unflatten(1, (self.window, -1)), batch.frames.shape[1])

    def nll(self, batch: FrameBatch) -> Tensor:
        """Nats (batch, frames) of the output columns of each frame, given the input columns of its window; 0 if padded."""
        nats = self.outputs.nats(self.logits(batch), batch.frames).sum(-1)
        return torch.where(batch.valid, nats, 0.0)

    def loss(self, batch: FrameBatch) -> dict[str, Tensor]:
        """Nats per output cell as `loss`."""
        return {"loss": self.nll(batch).sum() / batch.valid.sum().clamp(min=1) / len(self.outputs.columns)}

    @property
    def scored(self) -> list[int]:
        """Output columns."""
        return list(self.outputs.columns)

    def guess(self, batch: FrameBatch) -> Tensor:
        """See `predict_columns`: output cells are independent."""
        return self.predict_columns(batch)

    def predict_columns(self, batch: FrameBatch) -> Tensor:
        """Frames (batch, frames, columns) with the most likely cells in the output columns and unchanged input columns."""
        frames = batch.frames.clone()
        frames[..., self.outputs.columns] = self.outputs.likeliest(self.logits(batch)).to(frames.dtype)
        return frames

    def generate(self, request: SamplingRequest) -> Tensor:
        """See `GenerativeModel.generate`. Raises ValueError for another use, or if a cell of an input column is missing."""
        if request.use not in self.supports:
            raise ValueError(f"OneShot does not support {request.use}, expected harmonise")
        if not request.fixed[..., self.inputs.columns].all():
            raise ValueError(f"input columns {self.inputs.columns} must be fixed in every frame")
        frames = fixed_values(request).clone()
        valid = torch.ones(frames.shape[:2], dtype=torch.bool, device=frames.device)
        logits = self.logits(FrameBatch(frames, request.conditions, valid))
        frames[..., self.outputs.columns] = self.outputs.draw(logits, request.sampling, request.generator).to(frames.dtype)
        return kept(request, ended(kept(request, frames), self.form.end))
