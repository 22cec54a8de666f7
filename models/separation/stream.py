"""Streaming separation in constant memory: blocks of a mixture (channels, n) -> blocks of stems (sources, channels, n)."""

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

LONGEST_SHIFT_S = 0.5


class WaveStream:
    """Waveform network on a stream: chunks of `net.segment` samples, at multiples of `net.align`, with cross-fades.

    Chunks overlap by `inference.overlap`. The outer quarter of each side of an overlap is discarded, the half between is
    cross-faded linearly. The last chunk is extended backwards to full length.

    run_net: network on one chunk, (channels, n) -> (sources, channels, n); device: its device.
    """

    def __init__(self, net: WaveSeparator, inference: SeparationOptions, run_net: Callable, device: torch.device) -> None:
        self.net, self.inference, self.run_net, self.device = net, inference, run_net, device
        self.size = net.segment
        self.stride = max(1, round(self.size * (1 - inference.overlap)) // net.align) * net.align
        self.overlap = max(self.size - self.stride, 0)
        position = (torch.arange(self.overlap, device=device) + 0.5) / max(self.overlap, 1)
        self.rise = (2 * position - 0.5).clamp(0, 1)
        self.buffer, self.start = RingSignal(), 0
        self.tail: Tensor | None = None  # (sources, channels, overlap), end of the previous chunk

    def push(self, audio: Tensor, last: bool = False) -> Iterator[Tensor]:
        """Stems (sources, channels, n) completed by further samples (channels, n) of the mixture, piece by piece."""
        self.buffer.append(audio.to(self.device, torch.float32))
        # More than a chunk is needed: a chunk that ends with the recording is the last one, without a fade-out.
        while self.buffer.end > self.start + self.size:
            stems = self._run(self.start, self.start + self.size)
            yield self._fade(stems, self.stride)
            self.start += self.stride
            self.buffer.forget(self.start - self.size)
        if last and self.buffer.end:
            align = self.net.align
            begin = min(self.start, -(-max(self.buffer.end - self.size, 0) // align) * align)
            stems = self._run(begin, self.buffer.end)[..., self.start - begin :]
            yield self._fade(stems, stems.shape[-1])

    def _fade(self, stems: Tensor, length: int) -> Tensor:
        """First `length` samples of a chunk, cross-faded with the tail of the previous one; stores its own tail."""
        if self.tail is not None:
            count = min(self.overlap, stems.shape[-1])
            rise, tail = self.rise[:count], self.tail[..., :count]
            stems = torch.cat([stems[..., :count] * rise + tail * (1 - rise), stems[..., count:]], dim=-1)
        self.tail = stems[..., length:].clone()
        return stems[..., :length]

    @torch.no_grad()
    def _run(self, begin: int, stop: int) -> Tensor:
        """Stems (sources, channels, stop - begin) of a chunk, averaged over all delays."""
        chunk = self.buffer.read(begin, stop)
        longest = LONGEST_SHIFT_S * self.net.sample_rate
        delays = [round(longest * i / (self.inference.shifts + 1)) for i in range(self.inference.shifts + 1)]
        runs = (self.run_net(nn.functional.pad(chunk, (delay, 0)))[..., delay:].float() for delay in delays)
        return sum(runs) / len(delays)


# Freed memory kept by the C library


def give_back() -> None:
    """Return freed memory to the system (glibc only), about 0.1 GB."""
    if trim := _trim():
        trim(0)


@functools.cache
def _trim() -> Callable[[int], int] | None:
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None


class Precision:
    """Autocast state at construction, for a network that runs later, when a stream is consumed."""

    def __init__(self, device: torch.device) -> None:
        self.device = device.type
        self.enabled = torch.is_autocast_enabled(self.device)
        self.dtype = torch.get_autocast_dtype(self.device)

    def __call__(self) -> torch.autocast:
        """Autocast context for the network."""
        return torch.autocast(self.device, dtype=self.dtype, enabled=self.enabled)


class MaskStream:
    """Masking network on a stream, on the frame grid of the whole recording.

    A chunk consists of whole Wiener windows, with `context` around it as further input; only the ends of the recording are
    padded by reflection. So the stems of a network with a receptive field within the context equal those of the whole
    recording at once. The Wiener filter is scaled by the peak of each window, independent of chunks.
    """

    def __init__(self, net: MaskSeparator, inference: SeparationOptions) -> None:
        self.net, self.inference, self.device = net, inference, device_and_dtype(net)[0]
        self.run_net = NetRunner(net, inference.swap)
        n_fft, hop = net.stft.n_fft, net.stft.hop
        self.stft = STFT(n_fft, hop, center=False).to(self.device)
        self.output = OverlapAdd(n_fft, hop, self.stft.window)
        self.hop, self.half = hop, n_fft // 2
        windows = inference.chunk * net.sample_rate / hop / inference.window
        self.chunk = sys.maxsize if math.isinf(windows) else max(1, round(windows)) * inference.window
        self.context = math.ceil(inference.context * net.sample_rate / hop)
        self.buffer, self.frame, self.yielded = RingSignal(), 0, 0

    def push(self, audio: Tensor, last: bool = False) -> Iterator[Tensor]:
        """Stems (sources, channels, n) completed by further samples (channels, n) of the mixture, piece by piece."""
        self.buffer.append(audio.to(self.device, torch.float32))
        length = self.buffer.end
        if last:
            if length <= self.half:  # too short to be reflected
                self.buffer.append(self.buffer.blocks[0].new_zeros(len(audio), self.half + 1 - length))
            if self.net.stft.sparse:  # as STFT does
                self.buffer.append(self.buffer.blocks[0].new_zeros(len(audio), -self.buffer.end % self.hop))
            frames = 1 + self.buffer.end // self.hop
        else:
            # Complete frames, minus the context behind a chunk.
            frames = (self.buffer.end - self.half) // self.hop + 1 - self.context
        while self.frame < frames and (last or frames - self.frame >= self.chunk):
            stop = min(self.frame + self.chunk, frames)
            for piece in self._chunk(self.frame, stop, min(stop + self.context, frames) if last else stop + self.context):
                yield from self._cut(piece, length if last else None)
            self.frame = stop
            self.buffer.forget((stop - self.context) * self.hop - self.half - 1)
        if last:
            yield from self._cut(self.output.flush(), length)

    @torch.no_grad()
    def _chunk(self, start: int, stop: int, end: int) -> Iterator[Tensor]:
        """Stems of the samples completed by frames `start .. stop`, from network inputs up to frame `end`."""
        begin = max(0, start - self.context)
        give_back()
        masks = self.run_net.masks(self._magnitudes(begin, end))
        for first in range(start, stop, self.inference.window):
            last = min(first + self.inference.window, stop)
            # Computed again, since the spectra of a whole chunk take as much memory as a small network.
            mixture = self.stft(self._samples(first, last))
            give_back()
            with torch.autocast(self.device.type, enabled=False):
                yield self.output.push(self._filtered(masks, slice(first - begin, last - begin), mixture))

    def _magnitudes(self, begin: int, end: int) -> Tensor:
        """Magnitudes (channels, bins, frames) of a range of frames, computed a few at a time."""
        step = self.inference.window
        parts = [self.stft(self._samples(first, min(first + step, end))).abs() for first in range(begin, end, step)]
        # Bins stay adjacent in memory, as in one transform.
        return torch.cat([part.mT for part in parts], -2).mT

    def _filtered(self, masks: Callable[[slice], Tensor], frames: slice, mixture: Tensor) -> Tensor:
        """Complex spectra (sources, channels, bins, frames) of one Wiener window."""
        residual = bool(self.inference.residual)
        # Masks and magnitudes have no name, so that the filter can free them early.
        estimates = wiener(masks(frames).float() * mixture.abs(), mixture, self.inference.niter, residual=residual)
        give_back()
        return estimates

    def _samples(self, begin: int, end: int) -> Tensor:
        """Samples (channels, n) of frames `begin .. end`, reflected at the ends of the recording."""
        first, stop = begin * self.hop - self.half, (end - 1) * self.hop + self.half
        left, right = max(-first, 0), max(stop - self.buffer.end, 0)
        first = max(first, 0)
        # A reflection needs one more sample than its length.
        read = min(first, max(self.buffer.end - right - 1, 0)) if right else first
        inside = self.buffer.read(read, min(stop, self.buffer.end))
        return nn.functional.pad(inside, (left, right), mode="reflect")[..., first - read :]

    def _cut(self, piece: Tensor, length: int | None) -> Iterator[Tensor]:
        """Piece of the transform's output within the recording, up to `length` if known."""
        begin = max(self.half - self.yielded, 0)
        stop = piece.shape[-1] if length is None else min(piece.shape[-1], self.half + length - self.yielded)
        self.yielded += piece.shape[-1]
        if stop > begin:
            yield piece[..., begin:stop]


class NetRunner:
    """Network on one chunk in its own precision, optionally averaged with exchanged left and right channels."""

    def __init__(self, net: nn.Module, swap: bool = False) -> None:
        self.net, self.swap = net, swap and net.channels == 2
        device, self.dtype = device_and_dtype(net)
        self.precision = Precision(device)

    def __call__(self, chunk: Tensor) -> Tensor:
        """Output (sources, channels, ..., n) for one input (channels, ..., n)."""
        with self.precision():
            out = self.net(chunk.to(self.dtype)[None])[0]
            if self.swap:
                out = (out + self.net(chunk.to(self.dtype).flip(0)[None])[0].flip(1)) / 2
        return out

    def masks(self, magnitude: Tensor) -> Callable[[slice], Tensor]:
        """Masks of magnitudes (channels, bins, n), as a function of a range of frames."""
        with self.precision():
            inputs = [magnitude.to(self.dtype), *([magnitude.to(self.dtype).flip(0)] if self.swap else [])]
            encoded = [self.net.encode(item[None]) for item in inputs]

        def decoded(frames: slice) -> Tensor:
            with self.precision():
                out, *swapped = (self.net.decode(item, frames)[0] for item in encoded)
                return (out + swapped[0].flip(1)) / 2 if swapped else out

        return decoded


class Stream2Stems:
    """Blocks of a mixture (channels, n) at the network's rate -> blocks of stems (sources, channels, n) of the same length."""

    def __init__(self, net: nn.Module, inference: SeparationOptions | None = None) -> None:
        self.net, self.inference = net, inference or SeparationOptions()

    def start(self) -> "MaskStream | WaveStream":
        """New stream for one recording."""
        if isinstance(self.net, MaskSeparator):
            return MaskStream(self.net, self.inference)
        return WaveStream(self.net, self.inference, NetRunner(self.net, self.inference.swap), device_and_dtype(self.net)[0])

    def __call__(self, blocks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Stems of all blocks, of any lengths."""
        stream = self.start()
        for block in blocks:
            yield from stream.push(block)
        yield from stream.push(torch.zeros(self.net.channels, 0), last=True)


def device_and_dtype(net: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Device and floating-point dtype of a network."""
    for tensor in itertools.chain(net.parameters(), net.buffers()):
        if tensor.is_floating_point():
            return tensor.device, tensor.dtype
    return torch.device("cpu"), torch.float32
