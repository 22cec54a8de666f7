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
    """Attention and contribution maps of one chunk, with their time and frequency axes."""

    spectrogram: np.ndarray  # (mels, frames) dB
    attention: np.ndarray  # (heads, 1 + tokens), [CLS] first; each head sums to 1
    contribution: np.ndarray  # (tokens, tags) probability with all attention on that token
    mel_hertz: np.ndarray  # (mels,) centre of each band, Hz
    hop_s: float  # between frames of the spectrogram, s
    token_s: float  # between tokens, s
    start_s: float  # of the chunk in the recording, s
    end_s: float | None = None  # end of the recording, s; the rest of the chunk is padding
    boundary_s: float | None = None  # where the second recording starts in a joined map, s

    def arrays(self, tags: list[str]) -> dict[str, np.ndarray]:
        """Named arrays for an NPZ file without pickled objects."""
        fields = {name: np.asarray(value) for name, value in self._asdict().items() if value is not None}
        return fields | {"tags": np.asarray(tags)}


class Segment(NamedTuple):
    """Chunk of a recording, with the reference level of the whole recording."""

    audio: Tensor  # (samples,)
    level: Tensor | None  # (1,) dB
    start_s: float
    end_s: float  # of the recording, s


def strongest(tagger: nn.Module, audio: Tensor, chunks: ChunkScores, tag: int | None = None) -> Segment:
    """Chunk with the highest score of a tag (default: the top tag of the clip)."""
    tag = int(np.argmax(chunks.clip())) if tag is None else tag
    window = tagger_window(tagger)
    start = round(float(chunks.start_s[np.argmax(chunks.scores[:, tag])]) * window.sample_rate)
    rate = window.sample_rate
    return Segment(cut(audio, window, start), clip_level(tagger.net, audio), start / rate, len(audio) / rate)


@torch.no_grad()
def explain(tagger: nn.Module, segment: Segment) -> Map:
    """Maps of one chunk."""
    inputs = _inputs(tagger.net, segment)
    displayed = inputs if inputs.ndim == 3 else _display(tagger.net)(segment.audio[None].cpu())
    return _map(tagger.net, inputs, displayed, segment.start_s)._replace(end_s=segment.end_s)


@torch.no_grad()
def explain_joined(tagger: nn.Module, first: Segment, second: Segment) -> Map:
    """Maps of the first halves of two chunks, cut and joined at the spectrogram (paper, Figure 7)."""
    halves = [_inputs(tagger.net, segment) for segment in (first, second)]
    inputs = torch.cat([x[..., : x.shape[-1] // 2] for x in halves], -1)
    displayed = inputs if inputs.ndim == 3 else _display(tagger.net)(inputs.cpu())
    maps = _map(tagger.net, inputs, displayed, 0.0)
    return maps._replace(boundary_s=maps.hop_s * (maps.spectrogram.shape[1] // 2))


def attention_figure(maps: Map, title: str) -> "Figure":
    """Spectrogram above the attention summed over heads (paper, Figures 6 and 8-11)."""
    from tasks.tagging.figures import attention_map

    return attention_map(maps.spectrogram, maps.attention, title=title, **_axes(maps))


def contribution_figure(maps: Map, tags: list[str], rows: list[str], title: str, halves: tuple[str, ...] = ()) -> "Figure":
    """Spectrogram above one row of contribution per tag (paper, Figures 7 and 12)."""
    from tasks.tagging.figures import contribution_map

    columns = [tags.index(tag) for tag in rows]
    extra = {"boundary_s": maps.boundary_s, "halves": halves} if maps.boundary_s else {}
    return contribution_map(maps.spectrogram, maps.contribution[:, columns], tags=rows, title=title, **_axes(maps), **extra)


def _axes(maps: Map) -> dict:
    return {name: getattr(maps, name) for name in ("mel_hertz", "hop_s", "start_s", "token_s", "end_s")}


def _inputs(net: nn.Module, segment: Segment) -> Tensor:
    device = next(net.parameters()).device
    level = None if segment.level is None else segment.level.to(device)
    return net.front_end.inputs(segment.audio[None].to(device), level)


def _map(net: nn.Module, inputs: Tensor, displayed: Tensor, start_s: float) -> Map:
    explanation = net.explain_inputs(inputs)
    mel = _display(net)
    return Map(
        spectrogram=displayed[0].float().cpu().numpy(),
        attention=explanation.attention[0].float().cpu().numpy(),
        contribution=explanation.contribution[0].float().cpu().numpy(),
        mel_hertz=mel.hertz().cpu().numpy(),
        hop_s=mel.hop / mel.sample_rate,
        token_s=net.front_end.frame_hop / net.sample_rate,
        start_s=start_s,
    )


def _display(net: nn.Module) -> LogMel:
    """Log-mel of the network; for a network on raw samples, the log-mel of the paper."""
    return getattr(net.front_end, "mel", None) or LogMel(sample_rate=net.sample_rate, center=True)
