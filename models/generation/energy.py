"""The restricted Boltzmann machine by itself: frames or windows of a piano roll that know nothing of one another."""

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.blocks.precision import full_precision
from models.generation.cells import cut, given
from models.generation.frame_spec import Ask, FrameBatch, FrameSpec
from models.generation.generative_model import GenerativeModel, kept
from models.generation.heads.binary import log_odds
from models.generation.rbm import Boltzmann, LogEstimate, ais, block_gibbs, contrast

# Block Gibbs sampling over music longer than a model's window: window after window, each knowing half of the one before.

Fill = Callable[[Tensor, Tensor], Tensor]
"""Frames (batch, window, columns) of given ones, and which cells of them are fixed."""


def slide(ask: Ask, window: int, fill: Fill) -> Tensor:
    """Frames (batch, frames, columns) as asked, window by window, half a window on each time.

    What was written stays, so that a window knows what lies before it, and of what lies ahead the cells that are fixed.
    Frames behind the end, where a window is longer than what is asked for, are free and thrown away.
    """
    frames, fixed = given(ask).clone(), ask.fixed.clone()
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
    sampling. A window's nats are shared out evenly over its frames; a last window is filled up with silence, which costs too.

    Args:
        form: of the frames, binary
        window: frames that are read and written at once; 1: frames by themselves, the survey's RBM
        hidden: units
        cd: Gibbs steps of a training step
        persistent: chains that go on from step to step; 0: chains begin at the data each time
        gibbs: Gibbs steps for a window that is drawn
        chains, temperatures: of annealed importance sampling
        seed: of the estimates

    Raises:
        ValueError: frames that are not binary, or a window of none.
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
            raise ValueError(f"an RBM wants a binary view and a window of 1 frame or more, not {form.kind} and {window}")
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
        """The visible biases, and the chains of annealed importance sampling, begin with how often each note sounds."""
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
        """Contrastive divergence of a cell, as `loss`; only its gradient means anything."""
        rows, _ = self._rows(batch)
        with full_precision(rows):
            start = self.fantasies if len(self.fantasies) else None
            difference, samples = contrast(self.machine(), rows, self.cd, start)
            if self.training and start is not None:
                self.fantasies.copy_(samples)
            return {"loss": difference.mean() / self.form.columns / self.window}

    def nll(self, batch: FrameBatch) -> Tensor:
        """As `GenerativeModel.nll` with independent windows; `log_partition` has the error, the same for all windows."""
        rows, there = self._rows(batch)
        with full_precision(rows):
            nats = self.machine().free_energy(rows) + self.log_partition().value
        valid = cut(batch.valid, self.window)
        shared = torch.zeros(valid.shape, device=rows.device)
        shared[there] = (nats / valid[there].sum(1)).unsqueeze(1) * valid[there]
        return shared.view(len(batch.frames), -1)[:, : batch.frames.shape[1]]

    @torch.no_grad()
    def log_partition(self) -> LogEstimate:
        """Logarithm of the partition function and its standard error, nats, both (1,); anew only when parameters changed."""
        now = (self.weight.device, *(parameter._version for parameter in self.parameters()))
        if self._partition is None or self._partition[0] != now:
            machine = self.machine()
            one = Boltzmann(machine.weight, machine.visible.unsqueeze(0), machine.hidden.unsqueeze(0))
            generator = torch.Generator(self.weight.device).manual_seed(self.seed)
            with full_precision(self.weight):
                self._partition = now, ais(one, self.base, self.chains, self.temperatures, generator)
        return self._partition[1]

    @torch.no_grad()
    def generate(self, ask: Ask) -> Tensor:
        """As `GenerativeModel.generate`, by windows that overlap by half. Raises ValueError where another use is asked for."""
        if ask.use not in self.supports:
            raise ValueError(f"an RBM cannot be asked to {ask.use}, but to {', '.join(sorted(self.supports))}")
        machine, chance = self.machine(), self.base.sigmoid()
        greedy = ask.sampling.temperature <= 0 or ask.sampling.top_k == 1

        def fill(frames: Tensor, fixed: Tensor) -> Tensor:
            rows, still = frames.float().flatten(1), fixed.flatten(1)
            noise = torch.rand(rows.shape, generator=ask.generator, device=rows.device)
            begin = torch.where(still, rows, chance.expand_as(rows) if greedy else (noise < chance).float())
            return block_gibbs(machine, begin, still, self.gibbs, ask.sampling, ask.generator).view(frames.shape)

        with full_precision(ask.values):
            return kept(ask, slide(ask, self.window, fill).to(ask.values.dtype))

    def _rows(self, batch: FrameBatch) -> tuple[Tensor, Tensor]:
        """Windows with any frame in them (rows, units) float32, padded frames silent, and which of all windows these are."""
        frames = cut(batch.frames.float() * batch.valid.unsqueeze(-1), self.window)
        there = cut(batch.valid, self.window).any(1)
        return frames[there].flatten(1), there
