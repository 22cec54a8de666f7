"""Inference of source separation: audio of any length, or a file -> stems. One class per step.

    separator = tasks.load("runs/separation/default")  # a checkpoint or a run folder

| step                           | called with          | result                                                     |
| ------------------------------ | -------------------- | ---------------------------------------------------------- |
| `Stream2Stems(net, inference)` | blocks (channels, n) | blocks (sources, channels, frames)                         |
| `Audio2Stems(separator)`       | audio, sample_rate   | `SeparationResult`: `.stems` (sources, channels, samples)  |
| `File2Stems(separator)`        | path                 | `SongStems`: stream of blocks (sources, channels, frames)  |

Audio is (channels, samples). Options are those of the separator (`separator.inference`), or the argument `inference`.
"""

import dataclasses
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from datamodules.audio.reading import resampler
from datamodules.separation.songs import LoadedSong, open_song
from models.separation.coverage import settings_of
from models.separation.options import SeparationOptions
from models.separation.separator import WaveSeparator
from models.separation.stream import Stream2Stems
from tasks.separation.song_stems import SongStems, StemBlock

__all__ = ["Audio2Stems", "File2Stems", "SeparationOptions", "SeparationResult", "SongStems", "StemBlock", "Stream2Stems"]

SEAM_FRAME_S = 0.1
EQUAL = -200.0  # dB, lowest difference that is reported


class SeparationResult(NamedTuple):
    """Stems of one recording in memory."""

    stems: Tensor  # (sources, channels, samples) float32 on the CPU
    sources: tuple[str, ...]
    sample_rate: int  # Hz

    def as_dict(self) -> dict[str, Tensor]:
        """Stems (channels, samples) by source."""
        return dict(zip(self.sources, self.stems, strict=True))


class Audio2Stems:
    """Result step: audio of any length -> stems, separated as a stream.

    Args:
        separator: LightningModule of the task, or a network of `models.separation`
        inference: options (default: those of the separator)
    """

    def __init__(self, separator: nn.Module, inference: SeparationOptions | None = None) -> None:
        net = getattr(separator, "separating", separator)
        self.stems = Stream2Stems(net, inference or settings_of(separator))
        self.sources = list(getattr(separator, "sources", map(str, range(net.n_sources))))

    def __call__(self, audio: ArrayLike, sample_rate: int) -> SeparationResult:
        """Stems of audio (channels, samples) at `sample_rate` Hz, at the same sample rate and with the same channels.

        Raises:
            ValueError: another shape, or integers other than int16.
            DataError: audio that is empty or not finite.
        """
        song = SongStems(LoadedSong(audio, sample_rate), self.stems, self.sources)
        return SeparationResult(torch.cat(list(song), dim=-1), tuple(self.sources), sample_rate)

    def native(self, audio: Tensor) -> Tensor:
        """Stems (sources, channels, samples) of audio (channels, samples) in the network's sample rate, channels and device.

        Raises:
            ValueError: another number of channels.
        """
        net = self.stems.net
        if audio.ndim != 2 or len(audio) != net.channels:
            raise ValueError(f"expected audio ({net.channels}, samples), got {tuple(audio.shape)}: call with a sample rate")
        blocks = list(self.stems([audio]))
        return torch.cat(blocks, dim=-1) if blocks else audio.new_zeros(net.n_sources, *audio.shape)


class File2Stems:
    """File step: path of an audio or video file of any length -> stems, as a stream of constant memory.

    Args:
        separator: LightningModule of the task
        inference: options (default: those of the separator)
    """

    def __init__(self, separator: nn.Module, inference: SeparationOptions | None = None) -> None:
        net = getattr(separator, "separating", separator.net)
        self.separate, self.sources = Stream2Stems(net, inference or settings_of(separator)), list(separator.sources)

    def __call__(self, path: str | Path) -> SongStems:
        """Stream of the stems of one file.

        Raises:
            DataError: the file cannot be opened; while iterating: it cannot be decoded.
        """
        return SongStems(path, self.separate, self.sources)


def check_seams(separator: nn.Module, audio: Tensor, inference: SeparationOptions | None = None) -> float:
    """Worst difference in dB between stems separated in chunks and at once, of audio (channels, samples).

    The energy of the difference in the worst 0.1 s over the mean energy of the stem: -60 dB is a thousandth of its
    amplitude, minus infinity is equality. `audio` should be longer than two chunks, and short enough to be separated at
    once (a minute or two).
    """
    net = getattr(separator, "separating", separator.net)
    inference = inference or settings_of(separator)
    whole = Audio2Stems(net, dataclasses.replace(inference, chunk=math.inf)).native(audio)
    parts = Audio2Stems(net, inference).native(audio)
    frame = round(SEAM_FRAME_S * net.sample_rate)
    difference = nn.functional.pad((parts - whole).double().square().mean(dim=1), (0, -audio.shape[-1] % frame))
    worst = difference.unflatten(-1, (-1, frame)).mean(dim=-1).amax(dim=-1)
    level = whole.double().square().mean(dim=(1, 2))
    # Silent stems have no level to compare with.
    ratio = (worst / level)[level > level.amax() * 1e-9]
    return float(10 * torch.log10(ratio.amax())) if len(ratio) else -math.inf


def file_seams(separator: nn.Module, path: str | Path) -> float | None:
    """`check_seams` on the first two and a half chunks of a file, at least -200 dB; None for a file of one chunk."""
    net, inference = getattr(separator, "separating", separator.net), settings_of(separator)
    chunk_s = net.segment / net.sample_rate if isinstance(net, WaveSeparator) else inference.chunk
    blocks, seconds = [], 0.0
    with open_song(path) as song:
        for block in song.blocks():
            blocks.append(block[:, : net.channels])
            seconds += len(block) / song.rate
            if seconds > 2.5 * chunk_s + inference.context:
                break
        audio = resampler(song.rate, net.sample_rate, blocks[0].shape[1], song.path)(np.concatenate(blocks), True)
    if seconds <= chunk_s:
        return None
    worst = check_seams(separator, torch.from_numpy(np.ascontiguousarray(audio.T)).expand(net.channels, -1), inference)
    return max(round(worst, 1), EQUAL)
