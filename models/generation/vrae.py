"""VRAE: a recurrent encoder to a normal distribution, and a recurrent decoder that listens to itself."""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

from models.generation.cells import cut, joined
from models.generation.coded import Coded, Search
from models.generation.frame_spec import FrameBatch, FrameSpec

KINDS = {"rnn": (nn.RNN, nn.RNNCell), "lstm": (nn.LSTM, nn.LSTMCell), "gru": (nn.GRU, nn.GRUCell)}
SETS = 64
"""Sets of points at which bounds are measured."""


class VRAE(Coded):
    """Variational recurrent autoencoder (Fabius and van Amersfoort 2014) of windows, each by itself.

    The encoder's state behind the last frame gives mean and variance of z; z gives the decoder's first state, and the decoder
    reads the probabilities that it said of the frame before, nothing of the true one: given z, frames are independent. The
    published net has 500 tanh units in both, z of 2 or 20, windows of 50 frames, and weighs the divergence 0.01.

    `nll` is the evidence lower bound, negative: the mean cost of each frame at `samples` points of the posterior and as many
    opposite ones, and the divergence, which is exact, spread evenly over the frames of its window. The points are chosen by
    what stands in a window, so that neither batch nor seed changes the bound, and spread like the posterior. They are few: a
    window's bound is off by about 1 %, to either side, the mean of many windows by far less.

    Args:
        form: of the frames
        window: frames that are read and written at once
        encoder, decoder: units
        latent: numbers of z
        kind: of both recurrent nets
        kl: weight of the divergence from the prior; 1 makes the loss the bound
        ramp: steps in which that weight rises from 0
        samples: pairs of opposite points, for the bound
        interpolation: pieces on the way from one to another, both included
        way: of codes from one to the other
        search: for the z of given cells: the likeliest given them
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
        # A generator of its own: the bound is the same for every seed of a run.
        noise = torch.randn(SETS, samples, latent, generator=torch.Generator().manual_seed(0))
        self.register_buffer("noise", noise / noise.square().mean(1, keepdim=True).sqrt(), persistent=False)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def prepare(self, batches: Iterable[FrameBatch]) -> None:
        """Begin where nothing but the frequency of each cell is known: silence is most of a roll, and slow to learn."""
        self.out.bias.copy_(self.cells.habit(batches))

    def posterior(self, cells: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance (rows, latent) float32 of z, given the valid frames of windows."""
        states, _ = self.encoder(cells * valid[..., None])
        last = (valid.sum(1) - 1).clamp(min=0)
        mean, log_variance = self.moments(states[torch.arange(len(last), device=last.device), last]).float().chunk(2, -1)
        # A variance that leaves what float32 can hold would end the training.
        return mean, log_variance.clamp(-15, 15)

    def code(self, cells: Tensor, valid: Tensor) -> Tensor:
        """Posterior mean (rows, latent)."""
        return self.posterior(cells, valid)[0]

    def decoded(self, code: Tensor) -> Tensor:
        """Logits (rows, window, width) of z (rows, latent)."""
        hidden = self.first(code).tanh()
        state = (hidden, torch.zeros_like(hidden)) if isinstance(self.decoder, nn.LSTMCell) else hidden
        said, logits = code.new_zeros(len(code), self.cells.width), []
        for _ in range(self.window):
            state = self.decoder(said, state)
            logits.append(self.out(state[0] if isinstance(state, tuple) else state))
            said = self.cells.chances(logits[-1])
        return torch.stack(logits, 1)

    def random_code(self, rows: int, generator: torch.Generator) -> Tensor:
        """z (rows, latent) of the prior."""
        return torch.randn(rows, self.latent, generator=generator, device=self.noise.device)

    def loss(self, batch: FrameBatch) -> dict[str, Tensor]:
        """Reconstruction and weighted divergence in nats of a cell, as `loss`; both by themselves, in nats of a frame."""
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
        """Nats (batch, frames) whose sum over a window bounds its cost from above; 0 where padded."""
        frames, valid = cut(batch.frames, self.window), cut(batch.valid, self.window)
        mean, log_variance = self.posterior(self.cells.read(frames), valid)
        spread = self._points(frames, valid) * (log_variance / 2).exp()
        points = torch.cat([mean + spread, mean - spread])
        nats = torch.stack([self.cells.nats(self.decoded(z), frames).sum(-1) for z in points]).mean(0)
        share = divergence_of(mean, log_variance) / valid.sum(1).clamp(min=1)
        return joined((nats + share[:, None]) * valid, batch.frames.shape[1])

    def _points(self, frames: Tensor, valid: Tensor) -> Tensor:
        """Points (samples, rows, latent) of windows, in standard deviations: were all alike, so would the errors be."""
        content = (frames.long() * valid[..., None]).flatten(1)
        place = torch.arange(1, content.shape[1] + 1, device=content.device)
        return self.noise[(content * place).sum(1) % SETS].transpose(0, 1)

    def misfit(self, code: Tensor, values: Tensor, fixed: Tensor) -> Tensor:
        """Minus log p(given cells, z) (rows,), but for a constant."""
        nats = (self.cells.nats(self.decoded(code), values) * fixed).sum((1, 2))
        return nats + code.square().sum(-1) / 2


def divergence_of(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence (rows,) of normal distributions, independent in each number (rows, latent), from N(0, 1)."""
    return (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1) / 2
