"""Inference of source separation: audio of any length, or a file -> stems; one step a class.

    separator = tasks.load("runs/separation/default")  # a checkpoint or a run folder

| step                           | called with          | result                                                                |
| ------------------------------ | -------------------- | --------------------------------------------------------------------- |
| `Stream2Stems(net, inference)` | blocks (channels, n) | blocks (sources, channels, frames) at the network's rate              |
| `Audio2Stems(separator)`       | audio, sample_rate   | stems (sources, channels, samples) at that rate                       |
| `File2Stems(separator)`        | path                 | `SongStems`: blocks (sources, channels, frames), a song of any length |

Audio is (channels, samples). Options are those of the separator (`separator.inference`), or the argument `inference`.
"""

from pathlib import Path

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from datamodules.songs import LoadedSong
from tasks.separation.coverage import settings_of
from tasks.separation.inference import Inference
from tasks.separation.song_stems import Piece, SongStems
from tasks.separation.stream import Stream2Stems

__all__ = ["Audio2Stems", "File2Stems", "Inference", "Piece", "SongStems", "Stream2Stems", "load_separator"]


def load_separator(path: str | Path, device: str = "cpu") -> nn.Module:
    """LightningModule of a checkpoint file or run folder, in evaluation mode, plain weights only.

    Raises:
        DataError: no such checkpoint, or one of another task.
    """
    from tasks.checkpoints import load_module

    return load_module(path, device, "separation")


class Audio2Stems:
    """Waveform step: audio of any length to its stems, by the same code as a stream.

    Args:
        separator: LightningModule of the task, or a network of `models.separation` by itself
        inference: options (default: those of the separator)
    """

    def __init__(self, separator: nn.Module, inference: Inference | None = None) -> None:
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

    def __init__(self, separator: nn.Module, inference: Inference | None = None) -> None:
        net = getattr(separator, "separating", separator.net)
        self.separate, self.sources = Stream2Stems(net, inference or settings_of(separator)), list(separator.sources)

    def __call__(self, path: str | Path) -> SongStems:
        """Stems of one file, not read yet.

        Raises:
            DataError: the file does not open; while it is read: it does not decode.
        """
        return SongStems(path, self.separate, self.sources)
