"""The Markov chain: what followed the last few symbols in training, of each voice on its own or of whole frames."""

from collections.abc import Callable, Iterable
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from models.generation.cells import ended, given
from models.generation.frame_spec import Ask, FrameBatch, FrameSpec
from models.generation.generative_model import GenerativeModel, kept
from models.generation.ngram_counts import START, Chain, find, pairs
from models.generation.ngram_scopes import Voices, WholeFrames
from models.generation.sampling import draw

# Markov chains that keep to what is fixed ahead: they look ahead by the chain of order one, and what that misses is weighed.

Scope = Voices | WholeFrames


def look_ahead(chain: Chain, scope: Scope, admitted: Callable[[int], Tensor], frames: range) -> dict[int, Tensor]:
    """Nats (rows, symbols) float64 that each symbol of a frame leaves to what is fixed behind it; up to a constant a row.

    Backward messages of a chain of order one, exact for it (Pachet, Roy and Barbieri 2011, Finite-length Markov processes
    with constraints). admitted: of a frame the nats (rows, symbols) of its fixed cells given each symbol
    """
    last = admitted(frames[-1])
    messages, step = {frames[-1]: torch.zeros_like(last)}, _FirstOrder.of(chain, scope, len(last))
    for frame in frames[:0:-1]:
        heavy = admitted(frame) + messages[frame]
        messages[frame - 1] = step.back((heavy - heavy.max(-1, keepdim=True).values).exp()).log()
    return messages


class _FirstOrder(NamedTuple):
    """The chain of order one of each row, as sparse as it was counted."""

    empty: Tensor  # (rows, symbols): probabilities without a context
    node: Tensor  # (rows, symbols): number of the context that a symbol makes, -1 where it was not seen
    context: Tensor  # (e,): context of each counted pair
    symbol: Tensor  # (e,): what followed it
    share: Tensor  # (e,): with which probability, less what is left to the empty context
    left: Tensor  # (contexts,)

    @classmethod
    def of(cls, chain: Chain, scope: Scope, rows: int) -> "_FirstOrder":
        streams = scope.streams(rows)
        empty = chain.distribution([streams], scope.ground(streams))
        if not chain.order:
            none = streams[:0]
            return cls(empty, torch.full_like(empty, -1, dtype=torch.int64), none, none, none.double(), none.double())
        level = chain.levels[1]
        every = torch.arange(scope.symbols, device=streams.device)
        node = find(level.contexts, pairs(streams.unsqueeze(1), every))
        seen, left = chain.shares(level, torch.arange(len(level.contexts), device=streams.device))
        context, symbol = level.pairs()
        share = level.times(torch.arange(len(context), device=streams.device)) * seen[context]
        return cls(empty, node, context, symbol, share, left)

    def back(self, weight: Tensor) -> Tensor:
        """Mean weight (rows, symbols) of what follows each symbol, of weights (rows, symbols)."""
        short = (self.empty * weight).sum(-1, keepdim=True)
        if not len(self.left):
            return short.expand_as(weight)
        sums = short * self.left
        sums = sums.index_add(1, self.context, weight[:, self.symbol] * self.share)
        return torch.where(self.node < 0, short, sums.gather(1, self.node.clamp(min=0)))


def resampled(weights: Tensor, generator: torch.Generator) -> Tensor:
    """Which of all particles each goes on from (rows * particles,): systematic resampling of log-weights (rows, particles)."""
    rows, many = weights.shape
    edges = weights.softmax(-1).cumsum(-1)
    where = torch.rand(rows, 1, generator=generator, device=weights.device, dtype=weights.dtype)
    where = (torch.arange(many, device=weights.device) + where) / many
    chosen = torch.searchsorted(edges, where * edges[:, -1:]).clamp(max=many - 1)
    return (chosen + many * torch.arange(rows, device=weights.device).unsqueeze(1)).flatten()


class Ngram(GenerativeModel):
    """Markov chain of variable order with Witten and Bell's back-off; counted, not learned by gradient.

    Frames that were never seen are written by columns that do not know of each other, so that the probabilities of all
    frames there are sum to one. Music is written from left to right. Where something is fixed ahead, each symbol is drawn
    with what it leaves to that by the chain of order one, and some particles are resampled by what that misses.

    Args:
        form: of the frames
        order: symbols that a symbol depends on
        scope: `voice`: one chain a column, on its own history; `frame`: one chain of whole frames
        escape: how readily it backs off, in distinct followers of a context; 1 is Witten and Bell's. On validation splits 3 is
            better for whole frames of piano rolls (Boulanger-Lewandowski's four sets, by 0.2 to 0.7 nats a frame)
        particles: sequences that are written for one, where something is fixed ahead

    Raises:
        ValueError: an order below 0, an escape or particles not above 0, or another scope.
    """

    supports = frozenset({"free", "continue", "harmonise", "inpaint"})
    learns: ClassVar[bool] = False
    """There are no parameters, and nothing to minimise: `prepare` is all."""

    def __init__(
        self,
        form: FrameSpec,
        order: int = 4,
        scope: Literal["voice", "frame"] = "voice",
        escape: float = 1.0,
        particles: int = 16,
    ) -> None:
        super().__init__(form)
        if scope not in ("voice", "frame") or particles < 1:
            raise ValueError(f"a Markov chain is of a `voice` or a `frame`, of 1 particle or more, not {scope}, {particles}")
        # Frames of one column are its categories.
        self.scope = WholeFrames(form) if scope == "frame" and form.columns > 1 else Voices(form)
        if form.columns > 1 and scope == "voice":
            self.supports = self.supports - {"harmonise"}  # no voice knows of another
        self.chain, self.particles = Chain(order, escape), particles

    def prepare(self, batches: Iterable[FrameBatch]) -> None:
        """Count over the whole training set; what was counted before is forgotten."""
        rows, valid = [], []
        for batch in batches:
            rows.append(self.scope.rows(batch.frames.to(torch.int32)))
            valid.append(batch.valid.repeat_interleave(len(rows[-1]) // len(batch.valid), 0))
        self.scope.learn(rows, valid)
        streams, history, following = [], [], []
        for part, there in zip(rows, valid, strict=True):
            symbols = self.scope.read(part)
            streams.append(self.scope.streams(len(part)).unsqueeze(1).expand_as(symbols)[there])
            history.append(self._history(symbols)[there])
            following.append(symbols[there])
        self.chain.count(torch.cat(streams), torch.cat(history), torch.cat(following))

    def set_escape(self, escape: float) -> None:
        """Change how readily the chain backs off; what was counted stays. Raises ValueError unless it is above 0."""
        self.chain.set_escape(escape)

    def loss(self, batch: FrameBatch) -> dict[str, Tensor]:
        """Zero, as `loss`: nothing is left to learn."""
        return {"loss": torch.zeros((), device=batch.frames.device)}

    def nll(self, batch: FrameBatch) -> Tensor:
        """As `GenerativeModel.nll`, exact."""
        rows = self.scope.rows(batch.frames)
        symbols = self.scope.read(rows)
        streams = self.scope.streams(len(rows)).unsqueeze(1).expand_as(symbols)
        base = self.scope.base(rows)
        parts = (streams.flatten(), self._history(symbols).flatten(0, 1), symbols.flatten(), base.flatten())
        nats = -self.chain.log_probability(*parts).view(len(batch.frames), -1, symbols.shape[1]).sum(1)
        return torch.where(batch.valid, nats, 0.0).float()

    @torch.no_grad()
    def generate(self, ask: Ask) -> Tensor:
        """As `GenerativeModel.generate`. Raises ValueError where another use is asked for."""
        if ask.use not in self.supports:
            raise ValueError(f"this Markov chain cannot be asked to {ask.use}, but to {', '.join(sorted(self.supports))}")
        rows = self._written(ask)
        frames = self.scope.frames(rows).to(ask.values.dtype)
        return kept(ask, ended(kept(ask, frames), self.form.end))

    def _history(self, symbols: Tensor) -> Tensor:
        """The symbols before each of (rows, frames), the latest first: (rows, frames, order)."""
        padded = torch.nn.functional.pad(symbols, (self.chain.order, 0), value=START)
        return padded.unfold(1, self.chain.order + 1, 1)[..., :-1].flip(-1)

    def _written(self, ask: Ask) -> Tensor:
        """Rows (rows, frames, cells) as asked, but for what follows an end."""
        scope, sampling = self.scope, ask.sampling
        if sampling.top_k == 1:
            sampling = sampling._replace(temperature=0.0)
        values, fixed = scope.rows(given(ask).long()), scope.rows(ask.fixed)
        free = (~fixed).any(2).any(0).nonzero().flatten().tolist()
        if not free:
            return values
        # What lies further ahead than the longest context is as likely after anything that is free.
        frames = range(free[0], min(free[-1] + 1 + self.chain.order, values.shape[1]))
        admitted = self._admitted(ask, values, fixed)
        ahead = bool(fixed[:, frames.start : frames.stop].any())
        many = self.particles if ahead else 1
        messages = look_ahead(self.chain, scope, admitted, frames) if ahead else None
        paths, fixed = values.repeat_interleave(many, 0), fixed.repeat_interleave(many, 0)
        promised = paths.new_zeros(len(paths), dtype=torch.float64)
        for frame in frames:
            previous = paths[:, frame - 1] if frame else torch.full_like(paths[:, 0], max(self.form.sizes))
            now = (paths[:, frame], fixed[:, frame], sampling)
            logits = self._next(paths[:, :frame], scope.prior(previous, *now)).log()
            leaves = torch.zeros_like(logits) if messages is None else messages[frame].repeat_interleave(many, 0)
            logits = torch.where(admitted(frame).isneginf().repeat_interleave(many, 0), -torch.inf, logits + leaves)
            if many > 1:
                chosen = resampled((logits.logsumexp(-1) - promised).view(-1, many), ask.generator)
                logits, paths, previous = logits[chosen], paths[chosen], previous[chosen]
            symbol = draw(logits, sampling, ask.generator)
            promised = leaves.gather(1, symbol.unsqueeze(1)).squeeze(1)
            paths[:, frame] = scope.write(symbol, previous, *now, ask.generator)
        return _one_of(paths, many, ask.generator)

    def _admitted(self, ask: Ask, values: Tensor, fixed: Tensor) -> Callable[[int], Tensor]:
        """Nats (rows, symbols) of a frame's fixed cells given each symbol, -inf where it may not stand; no end before music."""
        number = torch.arange(1, values.shape[1] + 1, device=values.device)
        music = ((fixed & (values != self.form.end)).any(-1) * number).amax(-1)

        def admitted(frame: int) -> Tensor:
            allowed = None if ask.allowed is None else ask.allowed[frame]
            nats = self.scope.admitted(values[:, frame], fixed[:, frame], allowed)
            if self.form.end >= 0 and self.form.columns == 1:
                early = (music > frame) & ~fixed[:, frame, 0]
                nats[:, self.form.end] = nats[:, self.form.end].masked_fill(early, -torch.inf)
            return nats

        return admitted

    def _next(self, before: Tensor, prior: Tensor) -> Tensor:
        """Probabilities (rows, symbols) after rows (rows, frames, cells), of which the base distribution says `prior`."""
        order = self.chain.order
        symbols = self.scope.read(before[:, max(0, before.shape[1] - order) :])
        history = torch.nn.functional.pad(symbols, (order - symbols.shape[1], 0), value=START).flip(-1)
        return self.chain.distribution(self.chain.nodes(self.scope.streams(len(before)), history), prior)


def _one_of(paths: Tensor, many: int, generator: torch.Generator) -> Tensor:
    """One particle of each row, of paths (rows * many, frames, cells)."""
    if many == 1:
        return paths
    paths = paths.unflatten(0, (-1, many))
    chosen = torch.randint(many, (len(paths),), generator=generator, device=paths.device)
    return paths[torch.arange(len(paths), device=paths.device), chosen]
