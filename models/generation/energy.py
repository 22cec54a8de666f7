"""Restricted Boltzmann machine over independent frames or windows of a piano roll (batch, frames, columns)."""

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.blocks.precision import full_precision
from models.generation.cells import cut, fixed_values
from models.generation.frame_spec import FrameBatch, FrameSpec, SamplingRequest
from models.generation.generative_model import GenerativeModel, kept
from models.generation.heads.binary import log_odds
from models.generation.rbm import Boltzmann, LogEstimate, ais, block_gibbs, contrast

Fill = Callable[[Tensor, Tensor], Tensor]
"""Function of frames and fixed cells (batch, window, columns) -> completed frames."""


def slide(request: SamplingRequest, window: int, fill: Fill) -> Tensor:
    """Frames (batch, frames, columns) completed window by window, with a hop of half a window.

    Completed frames stay fixed, so that a window depends on previous frames and on fixed cells ahead. Padding to a whole
    window is free and removed.
    """
    frames, fixed = fixed_values(request).clone(), request.fixed.clone()
    length = frames.shape[1]
    missing = max(window - length, 0)
    frames, fixed = (F.pad(part, (0, 0, 0, missing)) for part in (frames, fixed))
    first = 0
    while True:
        here = slice(first, first + window)
        if not fixed[:, here].all():
            frames[:, here] = torch.where(fixed[:, here], frames[:, here], fill(frames[:, here], fixed[:, here]))
        if first + window >= length:
            return frames[:, :length]
        fixed[:, here] = True
        first = min(first + max(window // 2, 1), length - window)


class EnergyModel(GenerativeModel):
    """RBM over windows of a binary view, trained by contrastive divergence (Hinton 2002) or persistent chains (Tieleman 2008).

    Any cells may be fixed; the others are drawn by block Gibbs sampling. The likelihood is estimated by annealed importance
    sampling. The nats of a window are divided evenly among its frames; the last window is padded with silence, which costs too.

    Args:
        form: frame specification, binary
        window: frames per window; 1: independent frames, the survey's RBM
        hidden: number of hidden units
        cd: Gibbs steps per training step
        persistent: number of persistent chains; 0: chains start from the data
        gibbs: Gibbs steps per drawn window
        chains, temperatures: of annealed importance sampling
        seed: of the estimates

    Raises:
        ValueError: frames are not binary, or window < 1.
    """

    supports = frozenset({"free", "continue", "harmonise", "inpaint"})
    likelihood = "estimate"

    def __init__(
        self,
        form: FrameSpec,
        window: int = 16,
        hidden: int = 500,
        cd: int = 1,
        persistent: int = 0,
        gibbs: int = 200,
        chains: int = 100,
        temperatures: int = 1000,
        seed: int = 0,
    ) -> None:
        super().__init__(form)
        if form.kind != "binary" or window < 1:
            raise ValueError(f"EnergyModel needs a binary view and a window of 1 frame or more, got {form.kind} and {window}")
        self.window, self.cd, self.gibbs = window, cd, gibbs
        self.chains, self.temperatures, self.seed = chains, temperatures, seed
        units = window * form.columns
        self.weight = nn.Parameter(torch.randn(units, hidden) * 0.01)
        self.visible, self.hidden = nn.Parameter(torch.zeros(units)), nn.Parameter(torch.zeros(hidden))
        self.register_buffer("base", torch.zeros(units))
        self.register_buffer("fantasies", torch.zeros(persistent, units))
        self._partition: tuple[tuple, LogEstimate] | None = None

    def machine(self) -> Boltzmann:
        """The RBM in float32."""
        return Boltzmann(self.weight.float(), self.visible.float(), self.hidden.float())

    def prepare(self, batches: Iterable[FrameBatch]) -> None:
        """Initialise visible biases and the base distribution of annealed importance sampling by note frequencies."""
        counts = torch.zeros(len(self.base), 2, dtype=torch.float64, device=self.base.device)
        for batch in batches:
            rows = self._rows(batch)[0].to(self.base.device)
            counts[:, 1] += rows.sum(0)
            counts[:, 0] += len(rows) - rows.sum(0)
        with torch.no_grad():
            self.base.copy_(log_odds(counts))
            self.visible.copy_(self.base)
            self.fantasies.copy_((torch.rand_like(self.fantasies) < self.base.sigmoid()).float())

    def loss(self, batch: FrameBatch) -> dict[str, Tensor]:
        """Contrastive divergence per cell as `loss`; only its gradient is meaningful."""
        rows, _ = self._rows(batch)
        with full_precision(rows):
            start = self.fantasies if len(self.fantasies) else None
            difference, samples = contrast(self.machine(), rows, self.cd, start)
            if self.training and start is not None:
                self.fantasies.copy_(samples)
            return {"loss": difference.mean() / self.form.columns / self.window}

    def nll(self, batch: FrameBatch) -> Tensor:
        """See `GenerativeModel.nll`; windows are independent. `log_partition` has the error, equal for all windows."""
        rows, nonempty = self._rows(batch)
        with full_precision(rows):
            nats = self.machine().free_energy(rows) + self.log_partition().value
        valid = cut(batch.valid, self.window)
        shared = torch.zeros(valid.shape, device=rows.device)
        shared[nonempty] = (nats / valid[nonempty].sum(1)).unsqueeze(1) * valid[nonempty]
        return shared.view(len(batch.frames), -1)[:, : batch.frames.shape[1]]

    @torch.no_grad()
    def log_partition(self) -> LogEstimate:
        """Log partition function and its standard error in nats, both (1,), cached until parameters change."""
        now = (self.weight.device, *(parameter._version for parameter in self.parameters()))
        if self._partition is None or self._partition[0] != now:
            machine = self.machine()
            row_machine = Boltzmann(machine.weight, machine.visible.unsqueeze(0), machine.hidden.unsqueeze(0))
            generator = torch.Generator(self.weight.device).manual_seed(self.seed)
            with full_precision(self.weight):
                self._partition = now, ais(row_machine, self.base, self.chains, self.temperatures, generator)
        return self._partition[1]

    @torch.no_grad()
    def generate(self, request: SamplingRequest) -> Tensor:
        """See `GenerativeModel.generate`; windows overlap by half. Raises ValueError for an unsupported use."""
        if request.use not in self.supports:
            raise ValueError(f"EnergyModel does not support {request.use}, expected one of {', '.join(sorted(self.supports))}")
        machine, chance = self.machine(), self.base.sigmoid()
        greedy = request.sampling.greedy

        def fill(frames: Tensor, fixed: Tensor) -> Tensor:
            rows, still = frames.float().flatten(1), fixed.flatten(1)
            noise = torch.rand(rows.shape, generator=request.generator, device=rows.device)
            begin = torch.where(still, rows, chance.expand_as(rows) if greedy else (noise < chance).float())
            return block_gibbs(machine, begin, still, self.gibbs, request.sampling, request.generator).view(frames.shape)

        with full_precision(request.values):
            return kept(request, slide(request, self.window, fill).to(request.values.dtype))

    def _rows(self, batch: FrameBatch) -> tuple[Tensor, Tensor]:
        """Non-empty windows (rows, units) float32, padded frames silent, and their mask among all windows."""
        frames = cut(batch.frames.float() * batch.valid.unsqueeze(-1), self.window)
        nonempty = cut(batch.valid, self.window).any(1)
        return frames[nonempty].flatten(1), nonempty
