"""A network on waveforms over a stream: chunks as long as in training, faded into one another."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from models.separation.separator import WaveSeparator
from tasks.separation.inference import Inference
from tasks.separation.tape import Tape

LONGEST_SHIFT_S = 0.5


class WaveStream:
    """Chunks of `net.segment` samples that start at multiples of `net.align` and overlap by `inference.overlap`.

    In an overlap the outer quarter of each chunk is thrown away, and over the half between the two fade linearly: their
    weights add up to one. The last chunk reaches back so that it is a whole one too.

    run_net: the network on one chunk, (channels, n) -> (sources, channels, n). device: where it runs.
    """

    def __init__(self, net: WaveSeparator, inference: Inference, run_net: Callable, device: torch.device) -> None:
        self.net, self.inference, self.run_net, self.device = net, inference, run_net, device
        self.size = net.segment
        self.stride = max(1, round(self.size * (1 - inference.overlap)) // net.align) * net.align
        self.overlap = max(self.size - self.stride, 0)
        place = (torch.arange(self.overlap, device=device) + 0.5) / max(self.overlap, 1)
        self.rise = (2 * place - 0.5).clamp(0, 1)
        self.tape, self.start = Tape(), 0
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
