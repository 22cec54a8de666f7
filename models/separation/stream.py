"""Separate a recording of any length in constant memory: blocks of the mixture in, stems out as soon as they are certain."""

import ctypes
import functools
import itertools
import math
import sys
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from models.blocks.stft import STFT
from models.separation.options import SeparationOptions
from models.separation.overlap_add import OverlapAdd, RingSignal
from models.separation.separator import MaskSeparator, WaveSeparator
from models.separation.wiener import wiener

# A network on waveforms over a stream: chunks as long as in training, faded into one another.

LONGEST_SHIFT_S = 0.5


class WaveStream:
    """Chunks of `net.segment` samples that start at multiples of `net.align` and overlap by `inference.overlap`.

    In an overlap the outer quarter of each chunk is thrown away, and over the half between the two fade linearly: their
    weights add up to one. The last chunk reaches back so that it is a whole one too.

    run_net: the network on one chunk, (channels, n) -> (sources, channels, n). device: where it runs.
    """

    def __init__(self, net: WaveSeparator, inference: SeparationOptions, run_net: Callable, device: torch.device) -> None:
        self.net, self.inference, self.run_net, self.device = net, inference, run_net, device
        self.size = net.segment
        self.stride = max(1, round(self.size * (1 - inference.overlap)) // net.align) * net.align
        self.overlap = max(self.size - self.stride, 0)
        place = (torch.arange(self.overlap, device=device) + 0.5) / max(self.overlap, 1)
        self.rise = (2 * place - 0.5).clamp(0, 1)
        self.tape, self.start = RingSignal(), 0
        self.tail: Tensor | None = None  # (sources, channels, overlap), the end of the chunk before

    def push(self, audio: Tensor, last: bool = False) -> Iterator[Tensor]:
        """Stems (sources, channels, n) that further samples (channels, n) of the mixture make certain, piece by piece."""
        self.tape.append(audio.to(self.device, torch.float32))
        # More than a chunk must be there: what ends with the recording is the last chunk, which fades into none.
        while self.tape.end > self.start + self.size:
            stems = self._run(self.start, self.start + self.size)
            yield self._fade(stems, self.stride)
            self.start += self.stride
            self.tape.forget(self.start - self.size)
        if last and self.tape.end:
            align = self.net.align
            begin = min(self.start, -(-max(self.tape.end - self.size, 0) // align) * align)
            stems = self._run(begin, self.tape.end)[..., self.start - begin :]
            yield self._fade(stems, stems.shape[-1])

    def _fade(self, stems: Tensor, length: int) -> Tensor:
        """The first `length` samples of a chunk, faded in over the tail of the one before; its own tail is kept."""
        if self.tail is not None:
            count = min(self.overlap, stems.shape[-1])
            rise, tail = self.rise[:count], self.tail[..., :count]
            stems = torch.cat([stems[..., :count] * rise + tail * (1 - rise), stems[..., count:]], dim=-1)
        self.tail = stems[..., length:].clone()
        return stems[..., :length]

    @torch.no_grad()
    def _run(self, begin: int, stop: int) -> Tensor:
        """Stems (sources, channels, stop - begin) of a chunk, the mean over all delays."""
        chunk = self.tape.read(begin, stop)
        longest = LONGEST_SHIFT_S * self.net.sample_rate
        delays = [round(longest * i / (self.inference.shifts + 1)) for i in range(self.inference.shifts + 1)]
        runs = (self.run_net(nn.functional.pad(chunk, (delay, 0)))[..., delay:].float() for delay in delays)
        return sum(runs) / len(delays)


# Memory that the C library keeps for itself after tensors are gone.


def give_back() -> None:
    """Return it to the system, where that can be asked for (glibc); a tenth of a gigabyte beside a few windows of music."""
    if trim := _trim():
        trim(0)


@functools.cache
def _trim() -> Callable[[int], int] | None:
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None


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

    def __init__(self, net: MaskSeparator, inference: SeparationOptions) -> None:
        self.net, self.inference, self.device = net, inference, place_of(net)[0]
        self.run_net = NetRunner(net, inference.swap)
        n_fft, hop = net.stft.n_fft, net.stft.hop
        self.stft = STFT(n_fft, hop, center=False).to(self.device)
        self.output = OverlapAdd(n_fft, hop, self.stft.window)
        self.hop, self.half = hop, n_fft // 2
        windows = inference.chunk * net.sample_rate / hop / inference.window
        self.chunk = sys.maxsize if math.isinf(windows) else max(1, round(windows)) * inference.window
        self.context = math.ceil(inference.context * net.sample_rate / hop)
        self.tape, self.frame, self.yielded = RingSignal(), 0, 0

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

    def __init__(self, net: nn.Module, inference: SeparationOptions | None = None) -> None:
        self.net, self.inference = net, inference or SeparationOptions()

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
