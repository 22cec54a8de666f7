"""DeepBach (Hadjeres, Pachet and Nielsen 2017): conditional distributions of each cell given all others, and pseudo-Gibbs."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.generation.frame_spec import FrameBatch, FrameSpec, SamplingRequest
from models.generation.generative_model import GenerativeModel
from models.generation.sampling import draw


class Orderless(GenerativeModel):
    """Base class of models of one cell given all others; they have a pseudo-likelihood but no likelihood."""

    supports = frozenset({"free", "continue", "harmonise", "inpaint"})
    likelihood = "none"

    def __init__(self, form: FrameSpec) -> None:
        super().__init__(form)
        if form.kind != "categories":
            raise ValueError(f"{type(self).__name__} needs a view with one category per voice, such as the voice grid")

    def conditionals(self, frames: Tensor, conditions: Tensor, column: int) -> Tensor:
        """Logits (batch, frames, categories) of the cells of one column, each given all other cells."""
        raise NotImplementedError

    def cells(self, batch: FrameBatch) -> Tensor:
        """Nats (batch, frames, columns) of each cell given all others; 0 if padded."""
        raise NotImplementedError

    def surrogate(self, batch: FrameBatch) -> Tensor:
        """Pseudo-likelihood (Besag 1975) of frames: nats (batch, frames) of their cells, each given all others."""
        return self.cells(batch).sum(-1)

    def pseudo_nll(self, batch: FrameBatch) -> Tensor:
        """Mean nats of a cell given all others; not comparable with a likelihood."""
        return self.surrogate(batch).sum() / batch.valid.sum().clamp(min=1) / self.form.columns

    def loss(self, batch: FrameBatch) -> dict[str, Tensor]:
        """Pseudo-likelihood as `loss`."""
        return {"loss": self.pseudo_nll(batch)}


def colours(fixed: Tensor, apart: int) -> list[tuple[int, int]]:
    """Column and phase of the sets of cells updated together: one column, every `apart`-th frame.

    No two cells of a set share a chord or neighbouring frames, so that none is drawn beside a value being replaced. Sets
    of fixed cells only (batch, frames, columns) are omitted.
    """
    open_ = ~fixed.all(0)
    return [
        (column, phase)
        for column in range(open_.shape[1])
        for phase in range(min(apart, open_.shape[0]))
        if open_[phase::apart, column].any()
    ]


def legal(form: FrameSpec, frames: int, column: int, begins: bool, device: torch.device) -> Tensor:
    """Mask (frames, categories) of legal categories of a column: no hold at the beginning of a piece."""
    allowed = torch.ones(frames, form.sizes[column], dtype=torch.bool, device=device)
    if begins and form.hold >= 0:
        allowed[0, form.hold] = False
    return allowed


COOLING = 2 / 3
"""Share of the iterations in which the temperature decreases; it is constant afterwards."""


@torch.no_grad()
def pseudo_gibbs(
    net: Orderless, request: SamplingRequest, iterations: int, apart: int = 4, hottest: float = 1.1, begins: bool = True
) -> Tensor:
    """Pseudo-Gibbs sampling (Hadjeres et al. 2017, Algorithm 1, in parallel as in section 3.2) of (batch, frames, columns).

    Starts from random cells. An iteration draws the open cells of one column in every `apart`-th frame, in random order, so
    that columns * apart iterations are a sweep. `Pseudo`, since separately learned conditionals need not have a joint
    distribution.

    hottest: temperature of the first iteration, which decreases to that of the sampling
    begins: whether frame 0 is the first of a piece, in which nothing can be held
    """
    form, sampling = net.form, request.sampling
    frames = torch.where(request.fixed, request.values, at_random(net, request))
    allowed = [legal(form, frames.shape[1], column, begins, frames.device) for column in range(form.columns)]
    order = visits(colours(request.fixed, apart), request.generator)
    for iteration, (column, phase) in zip(range(iterations), order, strict=False):
        cells = (slice(None), slice(phase, None, apart))
        logits = net.conditionals(frames, request.conditions, column)[cells]
        now = sampling._replace(temperature=cooled(sampling.temperature, hottest, iteration / iterations))
        drawn = draw(logits, now, request.generator, allowed[column][phase::apart])
        cells = (*cells, column)
        frames[cells] = torch.where(request.fixed[cells], request.values[cells], drawn)
    return frames


def at_random(net: Orderless, request: SamplingRequest) -> Tensor:
    """Uniformly drawn categories (batch, frames, columns), without holds."""
    columns = []
    for size in net.form.sizes:
        even = torch.zeros(*request.values.shape[:2], size, device=request.values.device)
        if net.form.hold >= 0:
            even[..., net.form.hold] = -torch.inf
        columns.append(even.softmax(-1).flatten(0, 1).multinomial(1, generator=request.generator).view(even.shape[:2]))
    return torch.stack(columns, -1)


def visits(sets: list[tuple[int, int]], generator: torch.Generator) -> Iterator[tuple[int, int]]:
    """Endless sweeps over the sets of cells, each in a new random order."""
    while sets:
        for index in torch.randperm(len(sets), generator=generator, device=generator.device).tolist():
            yield sets[index]


def cooled(coldest: float, hottest: float, progress: float) -> float:
    """Temperature at a progress of 0 to 1: linear from max(hottest, coldest) to `coldest`, then constant."""
    return coldest + (max(hottest, coldest) - coldest) * max(0.0, 1 - progress / COOLING)


class DeepBach(Orderless):
    """One network per voice: LSTMs over past and future, an MLP over the other voices' notes; sampled by pseudo-Gibbs.

    The paper computes one cell in a window at a time. Here a pass computes all cells of an excerpt, from the left LSTM's
    state at t - 1 and the right one's at t + 1, so the loss is the paper's for every cell at once. The LSTMs restart every
    `chunk` frames after `context` warm-up frames: a cell depends on at least `context` frames on either side, with `chunk` 1
    on exactly that many, as in the paper. Frames outside an excerpt are a separate symbol. Metadata (metre, fermata, key)
    are the form's conditions, embedded by a linear layer, which for categories is a sum of embeddings.

    layers, width: of each LSTM; dropout: between the layers and before the output
    embedding: size of the embeddings of a note and of metadata
    hidden: width of the MLP of the other voices and of the one before the softmax
    context, chunk: frames
    iterations, apart, hottest: see `pseudo_gibbs`
    """

    def __init__(
        self,
        form: FrameSpec,
        layers: int = 2,
        width: int = 256,
        dropout: float = 0.5,
        embedding: int = 20,
        hidden: int = 256,
        context: int = 16,
        chunk: int = 32,
        iterations: int = 500,
        apart: int = 4,
        hottest: float = 1.1,
    ) -> None:
        super().__init__(form)
        for name, value in {"context": context, "chunk": chunk, "iterations": iterations, "apart": apart}.items():
            if value < 1:
                raise ValueError(f"{name} is {value}, expected at least 1")
        self.context, self.chunk = context, chunk
        self.iterations, self.apart, self.hottest = iterations, apart, hottest
        self.voices = nn.ModuleList(
            VoiceNet(form, voice, layers, width, dropout, embedding, hidden) for voice in range(form.columns)
        )

    def conditionals(self, frames: Tensor, conditions: Tensor, column: int) -> Tensor:
        return self.voices[column](*self.surrounded(frames, conditions), frames.shape[1], self.context, self.chunk)

    def cells(self, batch: FrameBatch) -> Tensor:
        around = self.surrounded(batch.frames, batch.conditions, batch.valid)
        count = batch.frames.shape[1]
        nats = [
            F.cross_entropy(
                net(*around, count, self.context, self.chunk).float().transpose(1, 2), batch.frames[..., voice], reduction="none"
            )
            for voice, net in enumerate(self.voices)
        ]
        return torch.stack(nats, -1).masked_fill(~batch.valid[..., None], 0)

    def surrounded(self, frames: Tensor, conditions: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Frames and conditions padded by `context` outside frames before and at least as many after, to whole chunks."""
        outside = torch.tensor(self.form.sizes, device=frames.device)
        if valid is not None:
            frames = torch.where(valid[..., None], frames, outside)
            conditions = conditions * valid[..., None]
        batch, count, columns = frames.shape
        after = self.context + -count % self.chunk
        before, behind = (outside.expand(batch, more, columns) for more in (self.context, after))
        return torch.cat([before, frames, behind], 1), F.pad(conditions, (0, 0, self.context, after))

    def generate(self, request: SamplingRequest) -> Tensor:
        """See `GenerativeModel.generate`. Only the surroundings of open cells are computed, so filling in a few bars is fast."""
        open_ = (~request.fixed).any(-1).any(0).nonzero()
        if not len(open_):
            return request.values
        reach = -(-self.context // self.chunk)
        first = max(0, (int(open_[0]) // self.chunk - reach) * self.chunk)
        last = (int(open_[-1]) // self.chunk + 1 + reach) * self.chunk
        cut = {name: getattr(request, name)[:, first:last] for name in ("values", "fixed", "conditions")}
        frames = request.values.clone()
        part = request._replace(**cut)
        frames[:, first:last] = pseudo_gibbs(self, part, self.iterations, self.apart, self.hottest, begins=first == 0)
        return frames


class VoiceNet(nn.Module):
    """Network of one voice: logits of its cells."""

    def __init__(self, form: FrameSpec, voice: int, layers: int, width: int, dropout: float, embedding: int, hidden: int) -> None:
        super().__init__()
        self.voice = voice
        self.notes = nn.ModuleList(nn.Embedding(size + 1, embedding) for size in form.sizes)  # one more for outside
        self.metadata = nn.Linear(form.conditions, embedding) if form.conditions else None
        inputs = embedding * (form.columns + bool(form.conditions))
        between = dropout if layers > 1 else 0.0
        self.left, self.right = (nn.LSTM(inputs, width, layers, batch_first=True, dropout=between) for _ in range(2))
        # A single voice has no other inputs than metadata, or none.
        self.centre = nn.Sequential(nn.Linear(max(inputs - embedding, 1), hidden), nn.ReLU(), nn.Dropout(dropout))
        self.head = nn.Sequential(
            nn.Linear(2 * width + hidden, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, form.sizes[voice])
        )

    def forward(self, frames: Tensor, conditions: Tensor, count: int, context: int, chunk: int) -> Tensor:
        """Logits (batch, count, categories) of frames padded by `context` frames before and after, to whole chunks."""
        notes = [table(frames[..., voice]) for voice, table in enumerate(self.notes)]
        known = [] if self.metadata is None else [self.metadata(conditions)]
        others = [*notes[: self.voice], *notes[self.voice + 1 :], *known]
        others = torch.cat(others, -1) if others else torch.zeros_like(notes[0][..., :1])
        inputs = torch.cat([*notes, *known], -1)
        chunks = (inputs.shape[1] - 2 * context) // chunk
        size = context + chunk - 1
        past = inputs[:, :-1].unfold(1, size, chunk)[:, :chunks]
        future = inputs[:, context + 1 :].unfold(1, size, chunk)[:, :chunks].flip(-1)
        left = self._states(self.left, past, context)
        right = self._states(self.right, future, context).unflatten(1, (chunks, chunk)).flip(2).flatten(1, 2)
        centre = self.centre(others[:, context : context + count])
        return self.head(torch.cat([left[:, :count], centre, right[:, :count]], -1))

    @staticmethod
    def _states(lstm: nn.LSTM, windows: Tensor, context: int) -> Tensor:
        """LSTM outputs (batch, frames, width) of windows (batch, chunks, features, frames) from frame `context` - 1 on."""
        batch, chunks = windows.shape[:2]
        outputs, _ = lstm(windows.flatten(0, 1).transpose(1, 2))
        return outputs[:, context - 1 :].unflatten(0, (batch, chunks)).flatten(1, 2)
