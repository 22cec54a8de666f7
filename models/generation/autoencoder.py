"""DeepHear (Sun 2015): stacked autoencoder of windows, pretrained layer by layer as restricted Boltzmann machines."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.blocks.precision import full_precision
from models.generation.cells import cut, joined
from models.generation.coded import Coded, Search
from models.generation.constraints import Constraint, FixedCells, total
from models.generation.frame_spec import FrameBatch, FrameSpec


class RBMLayer(nn.Module):
    """Layer of sigmoid units of encoder and decoder, with shared (tied) or separate weights.

    As a restricted Boltzmann machine it has the energy -vW'h - av - bh (Hinton, Osindero and Teh 2006).

    visible, hidden: number of units below and above
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
        """Initialise separate decoder weights by the pretrained ones."""
        if self.back is not None:
            with torch.no_grad():
                self.back.copy_(self.weight)

    def free_energy(self, visible: Tensor) -> Tensor:
        """Free energy (rows,) float32 of visible units (rows, visible): negative log of the unnormalised probability."""
        with full_precision(visible):
            visible = visible.float()
            return -(visible @ self.below) - F.softplus(self.up(visible)).sum(-1)

    def contrast(self, visible: Tensor, chances: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Contrastive divergence with one step (CD-1, Hinton 2002) as a loss, and the squared error of the reconstruction.

        visible (rows, visible): probabilities or states; chances: logits -> probabilities. Hidden units are drawn by
        torch's global generator, reconstructed visible units are probabilities.
        """
        with torch.no_grad():
            hidden = self.up(visible).float().sigmoid()
            hidden = (torch.rand_like(hidden) < hidden).to(hidden.dtype)
            again = chances(F.linear(hidden, self.weight.t(), self.below))
        loss = (self.free_energy(visible) - self.free_energy(again)).mean()
        return loss, (again - visible).square().sum(-1).mean()

    def own(self) -> list[nn.Parameter]:
        """Parameters of the machine: all but separate decoder weights."""
        return [self.weight, self.above, self.below]


class StackedAutoencoder(Coded):
    """Stacked autoencoder of sigmoid units: DeepHear_M and DeepHear_C (Sun 2015), melody and counterpoint.

    The published network reads 4 bars of ragtime as zeros and ones, has 1024, 256 and 64 units (the survey adds 16) and tied
    weights; each layer is pretrained by CD-1 with rate 0.01, then all on the squared error with the same rate.

    Training steps are counted in the checkpoint: `pretrain_steps` each train one layer as a restricted Boltzmann machine, from
    the lowest up, then all layers are trained; the other parameters are `idle` meanwhile. The code is the input of the topmost
    sigmoid units. Random codes are drawn from the running mean and covariance of codes in training after the pretraining
    (of the first rank). There is no likelihood; `surrogate` is the cost of the reconstruction.

    Args:
        form: frame specification
        window: frames per window
        widths: units of the layers, from the lowest
        bottleneck: units of the code above them; None: the last of `widths` is the code
        tied: whether encoder and decoder share weights; otherwise the decoder starts from the pretrained weights
        pretrain_steps: steps per layer
        objective: loss after the pretraining: squared error or nats, summed over a window
        constraints: costs of generated music, on the first plane of a roll, window by window
        interpolation: pieces from the first to the last, both included
        way: interpolation of codes
        search: search for the code of fixed cells

    Raises:
        ValueError: constraints for frames that are not piano rolls.
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
            raise ValueError("constraints need piano rolls, and this view has categories: leave them out")
        sizes = [window * self.cells.width, *widths, *([] if bottleneck is None else [bottleneck])]
        self.layers = nn.ModuleList(RBMLayer(below, above, tied) for below, above in pairwise(sizes))
        self.constraints = nn.ModuleList(constraints or [])
        self.pretrain_steps, self.objective = pretrain_steps, objective
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(sizes[-1]))
        self.register_buffer("square", torch.eye(sizes[-1]))

    @torch.no_grad()
    def prepare(self, batches: Iterable[FrameBatch]) -> None:
        """Initialise the output bias by the frequency of each cell: most of a roll is silence, which is slow to learn."""
        self.layers[0].below.copy_(self.cells.initial_bias(batches).repeat(self.window))

    @property
    def pretrained_layer(self) -> int | None:
        """Index of the layer that is pretrained at the last counted step; None after the pretraining."""
        layer = max(int(self.step) - 1, 0) // self.pretrain_steps if self.pretrain_steps else len(self.layers)
        return layer if layer < len(self.layers) else None

    def idle(self) -> list[nn.Parameter]:
        """All parameters but those of the layer that is pretrained."""
        if self.pretrained_layer is None:
            return []
        own = {id(parameter) for parameter in self.layers[self.pretrained_layer].own()}
        return [parameter for parameter in self.parameters() if id(parameter) not in own]

    def loss(self, batch: FrameBatch) -> dict[str, Tensor]:
        """Loss of this step, and the squared error of a window, summed over units."""
        if self.training:
            self.step += 1
        frames, valid = cut(batch.frames, self.window), cut(batch.valid, self.window)
        nonempty = valid.any(1)
        frames, valid = frames[nonempty], valid[nonempty]
        loss, error = (
            self._reconstruct(frames, valid)
            if self.pretrained_layer is None
            else self._pretrain(frames, valid, self.pretrained_layer)
        )
        # Every parameter takes part, or several ranks would wait for the gradients of idle ones.
        return {"loss": loss + 0.0 * sum(parameter.sum() for parameter in self.parameters()), "squared_error": error.detach()}

    def _pretrain(self, frames: Tensor, valid: Tensor, number: int) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            visible = (self.cells.read(frames) * valid[..., None]).flatten(1)
            for layer in self.layers[:number]:
                visible = layer.up(visible).float().sigmoid()

        def chances(logits: Tensor) -> Tensor:
            if number:
                return logits.float().sigmoid()
            return (self.cells.chances(logits.unflatten(1, (self.window, -1))) * valid[..., None]).flatten(1)

        return self.layers[number].contrast(visible, chances)

    def _reconstruct(self, frames: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        trained = int(self.step) - len(self.layers) * self.pretrain_steps
        if self.training and trained == 1:
            for layer in self.layers:
                layer.unroll()
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
        """Update running mean and second moment of the code, over the last 100 steps or so."""
        share = 1 / min(trained, 100)
        with full_precision(code):
            self.mean.lerp_(code.mean(0), share)
            self.square.lerp_(code.t() @ code / len(code), share)

    def surrogate(self, batch: FrameBatch) -> Tensor:
        """Reconstruction cost in nats (batch, frames) of each frame given the code of its own window; 0 if padded."""
        cells, valid = cut(self.cells.read(batch.frames), self.window), cut(batch.valid, self.window)
        logits = joined(self.decoded(self.code(cells, valid)), batch.frames.shape[1])
        return torch.where(batch.valid, self.cells.nats(logits, batch.frames).sum(-1), 0.0)

    def code(self, cells: Tensor, valid: Tensor) -> Tensor:
        """Code (rows, code) of windows of cells (rows, window, width); frames outside `valid` are set to 0."""
        x = (cells * valid[..., None]).flatten(1)
        for layer in self.layers[:-1]:
            x = layer.up(x).sigmoid()
        return self.layers[-1].up(x)

    def decoded(self, code: Tensor) -> Tensor:
        """Logits (rows, window, width) of codes (rows, code)."""
        logits = code
        for layer in reversed(self.layers):
            logits = layer.down(logits.sigmoid())
        return logits.unflatten(1, (self.window, -1))

    def random_code(self, rows: int, generator: torch.Generator) -> Tensor:
        """Codes (rows, code) from a normal distribution with the mean and covariance of codes in training."""
        spread, axes = torch.linalg.eigh(self.square - self.mean[:, None] * self.mean)
        noise = torch.randn(rows, len(self.mean), generator=generator, device=self.mean.device)
        return self.mean + noise * spread.clamp(min=0).sqrt() @ axes.t()

    def misfit(self, code: Tensor, values: Tensor, fixed: Tensor) -> Tensor:
        """Squared error of the fixed cells plus the costs of the constraints, (rows,)."""
        roll = self.cells.chances(self.decoded(code))
        sounding = roll[..., : self.cells.width // self.form.planes]
        return FixedCells(self.cells.read(values), self.cells.spread(fixed))(roll) + total(self.constraints, sounding)

    @property
    def seeks(self) -> bool:
        """True if codes are optimised even without fixed cells: with constraints."""
        return len(self.constraints) > 0
