"""Separate a recording of any length in constant memory: blocks of the mixture in, stems out as soon as they are certain."""

import itertools
import math
import sys
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from models.separation.separator import MaskSeparator
from models.separation.wiener import wiener
from models.stft import STFT
from tasks.separation.freed import give_back
from tasks.separation.inference import Inference
from tasks.separation.overlap_add import OverlapAdd
from tasks.separation.tape import Tape
from tasks.separation.wave_stream import WaveStream


class Precision:
    """The autocast in force where this was made, for a network that runs later, when a stream is drained."""

    def __init__(self, device: torch.device) -> None:
        self.device = device.type
        self.enabled = torch.is_autocast_enabled(self.device)
        self.dtype = torch.get_autocast_dtype(self.device)

    def __call__(self) -> torch.autocast:
        """Context to run the network in."""
        return torch.autocast(self.device, dtype=self.dtype, enabled=self.enabled)


class MaskStream:
    """A network on magnitudes over a stream, on the frame grid of the whole recording.

    A chunk is a number of whole Wiener windows. The network also hears `context` around it, and the edges are reflected
    at the two ends of the recording alone; so for a network that looks no further than that the stems are those of the
    whole recording at once. The Wiener filter is scaled by each window's own peak, which chunks do not change either.
    """

    def __init__(self, net: MaskSeparator, inference: Inference) -> None:
        self.net, self.inference, self.device = net, inference, place_of(net)[0]
        self.run_net = NetRunner(net, inference.swap)
        n_fft, hop = net.stft.n_fft, net.stft.hop
        self.stft = STFT(n_fft, hop, center=False).to(self.device)
        self.output = OverlapAdd(n_fft, hop, self.stft.window)
        self.hop, self.half = hop, n_fft // 2
        windows = inference.chunk * net.sample_rate / hop / inference.window
        self.chunk = sys.maxsize if math.isinf(windows) else max(1, round(windows)) * inference.window
        self.context = math.ceil(inference.context * net.sample_rate / hop)
        self.tape, self.frame, self.yielded = Tape(), 0, 0

    def push(self, audio: Tensor, last: bool = False) -> Iterator[Tensor]:
        """Stems (sources, channels, n) that further samples (channels, n) of the mixture make certain, piece by piece."""
        self.tape.append(audio.to(self.device, torch.float32))
        length = self.tape.end
        if last:
            if length <= self.half:  # too short to be reflected
                self.tape.append(self.tape.blocks[0].new_zeros(len(audio), self.half + 1 - length))
            if self.net.stft.sparse:  # as STFT does
                self.tape.append(self.tape.blocks[0].new_zeros(len(audio), -self.tape.end % self.hop))
            frames = 1 + self.tape.end // self.hop
        else:
            # Frames whose samples are all there, less the context that a chunk wants behind it.
            frames = (self.tape.end - self.half) // self.hop + 1 - self.context
        while self.frame < frames and (last or frames - self.frame >= self.chunk):
            stop = min(self.frame + self.chunk, frames)
            for piece in self._chunk(self.frame, stop, min(stop + self.context, frames) if last else stop + self.context):
                yield from self._cut(piece, length if last else None)
            self.frame = stop
            self.tape.forget((stop - self.context) * self.hop - self.half - 1)
        if last:
            yield from self._cut(self.output.flush(), length)

    @torch.no_grad()
    def _chunk(self, start: int, stop: int, end: int) -> Iterator[Tensor]:
        """Stems of the samples that frames `start .. stop` complete; the network hears the frames up to `end`."""
        begin = max(0, start - self.context)
        give_back()
        masks = self.run_net.masks(self._magnitudes(begin, end))
        for first in range(start, stop, self.inference.window):
            last = min(first + self.inference.window, stop)
            # Made once more, since the spectra of a whole chunk take as much memory as a small network.
            mixture = self.stft(self._samples(first, last))
            give_back()
            with torch.autocast(self.device.type, enabled=False):
                yield self.output.push(self._filtered(masks, slice(first - begin, last - begin), mixture))

    def _magnitudes(self, begin: int, end: int) -> Tensor:
        """Magnitudes (channels, bins, frames) of a range of frames, transformed a few at a time."""
        step = self.inference.window
        parts = [self.stft(self._samples(first, min(first + step, end))).abs() for first in range(begin, end, step)]
        # Joined with the bins next to each other, as one transform would give them.
        return torch.cat([part.mT for part in parts], -2).mT

    def _filtered(self, masks: Callable[[slice], Tensor], frames: slice, mixture: Tensor) -> Tensor:
        """Complex spectra (sources, channels, bins, frames) of one Wiener window."""
        residual = bool(self.inference.residual)
        # No name for masks and magnitudes, which the filter frees as soon as it can.
        estimates = wiener(masks(frames).float() * mixture.abs(), mixture, self.inference.niter, residual=residual)
        give_back()
        return estimates

    def _samples(self, begin: int, end: int) -> Tensor:
        """Samples (channels, n) under frames `begin .. end`, reflected at the recording's ends."""
        first, stop = begin * self.hop - self.half, (end - 1) * self.hop + self.half
        left, right = max(-first, 0), max(stop - self.tape.end, 0)
        first = max(first, 0)
        # A reflection needs one sample more than it is long.
        read = min(first, max(self.tape.end - right - 1, 0)) if right else first
        inside = self.tape.read(read, min(stop, self.tape.end))
        return nn.functional.pad(inside, (left, right), mode="reflect")[..., first - read :]

    def _cut(self, piece: Tensor, length: int | None) -> Iterator[Tensor]:
        """A piece of the transform's output without what lies before the first sample, or beyond `length` if known."""
        begin = max(self.half - self.yielded, 0)
        stop = piece.shape[-1] if length is None else min(piece.shape[-1], self.half + length - self.yielded)
        self.yielded += piece.shape[-1]
        if stop > begin:
            yield piece[..., begin:stop]


class NetRunner:
    """Runs a network on one chunk, in its own precision, on request also with left and right exchanged."""

    def __init__(self, net: nn.Module, swap: bool = False) -> None:
        self.net, self.swap = net, swap and net.channels == 2
        device, self.dtype = place_of(net)
        self.precision = Precision(device)

    def __call__(self, chunk: Tensor) -> Tensor:
        """The network's output (sources, channels, ..., n) for one input (channels, ..., n), float32 or as the network's."""
        with self.precision():
            out = self.net(chunk.to(self.dtype)[None])[0]
            if self.swap:
                out = (out + self.net(chunk.to(self.dtype).flip(0)[None])[0].flip(1)) / 2
        return out

    def masks(self, magnitude: Tensor) -> Callable[[slice], Tensor]:
        """The same of a network on magnitudes (channels, bins, n), for a range of frames whenever it is asked for."""
        with self.precision():
            inputs = [magnitude.to(self.dtype), *([magnitude.to(self.dtype).flip(0)] if self.swap else [])]
            encoded = [self.net.encode(one[None]) for one in inputs]

        def decoded(frames: slice) -> Tensor:
            with self.precision():
                out, *swapped = (self.net.decode(one, frames)[0] for one in encoded)
                return (out + swapped[0].flip(1)) / 2 if swapped else out

        return decoded


class Stream2Stems:
    """Blocks of a mixture (channels, n) at the network's rate to blocks of stems (sources, channels, n), as many samples."""

    def __init__(self, net: nn.Module, inference: Inference | None = None) -> None:
        self.net, self.inference = net, inference or Inference()

    def start(self) -> "MaskStream | WaveStream":
        """A stream of its own for one recording."""
        if isinstance(self.net, MaskSeparator):
            return MaskStream(self.net, self.inference)
        return WaveStream(self.net, self.inference, NetRunner(self.net, self.inference.swap), place_of(self.net)[0])

    def __call__(self, blocks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Stems of all blocks, which may be of any lengths."""
        stream = self.start()
        for block in blocks:
            yield from stream.push(block)
        yield from stream.push(torch.zeros(self.net.channels, 0), last=True)


def place_of(net: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Device and floating type of a network."""
    for tensor in itertools.chain(net.parameters(), net.buffers()):
        if tensor.is_floating_point():
            return tensor.device, tensor.dtype
    return torch.device("cpu"), torch.float32
