"""Attention and tag-wise contribution maps of a recording, as data and as pictures (paper, section 5.3)."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from models.blocks.features import LogMel
from tasks.tagging.inference import ChunkScores, clip_level, cut, tagger_window

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Map(NamedTuple):
    """What an attention network shows of one chunk, with the axes to draw it on."""

    spectrogram: np.ndarray  # (mels, frames) dB
    attention: np.ndarray  # (heads, 1 + tokens), [CLS] first; each head sums to 1
    contribution: np.ndarray  # (tokens, tags) probability if that token alone were attended to
    mel_hertz: np.ndarray  # (mels,) centre of each band, Hz
    hop_s: float  # between frames of the spectrogram, s
    token_s: float  # between tokens, s
    start_s: float  # of the chunk in the recording, s
    end_s: float | None = None  # where the recording ends, s; what the chunk holds behind is padding
    boundary_s: float | None = None  # where the second recording starts in a joined map, s

    def arrays(self, tags: list[str]) -> dict[str, np.ndarray]:
        """Everything as named arrays, for an NPZ that needs no pickle."""
        fields = {name: np.asarray(value) for name, value in self._asdict().items() if value is not None}
        return fields | {"tags": np.asarray(tags)}


class Segment(NamedTuple):
    """One chunk of a recording, with the reference level of the whole."""

    audio: Tensor  # (samples,)
    level: Tensor | None  # (1,) dB
    start_s: float
    end_s: float  # of the recording, s


def strongest(tagger: nn.Module, audio: Tensor, chunks: ChunkScores, tag: int | None = None) -> Segment:
    """Chunk in which a tag (by default the clip's top tag) scores highest."""
    tag = int(np.argmax(chunks.clip())) if tag is None else tag
    window = tagger_window(tagger)
    start = round(float(chunks.start_s[np.argmax(chunks.scores[:, tag])]) * window.sample_rate)
    rate = window.sample_rate
    return Segment(cut(audio, window, start), clip_level(tagger.net, audio), start / rate, len(audio) / rate)


@torch.no_grad()
def explain(tagger: nn.Module, segment: Segment) -> Map:
    """Maps of one chunk."""
    inputs = _inputs(tagger.net, segment)
    shown = inputs if inputs.ndim == 3 else _display(tagger.net)(segment.audio[None].cpu())
    return _map(tagger.net, inputs, shown, segment.start_s)._replace(end_s=segment.end_s)


@torch.no_grad()
def explain_joined(tagger: nn.Module, first: Segment, second: Segment) -> Map:
    """Maps of the first halves of two chunks, cut and joined at the spectrogram (paper, Figure 7)."""
    halves = [_inputs(tagger.net, segment) for segment in (first, second)]
    inputs = torch.cat([x[..., : x.shape[-1] // 2] for x in halves], -1)
    shown = inputs if inputs.ndim == 3 else _display(tagger.net)(inputs.cpu())
    found = _map(tagger.net, inputs, shown, 0.0)
    return found._replace(boundary_s=found.hop_s * (found.spectrogram.shape[1] // 2))


def attention_figure(found: Map, title: str) -> "Figure":
    """Figures 6 and 8-11: spectrogram above the attention summed over heads."""
    from tasks.tagging.figures import attention_map

    return attention_map(found.spectrogram, found.attention, title=title, **_axes(found))


def contribution_figure(found: Map, tags: list[str], rows: list[str], title: str, halves: tuple[str, ...] = ()) -> "Figure":
    """Figures 7 and 12: spectrogram above one row of contribution per tag."""
    from tasks.tagging.figures import contribution_map

    columns = [tags.index(tag) for tag in rows]
    extra = {"boundary_s": found.boundary_s, "halves": halves} if found.boundary_s else {}
    return contribution_map(found.spectrogram, found.contribution[:, columns], tags=rows, title=title, **_axes(found), **extra)


def _axes(found: Map) -> dict:
    return {name: getattr(found, name) for name in ("mel_hertz", "hop_s", "start_s", "token_s", "end_s")}


def _inputs(net: nn.Module, segment: Segment) -> Tensor:
    device = next(net.parameters()).device
    level = None if segment.level is None else segment.level.to(device)
    return net.front_end.inputs(segment.audio[None].to(device), level)


def _map(net: nn.Module, inputs: Tensor, shown: Tensor, start_s: float) -> Map:
    found = net.explain_inputs(inputs)
    mel = _display(net)
    return Map(
        spectrogram=shown[0].float().cpu().numpy(),
        attention=found.attention[0].float().cpu().numpy(),
        contribution=found.contribution[0].float().cpu().numpy(),
        mel_hertz=mel.hertz().cpu().numpy(),
        hop_s=mel.hop / mel.sample_rate,
        token_s=net.front_end.frame_hop / net.sample_rate,
        start_s=start_s,
    )


def _display(net: nn.Module) -> LogMel:
    """The network's own log-mel, or the paper's for a network that reads samples and still wants a picture."""
    return getattr(net.front_end, "mel", None) or LogMel(sample_rate=net.sample_rate, center=True)
