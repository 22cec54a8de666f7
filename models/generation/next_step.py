"""Next-step models: core and head -> likelihood of frames, sampling with fixed cells, and beam search."""

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from models.generation.cores import Core
from models.generation.cores.core import FrameEmbedding
from models.generation.frame_spec import FrameBatch, FrameSpec, SamplingRequest
from models.generation.generative_model import GenerativeModel, kept
from models.generation.heads import AutoregressiveHead, Head
from models.generation.sampling import Sampling, draw


class IterativeSampler:
    """State of frame-by-frame sampling, with several rows per piece after `expand`.

    out: (rows, frames, columns) frames sampled so far
    prefix: number of initial frames that are fixed as a whole
    later: whether any cell after the prefix is fixed
    """

    def __init__(self, net: "NextStep", request: SamplingRequest) -> None:
        self.net, self.request = net, request
        self.batch, self.frames, self.columns = request.values.shape
        self.values = torch.where(request.fixed, request.values, 0)
        self.fixed = request.fixed
        whole = request.fixed.all(-1).all(0)
        self.prefix = int(whole.int().cumprod(0).sum())
        self.has_fixed = request.fixed.any(-1).any(0).tolist()
        self.later = any(self.has_fixed[self.prefix :])
        self.context = net.context(request.conditions)
        self.state = net.core.start(self.batch)
        self.before = net.embed.first.expand(self.batch, -1)
        self.previous = torch.zeros_like(self.values[:, 0]) if self.frames else None
        self.out = self.values.clone()
        self.ends = net.form.end >= 0 and net.form.kind == "categories"
        if self.ends:
            self._look_for_ends(net.form.end)

    def _look_for_ends(self, end: int) -> None:
        """Prepare the frame after an end, the mask of ended rows, and the first frame of each row that may be an end."""
        device = self.out.device
        self.ending = torch.tensor([end, *[0] * (self.columns - 1)], device=device)
        self.done = torch.zeros(self.batch, dtype=torch.bool, device=device)
        music = self.fixed[..., 0] & (self.values[..., 0] != end)
        self.music = (music * torch.arange(1, self.frames + 1, device=device)).amax(-1) if self.frames else music.sum(-1)
        self.final = int(self.music.max()) if self.batch else 0

    def expand(self, times: int) -> None:
        """Continue each piece in `times` rows."""
        index = torch.arange(len(self.out), device=self.out.device).repeat_interleave(times)
        self.context, self.values, self.fixed = self.context[index], self.values[index], self.fixed[index]
        if self.ends:
            self.music = self.music[index]
        self.select(index)

    def select(self, index: Tensor) -> None:
        """Reorder rows within pieces: new row i continues row index[i]."""
        self.state = self.net.core.select(self.state, index)
        self.before, self.previous, self.out = self.before[index], self.previous[index], self.out[index]
        if self.ends:
            self.done = self.done[index]

    def hidden(self, frame: int) -> Tensor:
        """Hidden state (rows, width) of the core before a frame."""
        x = self.before
        if self.context.shape[-1]:
            x = torch.cat([x, self.context[:, frame].to(x.dtype)], -1)
        h, self.state = self.net.core.step(x, self.state)
        return h

    def allowed(self, frame: int) -> Tensor | None:
        """Allowed categories of column 0, (categories,) or (rows, categories): no end before fixed cells."""
        allowed = None if self.request.allowed is None else self.request.allowed[frame]
        if self.ends and frame < self.final:
            others = torch.arange(self.net.form.sizes[0], device=self.out.device) != self.net.form.end
            others = others | (self.music <= frame)[:, None]
            allowed = others if allowed is None else others & allowed
        return allowed

    def draw(self, frame: int) -> Tensor:
        """Sample one frame; returns the log-weights (rows,) of its fixed cells."""
        h = self.hidden(frame)
        if frame < self.prefix:
            self.write(frame, self.values[:, frame])
            return h.new_zeros(len(h))
        drawn, weight = self.net.head.sample(
            h,
            self.values[:, frame],
            self.fixed[:, frame] if self.has_fixed[frame] else None,
            self.request.sampling,
            self.request.generator,
            self.allowed(frame),
            **({"previous": self.previous} if self.net.head.previous else {}),
        )
        if self.ends:
            over = self.done[:, None] & ~self.fixed[:, frame]
            drawn, weight = torch.where(over, self.ending, drawn), weight * ~self.done
        self.write(frame, drawn)
        return weight

    def write(self, frame: int, drawn: Tensor) -> None:
        """Store a frame (rows, columns) and embed it."""
        self.out[:, frame] = drawn
        self.previous, self.before = drawn, self.net.embed(drawn)
        if self.ends:
            self.done = self.done | (drawn[:, 0] == self.net.form.end)

    def over(self, frame: int) -> bool:
        """True if all rows have ended before this frame; if so the remaining frames are filled."""
        if not self.ends or frame < self.final or not bool(self.done.all()):
            return False
        self.out[:, frame:] = torch.where(self.fixed[:, frame:], self.values[:, frame:], self.ending)
        return True


def iterate(net: "NextStep", request: SamplingRequest) -> Tensor:
    """Frames (batch, frames, columns) sampled one after the other, without look-ahead to fixed cells."""
    return finished(IterativeSampler(net, request))


def finished(sampler: IterativeSampler) -> Tensor:
    """All frames of a new sampler."""
    for frame in range(sampler.frames):
        if sampler.over(frame):
            break
        sampler.draw(frame)
    return sampler.out


def importance(net: "NextStep", request: SamplingRequest, particles: int = 16) -> Tensor:
    """Frames (batch, frames, columns) by sequential importance resampling (Gordon et al. 1993).

    Each piece is sampled as `particles` rows, weighted by the probability of the fixed cells (at temperature 1). Rows are
    resampled when their effective number falls below one half; one is drawn at the end. Equals `iterate` with one particle,
    at temperature 0, with only a fixed prefix, and for the uses free and continue, in which later fixed cells are at most
    the frame of a serial view.
    """
    sampler = IterativeSampler(net, request)
    if particles == 1 or request.sampling.greedy or not sampler.later or request.use in ("free", "continue"):
        return finished(sampler)
    for frame in range(sampler.prefix):
        sampler.draw(frame)
    sampler.expand(particles)
    weights = torch.zeros(sampler.batch, particles, device=request.values.device)
    for frame in range(sampler.prefix, sampler.frames):
        if sampler.over(frame):
            break
        weights = weights + sampler.draw(frame).view_as(weights)
        if sampler.has_fixed[frame]:
            weights = weights - weights.amax(-1, keepdim=True)
            weights = resampled(sampler, weights, request.generator)
    chosen = draw(weights, Sampling(), request.generator)
    return sampler.out.view(sampler.batch, particles, sampler.frames, sampler.columns)[torch.arange(sampler.batch), chosen]


def resampled(sampler: IterativeSampler, weights: Tensor, generator: torch.Generator) -> Tensor:
    """Resample pieces whose effective number of particles is below one half; new log-weights (batch, particles), 0 for them."""
    particles = weights.shape[-1]
    shares = weights.softmax(-1)
    low = shares.square().sum(-1).reciprocal() < particles / 2
    if not low.any():
        return weights
    index = systematic(shares, generator)
    own = torch.arange(particles, device=weights.device)
    index = torch.where(low[:, None], index, own)
    sampler.select((index + particles * torch.arange(len(index), device=index.device)[:, None]).flatten())
    return torch.where(low[:, None], 0.0, weights)


def systematic(shares: Tensor, generator: torch.Generator) -> Tensor:
    """Systematic resampling with one random number per row: indices of particles (batch, particles)."""
    particles = shares.shape[-1]
    start = torch.rand(len(shares), 1, generator=generator, device=shares.device)
    places = (start + torch.arange(particles, device=shares.device)) / particles
    return torch.searchsorted(shares.cumsum(-1), places).clamp(max=particles - 1)


def beam_search(net: "NextStep", request: SamplingRequest, width: int) -> Tensor:
    """Most likely frames (batch, frames, columns) by beam search with `width` hypotheses after each column.

    For an `AutoregressiveHead`. The request's sampling options and generator are ignored.
    """
    sampler = IterativeSampler(net, request)
    for frame in range(sampler.prefix):
        sampler.draw(frame)
    sampler.expand(width)
    scores = torch.full((sampler.batch, width), -torch.inf, device=request.values.device)
    scores[:, 0] = 0.0  # the others are copies so far
    for frame in range(sampler.prefix, sampler.frames):
        if sampler.over(frame):
            break
        scores = _extend(sampler, frame, scores)
    pieces = sampler.out.view(sampler.batch, width, sampler.frames, sampler.columns)
    return kept(request, pieces[torch.arange(sampler.batch), scores.argmax(-1)])


def _extend(sampler: IterativeSampler, frame: int, scores: Tensor) -> Tensor:
    """Extend hypotheses by one frame, column by column in the head's order; returns the new scores (batch, width)."""
    head, width = sampler.net.head, scores.shape[-1]
    base = width * torch.arange(len(scores), device=scores.device)[:, None]
    context = head.begin(sampler.hidden(frame))
    drawn = torch.zeros_like(sampler.values[:, frame])
    for position, column in enumerate(head.order):
        logits = head.logits(position, context)
        mask = _permitted(sampler, frame, column, logits)
        # After an end only its frames are allowed, and they cost nothing.
        cost = logits.log_softmax(-1).masked_fill(~mask, -torch.inf)
        if sampler.ends:
            cost = torch.where(sampler.done[:, None] & mask, 0.0, cost)
        every = (scores.flatten()[:, None] + cost).view(len(scores), -1)
        scores, chosen = every.topk(width, -1)
        parent = (base + chosen // logits.shape[-1]).flatten()
        category = (chosen % logits.shape[-1]).flatten()
        sampler.select(parent)
        context, drawn = context[parent], drawn[parent]
        drawn[:, column] = category
        context = head.update(position, context, category)
    sampler.write(frame, drawn)
    return scores


def _permitted(sampler: IterativeSampler, frame: int, column: int, logits: Tensor) -> Tensor:
    """Permitted categories (rows, categories) of a column: the fixed one, else the one after an end, else the allowed ones."""
    category = torch.arange(logits.shape[-1], device=logits.device)
    mask = torch.ones_like(logits, dtype=torch.bool)
    allowed = sampler.allowed(frame) if column == 0 else None
    mask = mask if allowed is None else mask & allowed
    if sampler.ends:
        mask = torch.where(sampler.done[:, None], category == sampler.ending[column], mask)
    return torch.where(sampler.fixed[:, frame, column, None], category == sampler.values[:, frame, column, None], mask)


class NextStep(GenerativeModel):
    """Autoregressive model of frames: a core over previous frames and conditions, and a head for the next frame.

    The input of the core at frame t is the embedding of frame t - 1 and the conditions of frames t to t + `ahead` (zeros
    past the end).

    embedding: size of the embedding of each column of categories; None: one-hot
    coded: add the PHCCCF code of the first column's pitch (`models.generation.cores.core`)
    dropout, input_dropout: dropout before the head and before the core
    particles: particles per piece if cells after the prefix are fixed; see `importance`
    beam: width of the beam search, which ignores the sampling options; 0: sampling
    """

    supports = frozenset({"free", "continue", "harmonise", "inpaint"})

    def __init__(
        self,
        form: FrameSpec,
        core: Callable[[int], Core],
        head: Callable[[int, FrameSpec], Head],
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
        if beam and not isinstance(self.head, AutoregressiveHead):
            raise ValueError(f"beam search needs a head of categories, got {type(self.head).__name__}: use beam 0")
        self.dropout, self.input_dropout = nn.Dropout(dropout), nn.Dropout(input_dropout)
        self.likelihood = self.head.likelihood

    def forward(self, batch: FrameBatch) -> Tensor:
        """Hidden states (batch, frames, width) before each frame."""
        context = self.context(batch.conditions * batch.valid[..., None])
        before = self.embed.before(batch.frames)
        return self.dropout(self.core(self.input_dropout(torch.cat([before, context.to(before.dtype)], -1))))

    def context(self, conditions: Tensor) -> Tensor:
        """Conditions (batch, frames, conditions) concatenated with those of the next `ahead` frames."""
        if not self.ahead:
            return conditions
        padded = F.pad(conditions, (0, 0, 0, self.ahead))
        return torch.cat([padded[:, start : start + conditions.shape[1]] for start in range(self.ahead + 1)], -1)

    def loss(self, batch: FrameBatch) -> dict[str, Tensor]:
        h = self(batch)
        return {"loss": self.head.loss(h, batch.frames, batch.valid, **self._previous(batch.frames))}

    def nll(self, batch: FrameBatch) -> Tensor:
        h, valid, previous = self(batch), batch.valid, self._previous(batch.frames)
        if torch.compiler.is_exporting():  # sizes must not depend on values then
            return self.head.nll(h, batch.frames, **previous).float() * valid
        # Estimates are computed per piece, so that they do not depend on batch or rank.
        alone = self.likelihood == "estimate"
        nats = [
            self.head.nll(h[row][mask], batch.frames[row][mask], **{name: x[row][mask] for name, x in previous.items()})
            for row, mask in (enumerate(valid) if alone else [(slice(None), valid)])
        ]
        return torch.zeros(valid.shape, device=h.device).masked_scatter(valid, torch.cat(nats).float())

    def guess(self, batch: FrameBatch) -> Tensor | None:
        if self.head.likelihood != "exact":
            return None
        return self.head.guess(self(batch), batch.frames)

    def _previous(self, frames: Tensor) -> dict[str, Tensor]:
        if not self.head.previous:
            return {}
        return {"previous": F.pad(frames[:, :-1], (0, 0, 1, 0))}

    def generate(self, request: SamplingRequest) -> Tensor:
        if request.use not in self.supports:
            raise ValueError(f"next-step models do not support {request.use}, expected one of {', '.join(sorted(self.supports))}")
        # Parametrized weights, as the TCN's, are computed once.
        with torch.inference_mode(), parametrize.cached():
            frames = beam_search(self, request, self.beam) if self.beam else importance(self, request, self.particles)
        return frames.clone()  # a normal tensor outside inference mode

    @torch.no_grad()
    def prepare(self, batches: Iterable[FrameBatch]) -> None:
        """Count the categories of each column for the initial biases of the head."""
        like = self.embed.first
        counts = torch.zeros(self.form.columns, max(self.form.sizes), dtype=torch.float64, device=like.device)
        for batch in batches:
            cells = batch.frames[batch.valid].long().T.to(like.device)
            counts.scatter_add_(1, cells, torch.ones_like(cells, dtype=counts.dtype))
        self.head.prepare(counts)
