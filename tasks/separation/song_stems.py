"""One song as a stream of stems at its own rate, with its own channels and exactly its length."""

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
"""Channels that are separated together: quadro; 5.1 and 7.1 as in WAV (left, right, centre, bass, rear, sides)."""


class StemBlock(NamedTuple):
    """A piece of a song and of its stems, float32 on the CPU at the song's rate."""

    mixture: Tensor  # (channels, frames)
    stems: Tensor  # (sources, channels, frames)


class SongStems:
    """Stems of one file (or of audio in memory), separated while they are read; opening it reads no more than the header.

    `rate`, `channels` and `path` are the file's; `frames` is its length as claimed, and after the last piece as decoded;
    `damage` then says why decoding stopped early. Raises DataError where the file does not open or decode.
    """

    def __init__(self, path: str | Path | LoadedSong, separate: Stream2Stems, sources: list[str]) -> None:
        self.separate, self.sources = separate, list(sources)
        self.damage: str | None = None
        # What the network runs in is decided now: a stream is drained later, by whoever writes the stems.
        self._open = open_song(path)
        self.path, self.rate = self._open.path, self._open.rate
        self.channels, self.frames = self._open.channels, self._open.frames
        self._groups = channel_groups(self.channels, separate.net.channels)
        self._streams = [separate.start() for _ in self._groups]

    def __iter__(self) -> Iterator[Tensor]:
        """Blocks (sources, channels, frames) of the stems, once."""
        for piece in self.pieces():
            yield piece.stems

    def pieces(self) -> Iterator[StemBlock]:
        """The stems, once, with the part of the song that each block belongs to; as many frames as decoded in all."""
        width = len(self.sources) * self.channels
        to_net = resampler(self.rate, self.separate.net.sample_rate, self.channels, self.path)
        back = resampler(self.separate.net.sample_rate, self.rate, width, self.path)
        song, place = RingSignal(), 0
        with self._open as file:
            for block in file.blocks():
                song.append(torch.from_numpy(block.T))
                for stems in self._separated(to_net(block, False)):
                    piece = self._shaped(back(_flat(stems), False))
                    yield StemBlock(song.read(place, place + piece.shape[-1]), piece)
                    place += piece.shape[-1]
                    song.forget(place)
                    del stems, piece  # not kept while the next ones are made
            for stems in self._separated(to_net(np.zeros((0, self.channels), np.float32), True), last=True):
                piece = self._shaped(back(_flat(stems), False))[..., : song.end - place]
                yield StemBlock(song.read(place, place + piece.shape[-1]), piece)
                place += piece.shape[-1]
            tail = self._shaped(back(np.zeros((0, width), np.float32), True))[..., : song.end - place]
            tail = torch.nn.functional.pad(tail, (0, song.end - place - tail.shape[-1]))
            if tail.shape[-1]:
                yield StemBlock(song.read(place, song.end), tail)
            self.frames, self.damage = song.end, file.damage

    def _separated(self, audio: np.ndarray, last: bool = False) -> Iterator[Tensor]:
        """Stems (sources, channels, n) on the CPU of further audio (n, channels), both at the network's rate."""
        channels = self.separate.net.channels
        given = (
            stream.push(torch.from_numpy(np.ascontiguousarray(audio[:, group].T)).expand(channels, -1), last)
            for stream, group in zip(self._streams, map(list, self._groups), strict=True)
        )
        for pieces in zip(*given, strict=True):
            yield torch.cat([_mapped(p, len(g)) for p, g in zip(pieces, self._groups, strict=True)], dim=1).float().cpu()

    def _shaped(self, audio: np.ndarray) -> Tensor:
        """(frames, sources * channels) as (sources, channels, frames)."""
        return torch.from_numpy(np.ascontiguousarray(audio.T)).unflatten(0, (len(self.sources), self.channels))


def channel_groups(channels: int, of_net: int) -> tuple[tuple[int, ...], ...]:
    """Which channels of a file are separated together.

    A mono network takes each channel by itself. A stereo network takes stereo as it is and a mono channel twice, with the
    mean of the two as its stem; of more channels those that are left and right to each other form pairs (`PAIRS`; in
    unknown layouts the first two), and the others go alone.
    """
    if of_net == 1 or channels == 1:
        return tuple((c,) for c in range(channels))
    if channels == of_net:
        return (tuple(range(channels)),)
    return PAIRS.get(channels, ((0, 1), *((c,) for c in range(2, channels))))


def _flat(stems: Tensor) -> np.ndarray:
    """(sources, channels, n) as (n, sources * channels)."""
    return stems.flatten(0, 1).T.contiguous().numpy()


def _mapped(stems: Tensor, channels: int) -> Tensor:
    """Stems (sources, channels of the network, n) with the channels of the file."""
    return stems if stems.shape[1] == channels else stems.mean(dim=1, keepdim=True)
