"""Systems that write one frame after the other."""

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from models.generation.cores import Core
from models.generation.embedding import FrameEmbedding
from models.generation.family import Family
from models.generation.form import Ask, Form, Frames
from models.generation.heads import ChainHead, Head
from models.generation.strategies.beam import beam_search
from models.generation.strategies.importance import importance


class NextStep(Family):
    """A core that reads each frame's predecessor and conditions, and a head that says what the frame may be.

    What a core reads of frame t is the embedding of frame t - 1, then the conditions of frames t to t + `ahead`, which are
    known beforehand (zeros past the end).

    embedding: size of the embedding of each column of categories; None: one-hot
    coded: the first column's pitch is read as CONCERT's code too (`models.generation.phcccf`)
    dropout, input_dropout: of what the head reads and of what the core reads
    particles: pieces that are written side by side for one that is asked for, where cells beyond the beginning are fixed;
        see `strategies/importance.py`
    beam: the likeliest piece is sought with so many at a time, whatever the sampling; 0: pieces are drawn
    """

    supports = frozenset({"free", "continue", "harmonise", "inpaint"})

    def __init__(
        self,
        form: Form,
        core: Callable[[int], Core],
        head: Callable[[int, Form], Head],
        embedding: int | None = None,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        ahead: int = 0,
        particles: int = 16,
        beam: int = 0,
        coded: bool = False,
    ) -> None:
        super().__init__(form)
        if particles < 1 or ahead < 0 or beam < 0:
            raise ValueError(f"particles {particles}, ahead {ahead}, beam {beam}: expected at least 1, 0 and 0")
        self.ahead, self.particles, self.beam = ahead, particles, beam
        self.embed = FrameEmbedding(form, embedding, coded)
        self.core = core(self.embed.width + form.conditions * (1 + ahead))
        self.head = head(self.core.width, form)
        if beam and not isinstance(self.head, ChainHead):
            raise ValueError(f"beam search wants a head of categories, not {type(self.head).__name__}; use beam 0")
        self.dropout, self.input_dropout = nn.Dropout(dropout), nn.Dropout(input_dropout)
        self.likelihood = self.head.likelihood

    def forward(self, batch: Frames) -> Tensor:
        """What the core makes of the frames before each: (batch, frames, width)."""
        known = self.known(batch.conditions * batch.valid[..., None])
        before = self.embed.before(batch.frames)
        return self.dropout(self.core(self.input_dropout(torch.cat([before, known.to(before.dtype)], -1))))

    def known(self, conditions: Tensor) -> Tensor:
        """Conditions (batch, frames, conditions) of each frame and of those `ahead` of it, side by side."""
        if not self.ahead:
            return conditions
        padded = F.pad(conditions, (0, 0, 0, self.ahead))
        return torch.cat([padded[:, start : start + conditions.shape[1]] for start in range(self.ahead + 1)], -1)

    def loss(self, batch: Frames) -> dict[str, Tensor]:
        h = self(batch)
        return {"loss": self.head.loss(h, batch.frames, batch.valid, **self._previous(batch.frames))}

    def nll(self, batch: Frames) -> Tensor:
        h, valid, told = self(batch), batch.valid, self._previous(batch.frames)
        if torch.compiler.is_exporting():  # no size may then depend on what is valid
            return self.head.nll(h, batch.frames, **told).float() * valid
        # An estimate is drawn for each piece by itself, so that it is the same in any batch and on any rank.
        alone = self.likelihood == "estimate"
        nats = [
            self.head.nll(h[some][there], batch.frames[some][there], **{name: x[some][there] for name, x in told.items()})
            for some, there in (enumerate(valid) if alone else [(slice(None), valid)])
        ]
        return torch.zeros(valid.shape, device=h.device).masked_scatter(valid, torch.cat(nats).float())

    def guess(self, batch: Frames) -> Tensor | None:
        if self.head.likelihood != "exact":
            return None
        return self.head.guess(self(batch), batch.frames)

    def _previous(self, frames: Tensor) -> dict[str, Tensor]:
        if not self.head.previous:
            return {}
        return {"previous": F.pad(frames[:, :-1], (0, 0, 1, 0))}

    def generate(self, ask: Ask) -> Tensor:
        if ask.use not in self.supports:
            raise ValueError(f"a next-step system cannot {ask.use}: expected one of {', '.join(sorted(self.supports))}")
        # Weights that are made of others, as the TCN's, are made once.
        with torch.inference_mode(), parametrize.cached():
            frames = beam_search(self, ask, self.beam) if self.beam else importance(self, ask, self.particles)
        return frames.clone()  # one that may be written to

    @torch.no_grad()
    def prepare(self, batches: Iterable[Frames]) -> None:
        """Count what stands in each column, where the head's biases start."""
        like = self.embed.first
        counts = torch.zeros(self.form.columns, max(self.form.sizes), dtype=torch.float64, device=like.device)
        for batch in batches:
            seen = batch.frames[batch.valid].long().T.to(like.device)
            counts.scatter_add_(1, seen, torch.ones_like(seen, dtype=counts.dtype))
        self.head.prepare(counts)
