"""DeepBach (Hadjeres, Pachet and Nielsen 2017): each note from what is before, after and beside it."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.generation.frame_spec import Ask, FrameBatch, FrameSpec
from models.generation.generative_model import GenerativeModel
from models.generation.sampling import draw

# Systems that know each cell given all the others, in no order: what they answer, and which cells may change together.


class Orderless(GenerativeModel):
    """Base of systems of conditionals of one cell given the rest; a piece has no likelihood, a pseudo-likelihood instead."""

    supports = frozenset({"free", "continue", "harmonise", "inpaint"})
    likelihood = "none"

    def __init__(self, form: FrameSpec) -> None:
        super().__init__(form)
        if form.kind != "categories":
            raise ValueError(f"{type(self).__name__} writes one category a voice, so it needs a view such as the voice grid")

    def conditionals(self, frames: Tensor, conditions: Tensor, column: int) -> Tensor:
        """Logits (batch, frames, categories) of the cells of one column, each given every cell but itself."""
        raise NotImplementedError

    def cells(self, batch: FrameBatch) -> Tensor:
        """Nats (batch, frames, columns) of each cell given all the others; 0 where padded."""
        raise NotImplementedError

    def surrogate(self, batch: FrameBatch) -> Tensor:
        """Nats (batch, frames) of a frame's cells, each given all the others: the pseudo-likelihood (Besag 1975)."""
        return self.cells(batch).sum(-1)

    def pseudo_nll(self, batch: FrameBatch) -> Tensor:
        """Mean nats of a cell given all the others; not to be compared with any likelihood."""
        return self.surrogate(batch).sum() / batch.valid.sum().clamp(min=1) / self.form.columns

    def loss(self, batch: FrameBatch) -> dict[str, Tensor]:
        """The pseudo-likelihood, as `loss`."""
        return {"loss": self.pseudo_nll(batch)}


def colours(fixed: Tensor, apart: int) -> list[tuple[int, int]]:
    """Column and phase of each set of cells that change together: one column, every `apart`-th frame.

    No two cells of a set are of one chord or of neighbouring frames, so that none is drawn beside a value that is just being
    replaced. Sets whose cells are all fixed (batch, frames, columns) are left out.
    """
    open_ = ~fixed.all(0)
    return [
        (column, phase)
        for column in range(open_.shape[1])
        for phase in range(min(apart, open_.shape[0]))
        if open_[phase::apart, column].any()
    ]


def legal(form: FrameSpec, frames: int, column: int, begins: bool, device: torch.device) -> Tensor:
    """What may stand in the cells (frames, categories) of a column: nothing is held over where a piece begins."""
    allowed = torch.ones(frames, form.sizes[column], dtype=torch.bool, device=device)
    if begins and form.hold >= 0:
        allowed[0, form.hold] = False
    return allowed


# Pseudo-Gibbs sampling: cells are drawn anew from their conditionals, many at once, while it gets colder.

COOLING = 2 / 3
"""Part of the iterations in which the temperature falls; after that it stays."""


@torch.no_grad()
def pseudo_gibbs(net: Orderless, ask: Ask, iterations: int, apart: int = 4, hottest: float = 1.1, begins: bool = True) -> Tensor:
    """Frames (batch, frames, columns) as asked (Hadjeres et al. 2017, Algorithm 1, in parallel as its section 3.2 has it).

    It starts from chance. An iteration draws the open cells of one column in every `apart`-th frame; a random order visits
    all of them equally often, so that columns * apart iterations are a sweep. `pseudo`, since conditionals that were learned
    apart need not belong to one joint distribution.

    hottest: temperature of the first iteration, from where it falls to the sampling's
    begins: whether frame 0 is a piece's first, in which nothing can be held
    """
    form, sampling = net.form, ask.sampling
    frames = torch.where(ask.fixed, ask.values, at_random(net, ask))
    allowed = [legal(form, frames.shape[1], column, begins, frames.device) for column in range(form.columns)]
    order = visits(colours(ask.fixed, apart), ask.generator)
    for iteration, (column, phase) in zip(range(iterations), order, strict=False):
        cells = (slice(None), slice(phase, None, apart))
        logits = net.conditionals(frames, ask.conditions, column)[cells]
        now = sampling._replace(temperature=cooled(sampling.temperature, hottest, iteration / iterations))
        drawn = draw(logits, now, ask.generator, allowed[column][phase::apart])
        cells = (*cells, column)
        frames[cells] = torch.where(ask.fixed[cells], ask.values[cells], drawn)
    return frames


def at_random(net: Orderless, ask: Ask) -> Tensor:
    """A category for every cell (batch, frames, columns), each as likely, nothing held."""
    columns = []
    for size in net.form.sizes:
        even = torch.zeros(*ask.values.shape[:2], size, device=ask.values.device)
        if net.form.hold >= 0:
            even[..., net.form.hold] = -torch.inf
        columns.append(even.softmax(-1).flatten(0, 1).multinomial(1, generator=ask.generator).view(even.shape[:2]))
    return torch.stack(columns, -1)


def visits(sets: list[tuple[int, int]], generator: torch.Generator) -> Iterator[tuple[int, int]]:
    """The sets of cells without end, each once before any comes again, in an order drawn anew each time."""
    while sets:
        for place in torch.randperm(len(sets), generator=generator, device=generator.device).tolist():
            yield sets[place]


def cooled(coldest: float, hottest: float, progress: float) -> float:
    """Temperature after so much (0 to 1) of the iterations: falls in a line, then stays; never warmer than `hottest` at first."""
    return coldest + (max(hottest, coldest) - coldest) * max(0.0, 1 - progress / COOLING)


class DeepBach(Orderless):
    """One network a voice: two LSTMs read the past and the future, an MLP the other voices' notes; written by pseudo-Gibbs.

    The paper shows the network one cell in a window at a time. Here a pass computes all cells of an excerpt: the left LSTM's
    state at t - 1 and the right one's at t + 1 are what the cell at t knows, so the loss is the paper's, of every cell at
    once. The LSTMs begin anew every `chunk` frames, after `context` frames that they only read: a cell knows of at least
    `context` frames on either side, with `chunk` 1 of exactly that many, as in the paper. What lies outside of an excerpt is
    a symbol of its own. Metadata (metre, fermata, key) are the form's conditions, embedded by a linear layer, which for
    categories is an embedding each, summed.

    layers, width: of each LSTM; dropout: between the layers and before the output
    embedding: of a note, and of a frame's metadata
    hidden: width of the MLP of the other voices and of the one before the softmax
    context, chunk: frames
    iterations, apart, hottest: of the sampling, see `pseudo_gibbs`
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
        """Frames and conditions between `context` frames of outside before and at least as many after, up to whole chunks."""
        outside = torch.tensor(self.form.sizes, device=frames.device)
        if valid is not None:
            frames = torch.where(valid[..., None], frames, outside)
            conditions = conditions * valid[..., None]
        batch, count, columns = frames.shape
        after = self.context + -count % self.chunk
        before, behind = (outside.expand(batch, more, columns) for more in (self.context, after))
        return torch.cat([before, frames, behind], 1), F.pad(conditions, (0, 0, self.context, after))

    def generate(self, ask: Ask) -> Tensor:
        """As asked. Only the surroundings of open cells are read, so that a few bars of a long piece are filled in quickly."""
        open_ = (~ask.fixed).any(-1).any(0).nonzero()
        if not len(open_):
            return ask.values
        reach = -(-self.context // self.chunk)
        first = max(0, (int(open_[0]) // self.chunk - reach) * self.chunk)
        last = (int(open_[-1]) // self.chunk + 1 + reach) * self.chunk
        cut = {name: getattr(ask, name)[:, first:last] for name in ("values", "fixed", "conditions")}
        frames = ask.values.clone()
        part = ask._replace(**cut)
        frames[:, first:last] = pseudo_gibbs(self, part, self.iterations, self.apart, self.hottest, begins=first == 0)
        return frames


class VoiceNet(nn.Module):
    """The network of one voice: logits of its cells."""

    def __init__(self, form: FrameSpec, voice: int, layers: int, width: int, dropout: float, embedding: int, hidden: int) -> None:
        super().__init__()
        self.voice = voice
        self.notes = nn.ModuleList(nn.Embedding(size + 1, embedding) for size in form.sizes)  # one more: outside
        self.metadata = nn.Linear(form.conditions, embedding) if form.conditions else None
        seen = embedding * (form.columns + bool(form.conditions))
        between = dropout if layers > 1 else 0.0
        self.left, self.right = (nn.LSTM(seen, width, layers, batch_first=True, dropout=between) for _ in range(2))
        # Alone in its view a voice has nothing beside it but metadata, or nothing at all.
        self.centre = nn.Sequential(nn.Linear(max(seen - embedding, 1), hidden), nn.ReLU(), nn.Dropout(dropout))
        self.head = nn.Sequential(
            nn.Linear(2 * width + hidden, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, form.sizes[voice])
        )

    def forward(self, frames: Tensor, conditions: Tensor, count: int, context: int, chunk: int) -> Tensor:
        """Logits (batch, count, categories) of frames that stand between `context` others before and after, in whole chunks."""
        notes = [table(frames[..., voice]) for voice, table in enumerate(self.notes)]
        known = [] if self.metadata is None else [self.metadata(conditions)]
        beside = [*notes[: self.voice], *notes[self.voice + 1 :], *known]
        beside = torch.cat(beside, -1) if beside else torch.zeros_like(notes[0][..., :1])
        read = torch.cat([*notes, *known], -1)
        chunks = (read.shape[1] - 2 * context) // chunk
        size = context + chunk - 1
        past = read[:, :-1].unfold(1, size, chunk)[:, :chunks]
        future = read[:, context + 1 :].unfold(1, size, chunk)[:, :chunks].flip(-1)
        left = self._states(self.left, past, context)
        right = self._states(self.right, future, context).unflatten(1, (chunks, chunk)).flip(2).flatten(1, 2)
        centre = self.centre(beside[:, context : context + count])
        return self.head(torch.cat([left[:, :count], centre, right[:, :count]], -1))

    @staticmethod
    def _states(lstm: nn.LSTM, windows: Tensor, context: int) -> Tensor:
        """Outputs (batch, frames, width) of all windows (batch, chunks, features, frames) from frame `context` - 1 on."""
        batch, chunks = windows.shape[:2]
        outputs, _ = lstm(windows.flatten(0, 1).transpose(1, 2))
        return outputs[:, context - 1 :].unflatten(0, (batch, chunks)).flatten(1, 2)
