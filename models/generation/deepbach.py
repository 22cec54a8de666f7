"""DeepBach (Hadjeres, Pachet and Nielsen 2017): each note from what is before, after and beside it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.generation.form import Ask, Form, Frames
from models.generation.orderless import Orderless
from models.generation.strategies.pseudo_gibbs import pseudo_gibbs


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
        form: Form,
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

    def cells(self, batch: Frames) -> Tensor:
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

    def __init__(self, form: Form, voice: int, layers: int, width: int, dropout: float, embedding: int, hidden: int) -> None:
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
