"""Stream of the stems of one song: audio file -> blocks of stems with its sample rate, channels and exact length."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodules.audio.reading import resampler
from datamodules.separation.songs import LoadedSong, open_song
from models.separation.overlap_add import RingSignal
from models.separation.stream import Stream2Stems

PAIRS = {4: ((0, 1), (2, 3)), 6: ((0, 1), (2,), (3,), (4, 5)), 8: ((0, 1), (2,), (3,), (4, 5), (6, 7))}
"""Channel groups separated together: quadraphonic; 5.1 and 7.1 in WAV order (left, right, centre, LFE, rear, sides)."""


class StemBlock(NamedTuple):
    """Block of a song and of its stems, float32 on the CPU at the song's sample rate."""

    mixture: Tensor  # (channels, frames)
    stems: Tensor  # (sources, channels, frames)


class SongStems:
    """Stems of one file, or of audio in memory, separated while iterating; the constructor reads only the header.

    `sample_rate` (Hz), `channels` and `path` are those of the file. `frames` is the length in the header, and after the last
    block the decoded length; `damage` is then the reason if decoding stopped early.

    Args:
        path: audio or video file, or audio in memory
        separate: streaming separator
        sources: names of the stems

    Raises:
        DataError: the file cannot be opened; while iterating: it cannot be decoded.
    """

    def __init__(self, path: str | Path | LoadedSong, separate: Stream2Stems, sources: list[str]) -> None:
        self.separate, self.sources = separate, list(sources)
        self.damage: str | None = None
        self._open = open_song(path)
        self.path, self.sample_rate = self._open.path, self._open.rate
        self.channels, self.frames = self._open.channels, self._open.frames
        self._groups = channel_groups(self.channels, separate.net.channels)
        # Started here, in the precision context of the caller; the stream is consumed later.
        self._streams = [separate.start() for _ in self._groups]

    def __iter__(self) -> Iterator[Tensor]:
        """Blocks (sources, channels, frames) of the stems; a single pass."""
        for piece in self.pieces():
            yield piece.stems

    def pieces(self) -> Iterator[StemBlock]:
        """Blocks of stems with the same frames of the song; a single pass over all decoded frames."""
        width = len(self.sources) * self.channels
        to_net = resampler(self.sample_rate, self.separate.net.sample_rate, self.channels, self.path)
        back = resampler(self.separate.net.sample_rate, self.sample_rate, width, self.path)
        song, position = RingSignal(), 0
        with self._open as file:
            for block in file.blocks():
                song.append(torch.from_numpy(block.T))
                for stems in self._separated(to_net(block, False)):
                    piece = self._shaped(back(_flat(stems), False))
                    yield StemBlock(song.read(position, position + piece.shape[-1]), piece)
                    position += piece.shape[-1]
                    song.forget(position)
                    del stems, piece  # free memory before the next block
            for stems in self._separated(to_net(np.zeros((0, self.channels), np.float32), True), last=True):
                piece = self._shaped(back(_flat(stems), False))[..., : song.end - position]
                yield StemBlock(song.read(position, position + piece.shape[-1]), piece)
                position += piece.shape[-1]
            tail = self._shaped(back(np.zeros((0, width), np.float32), True))[..., : song.end - position]
            tail = torch.nn.functional.pad(tail, (0, song.end - position - tail.shape[-1]))
            if tail.shape[-1]:
                yield StemBlock(song.read(position, song.end), tail)
            self.frames, self.damage = song.end, file.damage

    def _separated(self, audio: np.ndarray, last: bool = False) -> Iterator[Tensor]:
        """Next audio (n, channels) -> stems (sources, channels, n) on the CPU, both at the network's sample rate."""
        channels = self.separate.net.channels
        outputs = (
            stream.push(torch.from_numpy(np.ascontiguousarray(audio[:, group].T)).expand(channels, -1), last)
            for stream, group in zip(self._streams, map(list, self._groups), strict=True)
        )
        for pieces in zip(*outputs, strict=True):
            yield torch.cat([_mapped(p, len(g)) for p, g in zip(pieces, self._groups, strict=True)], dim=1).float().cpu()

    def _shaped(self, audio: np.ndarray) -> Tensor:
        """(frames, sources * channels) as (sources, channels, frames)."""
        return torch.from_numpy(np.ascontiguousarray(audio.T)).unflatten(0, (len(self.sources), self.channels))


def channel_groups(channels: int, net_channels: int) -> tuple[tuple[int, ...], ...]:
    """Groups of channels of a file that are separated together.

    A mono network takes one channel at a time. A stereo network takes left and right pairs (`PAIRS`; in unknown layouts the
    first two channels), and any other channel duplicated, with the mean of the two outputs as its stem.
    """
    if net_channels == 1 or channels == 1:
        return tuple((c,) for c in range(channels))
    if channels == net_channels:
        return (tuple(range(channels)),)
    return PAIRS.get(channels, ((0, 1), *((c,) for c in range(2, channels))))


def _flat(stems: Tensor) -> np.ndarray:
    """(sources, channels, n) as (n, sources * channels)."""
    return stems.flatten(0, 1).T.contiguous().numpy()


def _mapped(stems: Tensor, channels: int) -> Tensor:
    """Stems (sources, net channels, n) -> (sources, channels of the group, n)."""
    return stems if stems.shape[1] == channels else stems.mean(dim=1, keepdim=True)
