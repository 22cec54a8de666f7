"""Inference of source separation: audio of any length, or a file -> stems; one step a class.

    separator = tasks.load("runs/separation/default")  # a checkpoint or a run folder

| step                           | called with          | result                                                                |
| ------------------------------ | -------------------- | --------------------------------------------------------------------- |
| `Stream2Stems(net, inference)` | blocks (channels, n) | blocks (sources, channels, frames) at the network's rate              |
| `Audio2Stems(separator)`       | audio, sample_rate   | stems (sources, channels, samples) at that rate                       |
| `File2Stems(separator)`        | path                 | `SongStems`: blocks (sources, channels, frames), a song of any length |

Audio is (channels, samples). Options are those of the separator (`separator.inference`), or the argument `inference`.
"""

import dataclasses
import math
from pathlib import Path

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

__all__ = ["Audio2Stems", "File2Stems", "SeparationOptions", "SongStems", "StemBlock", "Stream2Stems"]


class Audio2Stems:
    """Waveform step: audio of any length to its stems, by the same code as a stream.

    Args:
        separator: LightningModule of the task, or a network of `models.separation` by itself
        inference: options (default: those of the separator)
    """

    def __init__(self, separator: nn.Module, inference: SeparationOptions | None = None) -> None:
        net = getattr(separator, "separating", separator)
        self.stems = Stream2Stems(net, inference or settings_of(separator))

    def __call__(self, audio: ArrayLike, sample_rate: int) -> Tensor:
        """Stems (sources, channels, samples) of audio (channels, samples), at its own `sample_rate` (Hz) and on the CPU.

        Raises:
            ValueError: audio of another shape, or integers but int16.
            DataError: audio that is empty or not finite.
        """
        song = LoadedSong(audio, sample_rate)
        return torch.cat(list(SongStems(song, self.stems, range(self.stems.net.n_sources))), dim=-1)

    def native(self, audio: Tensor) -> Tensor:
        """The same of audio with the network's own rate and channels; the stems are on the network's device.

        Raises:
            ValueError: audio of other channels.
        """
        net = self.stems.net
        if audio.ndim != 2 or len(audio) != net.channels:
            raise ValueError(f"expected audio ({net.channels}, samples), got {tuple(audio.shape)}: call with a rate")
        pieces = list(self.stems([audio]))
        return torch.cat(pieces, dim=-1) if pieces else audio.new_zeros(net.n_sources, *audio.shape)


class File2Stems:
    """File step: a path to its stems, whatever its format, rate, channels and length, as a stream of constant memory.

    Args:
        separator: LightningModule of the task
        inference: options (default: those of the separator)
    """

    def __init__(self, separator: nn.Module, inference: SeparationOptions | None = None) -> None:
        net = getattr(separator, "separating", separator.net)
        self.separate, self.sources = Stream2Stems(net, inference or settings_of(separator)), list(separator.sources)

    def __call__(self, path: str | Path) -> SongStems:
        """Stems of one file, not read yet.

        Raises:
            DataError: the file does not open; while it is read: it does not decode.
        """
        return SongStems(path, self.separate, self.sources)


# Whether the seams between chunks can be heard: the stems of chunks against those of the whole at once.

FRAME_S = 0.1
EQUAL = -200.0  # dB


def check_seams(separator: nn.Module, audio: Tensor, inference: SeparationOptions | None = None) -> float:
    """Worst difference in dB between stems separated in chunks and at once, of audio (channels, samples).

    The energy of the difference in the worst tenth of a second, over the mean energy of that stem: -60 dB is a thousandth
    of its amplitude. Minus infinity where nothing differs. `audio` should be longer than two chunks, and short enough
    to be separated at once (a minute or two).
    """
    net = getattr(separator, "separating", separator.net)
    inference = inference or settings_of(separator)
    whole = Audio2Stems(net, dataclasses.replace(inference, chunk=math.inf)).native(audio)
    parts = Audio2Stems(net, inference).native(audio)
    frame = round(FRAME_S * net.sample_rate)
    difference = nn.functional.pad((parts - whole).double().square().mean(dim=1), (0, -audio.shape[-1] % frame))
    worst = difference.unflatten(-1, (-1, frame)).mean(dim=-1).amax(dim=-1)
    level = whole.double().square().mean(dim=(1, 2))
    # A stem that is silent as a whole has nothing to compare with.
    ratio = (worst / level)[level > level.amax() * 1e-9]
    return float(10 * torch.log10(ratio.amax())) if len(ratio) else -math.inf


def file_seams(separator: nn.Module, path: str | Path) -> float | None:
    """`check_seams` of a file's first two and a half chunks; None for a file that is one chunk; -200 dB means equal."""
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
