"""A restricted Boltzmann machine whose biases change with what came before: the head of the RNN-RBM."""

import torch
from torch import Tensor, nn

from models.generation.ais import Estimate, ais
from models.generation.form import Form
from models.generation.heads.bernoulli import log_odds
from models.generation.heads.head import Head
from models.generation.rbm import Boltzmann, block_gibbs, contrast
from models.generation.sampling import Sampling
from models.precision import full_precision

AT_ONCE = 2**15
"""Chains that annealed importance sampling runs at once."""


class RBMHead(Head):
    """Conditional RBM of a binary frame, biases b + V h and c + U h (Boulanger-Lewandowski et al. 2012, equations 10, 11).

    It learns by contrastive divergence, whose loss says nothing of the likelihood, nor of overfitting. Likelihoods are
    estimated by annealed importance sampling (`nll_with_error`), from a seed that is made of the frames, so that the same
    frames cost the same again.

    Args:
        width: of h
        form: of the frames, binary
        hidden: units
        cd: Gibbs steps of contrastive divergence
        gibbs: Gibbs steps for a frame that is drawn, from an empty frame
        chains, temperatures: of annealed importance sampling; the more, the surer and the slower. On Bach's chorales 4 chains
            of 100 temperatures make frames 0.03 to 0.05 nats too cheap, of 400 less than 0.025 (against 16 chains of 2000)
        weighing: temperatures for the weight of fixed cells, by one chain
        pretrain_steps: first calls of `loss` in training that do without h, so that the RBM learns by itself
        seed: of the estimates

    Raises:
        ValueError: frames that are not binary.
    """

    likelihood = "estimate"

    def __init__(
        self,
        width: int,
        form: Form,
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
            raise ValueError(f"RBMHead wants a binary view, this one has {form.kind}; VoiceHead fits it")
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
        """Contrastive divergence of a cell; only its gradient means anything."""
        if self.training:
            self.step += 1
        with full_precision(h):
            h, y = h[valid].float(), y[valid].float()
            if self.training and self.step <= self.pretrain_steps:
                h = 0.0 * h  # it takes part, or several ranks would wait for gradients of what gave it
            difference, _ = contrast(self.machine(h), y, self.cd)
            return difference.sum() / max(len(y), 1) / self.form.columns

    def nll(self, h: Tensor, y: Tensor) -> Tensor:
        return self.nll_with_error(h, y).value

    @torch.no_grad()
    def nll_with_error(self, h: Tensor, y: Tensor) -> Estimate:
        """Nats (...,) of frames y (..., columns) given h (..., width), and the standard error of each; no gradient."""
        generator = torch.Generator(h.device).manual_seed(self.seed + content(y))
        rows = max(AT_ONCE // self.chains, 1)
        parts = []
        with full_precision(h):
            for some_h, some_y in zip(h.flatten(0, -2).split(rows), y.flatten(0, -2).float().split(rows), strict=True):
                machine = self.machine(some_h)
                whole = ais(machine, self.base, self.chains, self.temperatures, generator)
                parts.append(Estimate(machine.free_energy(some_y) + whole.value, whole.error))
        return Estimate(*(torch.cat(part).view(h.shape[:-1]) for part in zip(*parts, strict=True)))

    def sample(
        self,
        h: Tensor,
        values: Tensor,
        fixed: Tensor | None,
        sampling: Sampling,
        generator: torch.Generator,
        allowed: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As `Head.sample`; the log-weight is an estimate by annealed importance sampling."""
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
    """A number that other frames hardly have too."""
    cells = y.flatten().long()
    return int((cells * torch.arange(1, len(cells) + 1, device=y.device)).sum())
