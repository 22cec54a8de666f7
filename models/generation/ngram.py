"""n-gram models: Markov chains of variable order over single voices or whole frames, sampled with fixed cells."""

from collections.abc import Callable, Iterable
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from models.generation.cells import ended, fixed_values
from models.generation.frame_spec import FrameBatch, FrameSpec, SamplingRequest
from models.generation.generative_model import GenerativeModel, kept
from models.generation.ngram_counts import START, MarkovChain, find, pairs
from models.generation.ngram_scopes import Voices, WholeFrames
from models.generation.sampling import draw

Scope = Voices | WholeFrames


def look_ahead(chain: MarkovChain, scope: Scope, admitted: Callable[[int], Tensor], frames: range) -> dict[int, Tensor]:
    """Log-probability of the fixed suffix given each symbol: (rows, symbols) float64 per frame, up to a constant per row.

    Backward messages of the first-order chain, for which they are exact (Pachet, Roy and Barbieri 2011, Finite-length
    Markov processes with constraints). admitted: frame -> log-probability (rows, symbols) of its fixed cells given each
    symbol
    """
    last = admitted(frames[-1])
    messages, step = {frames[-1]: torch.zeros_like(last)}, _FirstOrder.from_chain(chain, scope, len(last))
    for frame in frames[:0:-1]:
        heavy = admitted(frame) + messages[frame]
        messages[frame - 1] = step.back((heavy - heavy.max(-1, keepdim=True).values).exp()).log()
    return messages


class _FirstOrder(NamedTuple):
    """First-order chain of each row, as sparse counts."""

    empty: Tensor  # (rows, symbols): probabilities of order zero
    node: Tensor  # (rows, symbols): index of the context of a symbol, -1 if not seen
    context: Tensor  # (e,): context of each counted pair
    symbol: Tensor  # (e,): next symbol
    share: Tensor  # (e,): its probability without the back-off part
    left: Tensor  # (contexts,): back-off probability

    @classmethod
    def from_chain(cls, chain: MarkovChain, scope: Scope, rows: int) -> "_FirstOrder":
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
        """Expected weight (rows, symbols) of the next symbol given each symbol, of weights (rows, symbols)."""
        short = (self.empty * weight).sum(-1, keepdim=True)
        if not len(self.left):
            return short.expand_as(weight)
        sums = short * self.left
        sums = sums.index_add(1, self.context, weight[:, self.symbol] * self.share)
        return torch.where(self.node < 0, short, sums.gather(1, self.node.clamp(min=0)))


def resampled(weights: Tensor, generator: torch.Generator) -> Tensor:
    """Systematic resampling of log-weights (rows, particles): indices (rows * particles,)."""
    rows, count = weights.shape
    edges = weights.softmax(-1).cumsum(-1)
    where = torch.rand(rows, 1, generator=generator, device=weights.device, dtype=weights.dtype)
    where = (torch.arange(count, device=weights.device) + where) / count
    chosen = torch.searchsorted(edges, where * edges[:, -1:]).clamp(max=count - 1)
    return (chosen + count * torch.arange(rows, device=weights.device).unsqueeze(1)).flatten()


class Ngram(GenerativeModel):
    """Markov chain of variable order with Witten-Bell back-off; trained by counting.

    Unseen frames have independent columns as base distribution, so that probabilities sum to one. Music is sampled from left
    to right; for fixed cells ahead, symbols are weighted by the look-ahead of the first-order chain, and particles are
    resampled by its error.

    Args:
        form: frame specification
        order: length of the longest context
        scope: `voice`: independent chains of the columns; `frame`: one chain of whole frames
        escape: back-off factor of the number of distinct followers; 1 is Witten-Bell. On validation splits 3 is better for
            whole frames of piano rolls (Boulanger-Lewandowski's four sets, by 0.2 to 0.7 nats per frame)
        particles: particles per piece if cells ahead are fixed

    Raises:
        ValueError: order below 0, escape or particles not above 0, or unknown scope.
    """

    supports = frozenset({"free", "continue", "harmonise", "inpaint"})
    learns: ClassVar[bool] = False
    """No parameters to train: `prepare` counts."""

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
            raise ValueError(f"scope must be voice or frame and particles 1 or more, got {scope} and {particles}")
        # Frames of one column are its categories.
        self.scope = WholeFrames(form) if scope == "frame" and form.columns > 1 else Voices(form)
        if form.columns > 1 and scope == "voice":
            self.supports = self.supports - {"harmonise"}  # voices are independent
        self.chain, self.particles = MarkovChain(order, escape), particles

    def prepare(self, batches: Iterable[FrameBatch]) -> None:
        """Count over the whole training set, replacing earlier counts."""
        rows, valid = [], []
        for batch in batches:
            rows.append(self.scope.rows(batch.frames.to(torch.int32)))
            valid.append(batch.valid.repeat_interleave(len(rows[-1]) // len(batch.valid), 0))
        self.scope.learn(rows, valid)
        streams, history, following = [], [], []
        for part, mask in zip(rows, valid, strict=True):
            symbols = self.scope.read(part)
            streams.append(self.scope.streams(len(part)).unsqueeze(1).expand_as(symbols)[mask])
            history.append(self._history(symbols)[mask])
            following.append(symbols[mask])
        self.chain.count(torch.cat(streams), torch.cat(history), torch.cat(following))

    def set_escape(self, escape: float) -> None:
        """Change the back-off factor; counts are kept. Raises ValueError unless it is above 0."""
        self.chain.set_escape(escape)

    def loss(self, batch: FrameBatch) -> dict[str, Tensor]:
        """Zero as `loss`: there is nothing to train."""
        return {"loss": torch.zeros((), device=batch.frames.device)}

    def nll(self, batch: FrameBatch) -> Tensor:
        """See `GenerativeModel.nll`; exact."""
        rows = self.scope.rows(batch.frames)
        symbols = self.scope.read(rows)
        streams = self.scope.streams(len(rows)).unsqueeze(1).expand_as(symbols)
        base = self.scope.base(rows)
        parts = (streams.flatten(), self._history(symbols).flatten(0, 1), symbols.flatten(), base.flatten())
        nats = -self.chain.log_probability(*parts).view(len(batch.frames), -1, symbols.shape[1]).sum(1)
        return torch.where(batch.valid, nats, 0.0).float()

    @torch.no_grad()
    def generate(self, request: SamplingRequest) -> Tensor:
        """See `GenerativeModel.generate`. Raises ValueError for an unsupported use."""
        if request.use not in self.supports:
            raise ValueError(
                f"this n-gram model does not support {request.use}, expected one of {', '.join(sorted(self.supports))}"
            )
        rows = self._sample(request)
        frames = self.scope.frames(rows).to(request.values.dtype)
        return kept(request, ended(kept(request, frames), self.form.end))

    def _history(self, symbols: Tensor) -> Tensor:
        """Previous symbols of each of (rows, frames), the latest first: (rows, frames, order)."""
        padded = torch.nn.functional.pad(symbols, (self.chain.order, 0), value=START)
        return padded.unfold(1, self.chain.order + 1, 1)[..., :-1].flip(-1)

    def _sample(self, request: SamplingRequest) -> Tensor:
        """Sampled rows (rows, frames, cells), without the filling after an end."""
        scope, sampling = self.scope, request.sampling
        if sampling.top_k == 1:
            sampling = sampling._replace(temperature=0.0)
        values, fixed = scope.rows(fixed_values(request).long()), scope.rows(request.fixed)
        free = (~fixed).any(2).any(0).nonzero().flatten().tolist()
        if not free:
            return values
        # Fixed cells beyond the longest context do not depend on the free ones.
        frames = range(free[0], min(free[-1] + 1 + self.chain.order, values.shape[1]))
        admitted = self._admitted(request, values, fixed)
        ahead = bool(fixed[:, frames.start : frames.stop].any())
        count = self.particles if ahead else 1
        messages = look_ahead(self.chain, scope, admitted, frames) if ahead else None
        paths, fixed = values.repeat_interleave(count, 0), fixed.repeat_interleave(count, 0)
        promised = paths.new_zeros(len(paths), dtype=torch.float64)
        for frame in frames:
            previous = paths[:, frame - 1] if frame else torch.full_like(paths[:, 0], max(self.form.sizes))
            now = (paths[:, frame], fixed[:, frame], sampling)
            logits = self._next(paths[:, :frame], scope.prior(previous, *now)).log()
            leaves = torch.zeros_like(logits) if messages is None else messages[frame].repeat_interleave(count, 0)
            logits = torch.where(admitted(frame).isneginf().repeat_interleave(count, 0), -torch.inf, logits + leaves)
            if count > 1:
                chosen = resampled((logits.logsumexp(-1) - promised).view(-1, count), request.generator)
                logits, paths, previous = logits[chosen], paths[chosen], previous[chosen]
            symbol = draw(logits, sampling, request.generator)
            promised = leaves.gather(1, symbol.unsqueeze(1)).squeeze(1)
            paths[:, frame] = scope.write(symbol, previous, *now, request.generator)
        return _random_particle(paths, count, request.generator)

    def _admitted(self, request: SamplingRequest, values: Tensor, fixed: Tensor) -> Callable[[int], Tensor]:
        """Function of a frame: log-probability (rows, symbols) of its fixed cells, -inf for illegal symbols."""
        number = torch.arange(1, values.shape[1] + 1, device=values.device)
        music = ((fixed & (values != self.form.end)).any(-1) * number).amax(-1)

        def admitted(frame: int) -> Tensor:
            allowed = None if request.allowed is None else request.allowed[frame]
            nats = self.scope.admitted(values[:, frame], fixed[:, frame], allowed)
            if self.form.end >= 0 and self.form.columns == 1:
                early = (music > frame) & ~fixed[:, frame, 0]
                nats[:, self.form.end] = nats[:, self.form.end].masked_fill(early, -torch.inf)
            return nats

        return admitted

    def _next(self, before: Tensor, prior: Tensor) -> Tensor:
        """Probabilities (rows, symbols) after rows (rows, frames, cells), with base distribution `prior`."""
        order = self.chain.order
        symbols = self.scope.read(before[:, max(0, before.shape[1] - order) :])
        history = torch.nn.functional.pad(symbols, (order - symbols.shape[1], 0), value=START).flip(-1)
        return self.chain.distribution(self.chain.nodes(self.scope.streams(len(before)), history), prior)


def _random_particle(paths: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """One random particle per row of paths (rows * count, frames, cells)."""
    if count == 1:
        return paths
    paths = paths.unflatten(0, (-1, count))
    chosen = torch.randint(count, (len(paths),), generator=generator, device=paths.device)
    return paths[torch.arange(len(paths), device=paths.device), chosen]
