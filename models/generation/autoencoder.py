"""DeepHear: a stacked autoencoder whose storeys are pretrained as restricted Boltzmann machines, one after another."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.blocks.precision import full_precision
from models.generation.cells import cut, joined
from models.generation.coded import Coded, Search
from models.generation.constraints import Constraint, Given, total
from models.generation.frame_spec import FrameBatch, FrameSpec

# One storey of a stack: a restricted Boltzmann machine while it is trained by itself, then a step of encoder and decoder.


class Storey(nn.Module):
    """Sigmoid units above others, in both directions through the same weights, or through the decoder's own (untied).

    As a restricted Boltzmann machine it has the energy -vW'h - av - bh (Hinton, Osindero and Teh 2006).

    visible, hidden: units below and above
    """

    def __init__(self, visible: int, hidden: int, tied: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(hidden, visible))
        self.above = nn.Parameter(torch.zeros(hidden))
        self.below = nn.Parameter(torch.zeros(visible))
        # Glorot and Bengio 2010, for sigmoid units.
        nn.init.xavier_uniform_(self.weight, gain=4)
        self.register_parameter("back", None if tied else nn.Parameter(self.weight.detach().clone()))

    def up(self, visible: Tensor) -> Tensor:
        """Logits (..., hidden)."""
        return F.linear(visible, self.weight, self.above)

    def down(self, hidden: Tensor) -> Tensor:
        """Logits (..., visible)."""
        return F.linear(hidden, (self.weight if self.back is None else self.back).t(), self.below)

    def unroll(self) -> None:
        """Let a decoder of its own begin with the weights that were pretrained."""
        if self.back is not None:
            with torch.no_grad():
                self.back.copy_(self.weight)

    def free_energy(self, visible: Tensor) -> Tensor:
        """(rows,) in float32: minus the logarithm of the unnormalised probability of visible units (rows, visible)."""
        with full_precision(visible):
            visible = visible.float()
            return -(visible @ self.below) - F.softplus(self.up(visible)).sum(-1)

    def contrast(self, visible: Tensor, chances: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """A loss whose gradient is that of one step of contrastive divergence (Hinton 2002), and the step's squared error.

        visible (rows, visible) holds probabilities or states; chances makes probabilities of their logits. The hidden units
        are drawn by torch's own generator, the visible ones again are left as probabilities.
        """
        with torch.no_grad():
            hidden = self.up(visible).float().sigmoid()
            hidden = (torch.rand_like(hidden) < hidden).to(hidden.dtype)
            again = chances(F.linear(hidden, self.weight.t(), self.below))
        loss = (self.free_energy(visible) - self.free_energy(again)).mean()
        return loss, (again - visible).square().sum(-1).mean()

    def own(self) -> list[nn.Parameter]:
        """Parameters of the machine: all but a decoder's own weights."""
        return [self.weight, self.above, self.below]


class StackedAutoencoder(Coded):
    """Sigmoid units in ever narrower layers down to a code, and back: DeepHear (Sun 2015), melody and counterpoint.

    The published net reads 4 bars of ragtime as zeros and ones, has 1024, 256 and 64 units (the survey adds 16), tied weights,
    each layer pretrained by CD-1 with rate 0.01, then trained on the squared error with the same rate.

    Calls of `loss` in training are counted in the checkpoint: the first `pretrain_steps` train the lowest storey as a restricted
    Boltzmann machine, the next the one above, and so on; all further ones train everything. Parameters out of turn are `idle`.
    The code is the input of the topmost sigmoid units. Its mean and covariance in training, from which random codes are drawn,
    are running means once all storeys are pretrained; with several ranks those of the first.
    There is no likelihood; `surrogate` says what the reconstruction costs.

    Args:
        form: of the frames
        window: frames that are read and written at once
        widths: units of the layers, from the lowest
        bottleneck: units of the code above them; None: the last of `widths` is the code
        tied: whether encoder and decoder share their weights; else the decoder's begin with the pretrained ones
        pretrain_steps: of each storey
        objective: what is minimised after that: squared error or nats, summed over a window
        constraints: further costs of the music that is sought, of the first plane of a roll; each sees one window
        interpolation: pieces on the way from one to another, both included
        way: of codes from one to the other
        search: for the code of given cells

    Raises:
        ValueError: constraints for frames that are no roll.
    """

    likelihood = "none"

    def __init__(
        self,
        form: FrameSpec,
        window: int = 64,
        widths: Sequence[int] = (1024, 256, 64),
        bottleneck: int | None = 16,
        tied: bool = True,
        pretrain_steps: int = 200,
        objective: Literal["mse", "nats"] = "mse",
        constraints: list[Constraint] | None = None,
        interpolation: int = 7,
        way: Literal["linear", "slerp"] = "linear",
        search: Search | None = None,
    ) -> None:
        super().__init__(form, window, interpolation, way, search)
        if constraints and form.kind != "binary":
            raise ValueError("constraints judge piano rolls, and this view has categories: leave them out")
        sizes = [window * self.cells.width, *widths, *([] if bottleneck is None else [bottleneck])]
        self.storeys = nn.ModuleList(Storey(below, above, tied) for below, above in pairwise(sizes))
        self.constraints = nn.ModuleList(constraints or [])
        self.pretrain_steps, self.objective = pretrain_steps, objective
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(sizes[-1]))
        self.register_buffer("square", torch.eye(sizes[-1]))

    @torch.no_grad()
    def prepare(self, batches: Iterable[FrameBatch]) -> None:
        """Begin where nothing but the frequency of each cell is known: silence is most of a roll, and slow to learn."""
        self.storeys[0].below.copy_(self.cells.habit(batches).repeat(self.window))

    @property
    def turn(self) -> int | None:
        """Which storey is trained by itself at the last counted step, the first where none was; None: everything is."""
        storey = max(int(self.step) - 1, 0) // self.pretrain_steps if self.pretrain_steps else len(self.storeys)
        return storey if storey < len(self.storeys) else None

    def idle(self) -> list[nn.Parameter]:
        """All parameters but those of the storey whose turn it is."""
        if self.turn is None:
            return []
        own = {id(parameter) for parameter in self.storeys[self.turn].own()}
        return [parameter for parameter in self.parameters() if id(parameter) not in own]

    def loss(self, batch: FrameBatch) -> dict[str, Tensor]:
        """What is minimised at this step, as `loss`, and the squared error of a window, summed over the units below."""
        if self.training:
            self.step += 1
        frames, valid = cut(batch.frames, self.window), cut(batch.valid, self.window)
        there = valid.any(1)
        frames, valid = frames[there], valid[there]
        loss, error = self._reconstruct(frames, valid) if self.turn is None else self._pretrain(frames, valid, self.turn)
        # Every parameter takes part, or several ranks would wait for the gradients of those out of turn.
        return {"loss": loss + 0.0 * sum(parameter.sum() for parameter in self.parameters()), "squared_error": error.detach()}

    def _pretrain(self, frames: Tensor, valid: Tensor, turn: int) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            visible = (self.cells.read(frames) * valid[..., None]).flatten(1)
            for storey in self.storeys[:turn]:
                visible = storey.up(visible).float().sigmoid()

        def chances(logits: Tensor) -> Tensor:
            if turn:
                return logits.float().sigmoid()
            return (self.cells.chances(logits.unflatten(1, (self.window, -1))) * valid[..., None]).flatten(1)

        return self.storeys[turn].contrast(visible, chances)

    def _reconstruct(self, frames: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        trained = int(self.step) - len(self.storeys) * self.pretrain_steps
        if self.training and trained == 1:
            for storey in self.storeys:
                storey.unroll()
        cells = self.cells.read(frames)
        code = self.code(cells, valid)
        if self.training:
            self._measure(code.detach().float(), trained)
        logits = self.decoded(code)
        error = ((self.cells.chances(logits) - cells).square().sum(-1) * valid).sum(1).mean()
        nats = (self.cells.nats(logits, frames).sum(-1) * valid).sum(1).mean()
        return (error if self.objective == "mse" else nats), error

    @torch.no_grad()
    def _measure(self, code: Tensor, trained: int) -> None:
        """Running mean and second moment of the code, over all steps, and over about a hundred once there are so many."""
        share = 1 / min(trained, 100)
        with full_precision(code):
            self.mean.lerp_(code.mean(0), share)
            self.square.lerp_(code.t() @ code / len(code), share)

    def surrogate(self, batch: FrameBatch) -> Tensor:
        """Nats (batch, frames) of each frame given the code of its own window: what the reconstruction costs; 0 where padded."""
        cells, valid = cut(self.cells.read(batch.frames), self.window), cut(batch.valid, self.window)
        logits = joined(self.decoded(self.code(cells, valid)), batch.frames.shape[1])
        return torch.where(batch.valid, self.cells.nats(logits, batch.frames).sum(-1), 0.0)

    def code(self, cells: Tensor, valid: Tensor) -> Tensor:
        """Code (rows, code) of windows of cells (rows, window, width); frames that are not `valid` are empty."""
        x = (cells * valid[..., None]).flatten(1)
        for storey in self.storeys[:-1]:
            x = storey.up(x).sigmoid()
        return self.storeys[-1].up(x)

    def decoded(self, code: Tensor) -> Tensor:
        """Logits (rows, window, width) of codes (rows, code)."""
        logits = code
        for storey in reversed(self.storeys):
            logits = storey.down(logits.sigmoid())
        return logits.unflatten(1, (self.window, -1))

    def random_code(self, rows: int, generator: torch.Generator) -> Tensor:
        """Codes (rows, code) of a normal distribution with the mean and covariance of those in training."""
        spread, axes = torch.linalg.eigh(self.square - self.mean[:, None] * self.mean)
        noise = torch.randn(rows, len(self.mean), generator=generator, device=self.mean.device)
        return self.mean + noise * spread.clamp(min=0).sqrt() @ axes.t()

    def misfit(self, code: Tensor, values: Tensor, fixed: Tensor) -> Tensor:
        """Squared error (rows,) of the given cells, and the costs of the constraints."""
        roll = self.cells.chances(self.decoded(code))
        sounding = roll[..., : self.cells.width // self.form.planes]
        return Given(self.cells.read(values), self.cells.spread(fixed))(roll) + total(self.constraints, sounding)

    @property
    def seeks(self) -> bool:
        """Constraints are to be met even where no cell is given."""
        return len(self.constraints) > 0
