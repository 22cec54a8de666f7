"""Heads of binary frames: independent Bernoulli columns, NADE, and conditional RBM."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.blocks.precision import full_precision
from models.generation.frame_spec import FrameSpec
from models.generation.heads.head import Head
from models.generation.rbm import Boltzmann, LogEstimate, ais, block_gibbs, contrast
from models.generation.sampling import Sampling, chances, flip


class BernoulliHead(Head):
    """Independent Bernoulli columns.

    parts: (columns, width): the first `columns` columns read only the first `width` features of h and the other columns
        only the others, for chords and melody of `GroupedCore`; None: every column reads all of h
    """

    def __init__(self, width: int, form: FrameSpec, parts: tuple[int, int] | None = None) -> None:
        super().__init__(width, form)
        if form.kind != "binary":
            raise ValueError(f"BernoulliHead needs a binary view, got {form.kind}: use SoftmaxHead or VoiceHead")
        self.out = nn.Linear(width, form.columns)
        mask = torch.ones(form.columns, width)
        if parts is not None:
            columns, units = parts
            mask[:columns, units:] = mask[columns:, :units] = 0
        self.register_buffer("mask", mask, persistent=False)

    def logits(self, h: Tensor) -> Tensor:
        """Logits (..., columns) of hidden states (..., width)."""
        return F.linear(h, self.out.weight * self.mask, self.out.bias).float()

    def nll(self, h: Tensor, y: Tensor) -> Tensor:
        """Nats (...,) of frames y (..., columns) given h (..., width)."""
        return F.binary_cross_entropy_with_logits(self.logits(h), y.float(), reduction="none").sum(-1)

    def guess(self, h: Tensor, y: Tensor) -> Tensor:
        return (self.logits(h) > 0).to(y.dtype)

    def sample(
        self,
        h: Tensor,
        values: Tensor,
        fixed: Tensor | None,
        sampling: Sampling,
        generator: torch.Generator,
        allowed: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Hidden states (rows, width) -> frames (rows, columns) in {0, 1}."""
        logits = self.logits(h)
        frame = flip(logits, sampling, generator)
        if fixed is None:
            return frame, logits.new_zeros(len(h))
        cost = F.binary_cross_entropy_with_logits(logits, values.float(), reduction="none")
        return torch.where(fixed, values, frame), -(cost * fixed).sum(-1)

    @torch.no_grad()
    def prepare(self, counts: Tensor) -> None:
        self.out.bias.copy_(log_odds(counts))


def log_odds(counts: Tensor) -> Tensor:
    """Log-odds (columns,) of counts (columns, 2) of off and on, with add-1/2 smoothing."""
    off, on = (counts.double() + 0.5).unbind(-1)
    return (on / off).log()


class NADEHead(Head):
    """Neural autoregressive distribution estimator with biases from h (Boulanger-Lewandowski et al. 2012, section 4.3).

    p(v_i | v_<i) = sigmoid(b_i + V_i sigmoid(c + W_<i v_<i)), b and c affine in h (Larochelle and Murray 2011). Exact.
    Columns are in order of pitch, lowest first. Hidden units change only at notes, so a frame of k notes has k + 1 states:
    likelihoods need no loop, and sampling loops over the notes of a frame.
    """

    def __init__(self, width: int, form: FrameSpec, hidden: int = 128) -> None:
        super().__init__(width, form)
        if form.kind != "binary":
            raise ValueError(f"NADEHead needs a binary view, got {form.kind}: use VoiceHead")
        self.visible = nn.Linear(width, form.columns)
        self.hidden = nn.Linear(width, hidden)
        self.into = nn.Parameter(torch.randn(form.columns, hidden) * hidden**-0.5)
        self.out = nn.Parameter(torch.randn(form.columns, hidden) * 0.01)

    def nll(self, h: Tensor, y: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(self.logits(h, y), y.float(), reduction="none").sum(-1)

    def guess(self, h: Tensor, y: Tensor) -> Tensor:
        return (self.logits(h, y) > 0).to(y.dtype)

    def logits(self, h: Tensor, y: Tensor) -> Tensor:
        """Logits of every column given the previous ones: (..., width), (..., columns) -> (..., columns) float32."""
        with full_precision(h):
            return self._logits(h.float().flatten(0, -2), y.float().flatten(0, -2)).view(y.shape)

    def _logits(self, h: Tensor, y: Tensor) -> Tensor:
        count = y.sum(-1, keepdim=True).long()
        exported = torch.compiler.is_exporting()  # sizes must not depend on values then
        most = y.shape[-1] if exported else int(count.max()) if len(y) else 0
        notes = torch.sort(y, dim=-1, descending=True, stable=True).indices[
            :, :most
        ]  # ascending pitches, then columns that are off
        sounding = torch.arange(most, device=y.device) < count
        added = (self.into[notes] * sounding[..., None]).cumsum(1)
        states = self.hidden(h)[:, None] + F.pad(added, (0, 0, 1, 0))
        of_state = states.sigmoid() @ self.out.T  # (n, notes + 1, columns)
        below = (y.cumsum(-1) - y).long()
        return self.visible(h) + of_state.gather(1, below[:, None])[:, 0]

    def sample(
        self,
        h: Tensor,
        values: Tensor,
        fixed: Tensor | None,
        sampling: Sampling,
        generator: torch.Generator,
        allowed: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Hidden states (rows, width) -> frames (rows, columns) in {0, 1}, column by column."""
        with full_precision(h):
            return self._sample(h.float(), values, fixed, sampling, generator)

    def _sample(
        self, h: Tensor, values: Tensor, fixed: Tensor | None, sampling: Sampling, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        bias, state = self.visible(h), self.hidden(h)
        chance = torch.rand(bias.shape, generator=generator, device=h.device)
        frame = torch.zeros_like(bias)
        column = torch.arange(bias.shape[-1], device=h.device)
        last = torch.full((len(h), 1), -1, device=h.device)
        while True:
            on = chance < chances(bias + state.sigmoid() @ self.out.T, sampling)
            on = on if fixed is None else torch.where(fixed, values > 0, on)
            # Columns above the next note are drawn again, with the same random numbers, once the hidden units include it.
            on = on & (column > last)
            more = on.any(-1, keepdim=True)
            if not more.any():
                break
            last = torch.where(more, on.float().argmax(-1, keepdim=True), len(column))
            note = last.clamp(max=len(column) - 1)
            frame = frame.scatter_add(-1, note, more.float())
            state = state + self.into[note[:, 0]] * more
        frame = frame if fixed is None else torch.where(fixed, values.to(frame.dtype), frame)
        if fixed is None:
            return frame, frame.new_zeros(len(h))
        cost = F.binary_cross_entropy_with_logits(self._logits(h, frame), frame, reduction="none")
        return frame, -(cost * fixed).sum(-1)

    @torch.no_grad()
    def prepare(self, counts: Tensor) -> None:
        self.visible.bias.copy_(log_odds(counts))


AT_ONCE = 2**15
"""Largest number of chains of annealed importance sampling per batch."""


class RBMHead(Head):
    """Conditional RBM of a binary frame, biases b + V h and c + U h (Boulanger-Lewandowski et al. 2012, equations 10, 11).

    Head of the RNN-RBM, trained by contrastive divergence, whose loss is no measure of likelihood or overfitting. Likelihoods
    are estimated by annealed importance sampling (`nll_with_error`), with a seed derived from the frames, so that estimates
    are reproducible.

    Args:
        width: features of h
        form: frame specification, binary
        hidden: number of hidden units
        cd: Gibbs steps of contrastive divergence
        gibbs: Gibbs steps per drawn frame, from an empty frame
        chains, temperatures: of annealed importance sampling; more are more exact and slower. On Bach's chorales 4 chains
            of 100 temperatures underestimate frames by 0.03 to 0.05 nats, of 400 by less than 0.025 (against 16 of 2000)
        weighing: temperatures for the weight of fixed cells, with one chain
        pretrain_steps: first training steps without h, which train the RBM alone
        seed: of the estimates

    Raises:
        ValueError: frames are not binary.
    """

    likelihood = "estimate"

    def __init__(
        self,
        width: int,
        form: FrameSpec,
        hidden: int = 150,
        cd: int = 15,
        gibbs: int = 25,
        chains: int = 4,
        temperatures: int = 200,
        weighing: int = 50,
        pretrain_steps: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(width, form)
        if form.kind != "binary":
            raise ValueError(f"RBMHead needs a binary view, got {form.kind}: use VoiceHead")
        self.cd, self.gibbs, self.weighing, self.seed = cd, gibbs, weighing, seed
        self.chains, self.temperatures, self.pretrain_steps = chains, temperatures, pretrain_steps
        self.weight = nn.Parameter(torch.randn(form.columns, hidden) * 0.01)
        self.visible, self.hidden = nn.Linear(width, form.columns), nn.Linear(width, hidden)
        for layer in (self.visible, self.hidden):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)
        self.register_buffer("base", torch.zeros(form.columns))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def machine(self, h: Tensor) -> Boltzmann:
        """The RBM of each h (rows, width), in float32."""
        return Boltzmann(self.weight.float(), self.visible(h.float()), self.hidden(h.float()))

    def loss(self, h: Tensor, y: Tensor, valid: Tensor) -> Tensor:
        """Contrastive divergence per cell; only its gradient is meaningful."""
        if self.training:
            self.step += 1
        with full_precision(h):
            h, y = h[valid].float(), y[valid].float()
            if self.training and self.step <= self.pretrain_steps:
                h = 0.0 * h  # it takes part, or several ranks would wait for gradients of the core
            difference, _ = contrast(self.machine(h), y, self.cd)
            return difference.sum() / max(len(y), 1) / self.form.columns

    def nll(self, h: Tensor, y: Tensor) -> Tensor:
        return self.nll_with_error(h, y).value

    @torch.no_grad()
    def nll_with_error(self, h: Tensor, y: Tensor) -> LogEstimate:
        """Nats (...,) of frames y (..., columns) given h (..., width), and their standard errors, without gradient."""
        generator = torch.Generator(h.device).manual_seed(self.seed + content(y))
        rows = max(AT_ONCE // self.chains, 1)
        parts = []
        with full_precision(h):
            for part_h, part_y in zip(h.flatten(0, -2).split(rows), y.flatten(0, -2).float().split(rows), strict=True):
                machine = self.machine(part_h)
                whole = ais(machine, self.base, self.chains, self.temperatures, generator)
                parts.append(LogEstimate(machine.free_energy(part_y) + whole.value, whole.error))
        return LogEstimate(*(torch.cat(part).view(h.shape[:-1]) for part in zip(*parts, strict=True)))

    def sample(
        self,
        h: Tensor,
        values: Tensor,
        fixed: Tensor | None,
        sampling: Sampling,
        generator: torch.Generator,
        allowed: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """See `Head.sample`; the log-weight is estimated by annealed importance sampling."""
        with full_precision(h):
            machine, empty = self.machine(h), torch.zeros_like(values, dtype=torch.float32)
            if fixed is None:
                return block_gibbs(machine, empty, None, self.gibbs, sampling, generator), empty.new_zeros(len(h))
            start = torch.where(fixed, values.float(), empty)
            frame = block_gibbs(machine, start, fixed, self.gibbs, sampling, generator)
            part = ais(machine, self.base, 1, self.weighing, generator, (start, fixed))
            whole = ais(machine, self.base, 1, self.weighing, generator)
            return frame, part.value - whole.value

    @torch.no_grad()
    def prepare(self, counts: Tensor) -> None:
        self.base.copy_(log_odds(counts))
        self.visible.bias.copy_(self.base)


def content(y: Tensor) -> int:
    """Hash of frames for the seed of estimates."""
    cells = y.flatten().long()
    return int((cells * torch.arange(1, len(cells) + 1, device=y.device)).sum())
