"""VRAE (Fabius and van Amersfoort 2014): variational recurrent autoencoder of windows of frames."""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

from models.generation.cells import cut, joined
from models.generation.coded import Coded, Search
from models.generation.frame_spec import FrameBatch, FrameSpec

KINDS = {"rnn": (nn.RNN, nn.RNNCell), "lstm": (nn.LSTM, nn.LSTMCell), "gru": (nn.GRU, nn.GRUCell)}
SETS = 64
"""Number of fixed sets of posterior points for the bound."""


class VRAE(Coded):
    """Variational recurrent autoencoder of independent windows.

    The encoder's last state gives mean and variance of z; z gives the decoder's initial state. The decoder reads its own
    probabilities of the previous frame, not the true one: given z, frames are independent. The published network has 500
    tanh units in both, z of 2 or 20, windows of 50 frames, and weight 0.01 of the divergence.

    `nll` is the negative evidence lower bound: the mean cost of each frame at `samples` antithetic pairs of posterior
    points, and the exact divergence, divided evenly among the frames of the window. The points depend on the content of the
    window only, so that batch and seed do not change the bound. The error of a window's bound is about 1 %, of the mean of
    many windows far less.

    Args:
        form: frame specification
        window: frames per window
        encoder, decoder: number of units
        latent: size of z
        kind: type of both recurrent networks
        kl: weight of the divergence from the prior; with 1 the loss is the bound
        ramp: steps in which that weight increases from 0
        samples: antithetic pairs of points for the bound
        interpolation: pieces from the first to the last, both included
        way: interpolation of codes
        search: search for the most likely z of fixed cells
    """

    likelihood = "bound"

    def __init__(
        self,
        form: FrameSpec,
        window: int = 64,
        encoder: int = 500,
        latent: int = 20,
        decoder: int = 500,
        kl: float = 0.01,
        kind: Literal["rnn", "lstm", "gru"] = "rnn",
        ramp: int = 0,
        samples: int = 8,
        interpolation: int = 7,
        way: Literal["linear", "slerp"] = "slerp",
        search: Search | None = None,
    ) -> None:
        super().__init__(form, window, interpolation, way, search)
        net, cell = KINDS[kind]
        self.encoder, self.moments = net(self.cells.width, encoder, batch_first=True), nn.Linear(encoder, 2 * latent)
        self.first, self.decoder = nn.Linear(latent, decoder), cell(self.cells.width, decoder)
        self.out = nn.Linear(decoder, self.cells.width)
        self.latent, self.kl, self.ramp = latent, kl, ramp
        # A separate generator: the bound is the same for every seed of a run.
        noise = torch.randn(SETS, samples, latent, generator=torch.Generator().manual_seed(0))
        self.register_buffer("noise", noise / noise.square().mean(1, keepdim=True).sqrt(), persistent=False)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def prepare(self, batches: Iterable[FrameBatch]) -> None:
        """Initialise the output bias by the frequency of each cell: most of a roll is silence, which is slow to learn."""
        self.out.bias.copy_(self.cells.initial_bias(batches))

    def posterior(self, cells: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance (rows, latent) float32 of z, given the valid frames of windows."""
        states, _ = self.encoder(cells * valid[..., None])
        last = (valid.sum(1) - 1).clamp(min=0)
        mean, log_variance = self.moments(states[torch.arange(len(last), device=last.device), last]).float().chunk(2, -1)
        # Keep the variance within the range of float32.
        return mean, log_variance.clamp(-15, 15)

    def code(self, cells: Tensor, valid: Tensor) -> Tensor:
        """Posterior mean (rows, latent)."""
        return self.posterior(cells, valid)[0]

    def decoded(self, code: Tensor) -> Tensor:
        """Logits (rows, window, width) of z (rows, latent)."""
        hidden = self.first(code).tanh()
        state = (hidden, torch.zeros_like(hidden)) if isinstance(self.decoder, nn.LSTMCell) else hidden
        previous, logits = code.new_zeros(len(code), self.cells.width), []
        for _ in range(self.window):
            state = self.decoder(previous, state)
            logits.append(self.out(state[0] if isinstance(state, tuple) else state))
            previous = self.cells.chances(logits[-1])
        return torch.stack(logits, 1)

    def random_code(self, rows: int, generator: torch.Generator) -> Tensor:
        """z (rows, latent) from the prior."""
        return torch.randn(rows, self.latent, generator=generator, device=self.noise.device)

    def loss(self, batch: FrameBatch) -> dict[str, Tensor]:
        """Reconstruction plus weighted divergence in nats per cell as `loss`; both terms in nats per frame."""
        if self.training:
            self.step += 1
        frames, valid = cut(batch.frames, self.window), cut(batch.valid, self.window)
        mean, log_variance = self.posterior(self.cells.read(frames), valid)
        z = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        count = valid.sum().clamp(min=1)
        nats = (self.cells.nats(self.decoded(z), frames).sum(-1) * valid).sum() / count
        divergence = (divergence_of(mean, log_variance) * valid.any(1)).sum() / count
        weight = self.kl * (min(1.0, int(self.step) / self.ramp) if self.ramp else 1.0)
        parts = {"reconstruction": nats.detach(), "divergence": divergence.detach()}
        return {"loss": (nats + weight * divergence) / self.form.columns, **parts}

    def nll(self, batch: FrameBatch) -> Tensor:
        """Nats (batch, frames) whose sum over a window is an upper bound of its cost; 0 if padded."""
        frames, valid = cut(batch.frames, self.window), cut(batch.valid, self.window)
        mean, log_variance = self.posterior(self.cells.read(frames), valid)
        spread = self._points(frames, valid) * (log_variance / 2).exp()
        points = torch.cat([mean + spread, mean - spread])
        nats = torch.stack([self.cells.nats(self.decoded(z), frames).sum(-1) for z in points]).mean(0)
        share = divergence_of(mean, log_variance) / valid.sum(1).clamp(min=1)
        return joined((nats + share[:, None]) * valid, batch.frames.shape[1])

    def _points(self, frames: Tensor, valid: Tensor) -> Tensor:
        """Posterior points (samples, rows, latent) in standard deviations, different per window to decorrelate errors."""
        content = (frames.long() * valid[..., None]).flatten(1)
        index = torch.arange(1, content.shape[1] + 1, device=content.device)
        return self.noise[(content * index).sum(1) % SETS].transpose(0, 1)

    def misfit(self, code: Tensor, values: Tensor, fixed: Tensor) -> Tensor:
        """Negative log p(fixed cells, z) (rows,), up to a constant."""
        nats = (self.cells.nats(self.decoded(code), values) * fixed).sum((1, 2))
        return nats + code.square().sum(-1) / 2


def divergence_of(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence (rows,) of diagonal normal distributions (rows, latent) from N(0, 1)."""
    return (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1) / 2
