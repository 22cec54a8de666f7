"""Systems that write one frame after the other."""

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from models.generation.cores import Core
from models.generation.cores.core import FrameEmbedding
from models.generation.frame_spec import Ask, FrameBatch, FrameSpec
from models.generation.generative_model import GenerativeModel, kept
from models.generation.heads import ChainHead, Head
from models.generation.sampling import Sampling, draw

# Frame by frame: each is drawn given those before it, its fixed cells as they are.


class IterativeSampler:
    """Pieces as they are written, several rows for each one that is asked for if `expand` says so.

    out: (rows, frames, columns)
    prefix: frames from the beginning that are given as a whole
    later: whether any cell behind them is fixed
    """

    def __init__(self, net: "NextStep", ask: Ask) -> None:
        self.net, self.ask = net, ask
        self.batch, self.frames, self.columns = ask.values.shape
        self.values = torch.where(ask.fixed, ask.values, 0)
        self.fixed = ask.fixed
        whole = ask.fixed.all(-1).all(0)
        self.prefix = int(whole.int().cumprod(0).sum())
        self.some = ask.fixed.any(-1).any(0).tolist()
        self.later = any(self.some[self.prefix :])
        self.known = net.known(ask.conditions)
        self.state = net.core.start(self.batch)
        self.before = net.embed.first.expand(self.batch, -1)
        self.previous = torch.zeros_like(self.values[:, 0]) if self.frames else None
        self.out = self.values.clone()
        self.ends = net.form.end >= 0 and net.form.kind == "categories"
        if self.ends:
            self._look_for_ends(net.form.end)

    def _look_for_ends(self, end: int) -> None:
        """What stands at and behind an end, which rows have ended, and before which frame of each none may stand."""
        device = self.out.device
        self.ending = torch.tensor([end, *[0] * (self.columns - 1)], device=device)
        self.done = torch.zeros(self.batch, dtype=torch.bool, device=device)
        music = self.fixed[..., 0] & (self.values[..., 0] != end)
        self.music = (music * torch.arange(1, self.frames + 1, device=device)).amax(-1) if self.frames else music.sum(-1)
        self.final = int(self.music.max()) if self.batch else 0

    def expand(self, times: int) -> None:
        """Write each piece so many times from here on."""
        index = torch.arange(len(self.out), device=self.out.device).repeat_interleave(times)
        self.known, self.values, self.fixed = self.known[index], self.values[index], self.fixed[index]
        if self.ends:
            self.music = self.music[index]
        self.select(index)

    def select(self, index: Tensor) -> None:
        """Go on from other rows, of the same piece each: `index` says which row each one continues."""
        self.state = self.net.core.select(self.state, index)
        self.before, self.previous, self.out = self.before[index], self.previous[index], self.out[index]
        if self.ends:
            self.done = self.done[index]

    def heard(self, frame: int) -> Tensor:
        """What the core makes of everything before a frame: (rows, width)."""
        x = self.before
        if self.known.shape[-1]:
            x = torch.cat([x, self.known[:, frame].to(x.dtype)], -1)
        h, self.state = self.net.core.step(x, self.state)
        return h

    def allowed(self, frame: int) -> Tensor | None:
        """What may be drawn in column 0 of a frame, (categories,) or (rows, categories): no end before what is fixed."""
        allowed = None if self.ask.allowed is None else self.ask.allowed[frame]
        if self.ends and frame < self.final:
            others = torch.arange(self.net.form.sizes[0], device=self.out.device) != self.net.form.end
            others = others | (self.music <= frame)[:, None]
            allowed = others if allowed is None else others & allowed
        return allowed

    def draw(self, frame: int) -> Tensor:
        """Write one frame; the log-weights (rows,) of its fixed cells."""
        h = self.heard(frame)
        if frame < self.prefix:
            self.write(frame, self.values[:, frame])
            return h.new_zeros(len(h))
        drawn, weight = self.net.head.sample(
            h,
            self.values[:, frame],
            self.fixed[:, frame] if self.some[frame] else None,
            self.ask.sampling,
            self.ask.generator,
            self.allowed(frame),
            **({"previous": self.previous} if self.net.head.previous else {}),
        )
        if self.ends:
            over = self.done[:, None] & ~self.fixed[:, frame]
            drawn, weight = torch.where(over, self.ending, drawn), weight * ~self.done
        self.write(frame, drawn)
        return weight

    def write(self, frame: int, drawn: Tensor) -> None:
        """Put down a frame (rows, columns)."""
        self.out[:, frame] = drawn
        self.previous, self.before = drawn, self.net.embed(drawn)
        if self.ends:
            self.done = self.done | (drawn[:, 0] == self.net.form.end)

    def over(self, frame: int) -> bool:
        """Whether nothing but ends can come from this frame on; if so they are written."""
        if not self.ends or frame < self.final or not bool(self.done.all()):
            return False
        self.out[:, frame:] = torch.where(self.fixed[:, frame:], self.values[:, frame:], self.ending)
        return True


def iterate(net: "NextStep", ask: Ask) -> Tensor:
    """Frames (batch, frames, columns) drawn one after the other; what is fixed later is not looked ahead to."""
    return finished(IterativeSampler(net, ask))


def finished(writing: IterativeSampler) -> Tensor:
    """All frames of a writing that nothing has been written of yet."""
    for frame in range(writing.frames):
        if writing.over(frame):
            break
        writing.draw(frame)
    return writing.out


# Fixed cells that lie ahead: many pieces are written side by side, and those that they fit go on.


def importance(net: "NextStep", ask: Ask, particles: int = 16) -> Tensor:
    """Frames (batch, frames, columns) by sequential importance resampling (Gordon et al. 1993).

    Each piece is written `particles` times; the probability of what is fixed weighs them, at temperature 1 whatever the
    sampling. Where fewer than half of them count, those that fit are copied in place of the others; one is drawn at the end.
    With one particle, at temperature 0, or with nothing fixed but whole frames at the beginning this is `iterate`, and where
    the use is free or to continue, in which what is fixed later on is at most the frame of a serial view.
    """
    writing = IterativeSampler(net, ask)
    alike = ask.sampling.temperature <= 0 or ask.sampling.top_k == 1
    if particles == 1 or alike or not writing.later or ask.use in ("free", "continue"):
        return finished(writing)
    for frame in range(writing.prefix):
        writing.draw(frame)
    writing.expand(particles)
    weights = torch.zeros(writing.batch, particles, device=ask.values.device)
    for frame in range(writing.prefix, writing.frames):
        if writing.over(frame):
            break
        weights = weights + writing.draw(frame).view_as(weights)
        if writing.some[frame]:
            weights = weights - weights.amax(-1, keepdim=True)
            weights = resampled(writing, weights, ask.generator)
    chosen = draw(weights, Sampling(), ask.generator)
    return writing.out.view(writing.batch, particles, writing.frames, writing.columns)[torch.arange(writing.batch), chosen]


def resampled(writing: IterativeSampler, weights: Tensor, generator: torch.Generator) -> Tensor:
    """New log-weights (batch, particles): 0 where a piece's particles were drawn anew, its effective number below a half."""
    particles = weights.shape[-1]
    shares = weights.softmax(-1)
    low = shares.square().sum(-1).reciprocal() < particles / 2
    if not low.any():
        return weights
    index = systematic(shares, generator)
    own = torch.arange(particles, device=weights.device)
    index = torch.where(low[:, None], index, own)
    writing.select((index + particles * torch.arange(len(index), device=index.device)[:, None]).flatten())
    return torch.where(low[:, None], 0.0, weights)


def systematic(shares: Tensor, generator: torch.Generator) -> Tensor:
    """Particles (batch, particles) drawn with one random number a row: each as often as its share says, or once more."""
    particles = shares.shape[-1]
    start = torch.rand(len(shares), 1, generator=generator, device=shares.device)
    places = (start + torch.arange(particles, device=shares.device)) / particles
    return torch.searchsorted(shares.cumsum(-1), places).clamp(max=particles - 1)


# The likeliest piece, as far as a beam sees.


def beam_search(net: "NextStep", ask: Ask, width: int) -> Tensor:
    """Frames (batch, frames, columns) of the likeliest of `width` pieces that are kept after each column.

    For heads that are a `ChainHead`. `ask.sampling` and the generator do not matter.
    """
    writing = IterativeSampler(net, ask)
    for frame in range(writing.prefix):
        writing.draw(frame)
    writing.expand(width)
    scores = torch.full((writing.batch, width), -torch.inf, device=ask.values.device)
    scores[:, 0] = 0.0  # the others are the same so far
    for frame in range(writing.prefix, writing.frames):
        if writing.over(frame):
            break
        scores = _extend(writing, frame, scores)
    pieces = writing.out.view(writing.batch, width, writing.frames, writing.columns)
    return kept(ask, pieces[torch.arange(writing.batch), scores.argmax(-1)])


def _extend(writing: IterativeSampler, frame: int, scores: Tensor) -> Tensor:
    """Write one frame, column by column in the head's order; the new scores (batch, width)."""
    head, width = writing.net.head, scores.shape[-1]
    base = width * torch.arange(len(scores), device=scores.device)[:, None]
    known = head.begin(writing.heard(frame))
    drawn = torch.zeros_like(writing.values[:, frame])
    for place, column in enumerate(head.order):
        logits = head.logits(place, known)
        may = _may(writing, frame, column, logits)
        # Nothing is gained by ending twice: behind an end only its frames may stand, and they cost nothing.
        cost = logits.log_softmax(-1).masked_fill(~may, -torch.inf)
        if writing.ends:
            cost = torch.where(writing.done[:, None] & may, 0.0, cost)
        every = (scores.flatten()[:, None] + cost).view(len(scores), -1)
        scores, chosen = every.topk(width, -1)
        parent = (base + chosen // logits.shape[-1]).flatten()
        category = (chosen % logits.shape[-1]).flatten()
        writing.select(parent)
        known, drawn = known[parent], drawn[parent]
        drawn[:, column] = category
        known = head.told(place, known, category)
    writing.write(frame, drawn)
    return scores


def _may(writing: IterativeSampler, frame: int, column: int, logits: Tensor) -> Tensor:
    """What may stand in a column (rows, categories): what is fixed, else what follows an end, else what is allowed."""
    category = torch.arange(logits.shape[-1], device=logits.device)
    may = torch.ones_like(logits, dtype=torch.bool)
    allowed = writing.allowed(frame) if column == 0 else None
    may = may if allowed is None else may & allowed
    if writing.ends:
        may = torch.where(writing.done[:, None], category == writing.ending[column], may)
    return torch.where(writing.fixed[:, frame, column, None], category == writing.values[:, frame, column, None], may)


class NextStep(GenerativeModel):
    """A core that reads each frame's predecessor and conditions, and a head that says what the frame may be.

    What a core reads of frame t is the embedding of frame t - 1, then the conditions of frames t to t + `ahead`, which are
    known beforehand (zeros past the end).

    embedding: size of the embedding of each column of categories; None: one-hot
    coded: the first column's pitch is read as CONCERT's code too (`models.generation.cores.core`)
    dropout, input_dropout: of what the head reads and of what the core reads
    particles: pieces that are written side by side for one that is asked for, where cells beyond the beginning are fixed;
        see `strategies/importance.py`
    beam: the likeliest piece is sought with so many at a time, whatever the sampling; 0: pieces are drawn
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
        if beam and not isinstance(self.head, ChainHead):
            raise ValueError(f"beam search wants a head of categories, not {type(self.head).__name__}; use beam 0")
        self.dropout, self.input_dropout = nn.Dropout(dropout), nn.Dropout(input_dropout)
        self.likelihood = self.head.likelihood

    def forward(self, batch: FrameBatch) -> Tensor:
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

    def loss(self, batch: FrameBatch) -> dict[str, Tensor]:
        h = self(batch)
        return {"loss": self.head.loss(h, batch.frames, batch.valid, **self._previous(batch.frames))}

    def nll(self, batch: FrameBatch) -> Tensor:
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

    def guess(self, batch: FrameBatch) -> Tensor | None:
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
    def prepare(self, batches: Iterable[FrameBatch]) -> None:
        """Count what stands in each column, where the head's biases start."""
        like = self.embed.first
        counts = torch.zeros(self.form.columns, max(self.form.sizes), dtype=torch.float64, device=like.device)
        for batch in batches:
            seen = batch.frames[batch.valid].long().T.to(like.device)
            counts.scatter_add_(1, seen, torch.ones_like(seen, dtype=counts.dtype))
        self.head.prepare(counts)
