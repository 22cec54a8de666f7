"""Inputs of pretrained networks: overlapping log-mel patches of 0.96 s (YouTube-8M, AudioSet) and scaled images (ImageNet)."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.blocks.features import LogMel
from models.extractors.extractor import Extractor

RATE, WINDOW, HOP = 16_000, 400, 160
FRAMES, BANDS = 96, 64
PATCH = FRAMES * HOP  # nominal samples of a patch; its last window ends 240 later


class PatchMel(LogMel):
    """Audio (batch, samples) -> (batch, 64, frames): log(x + offset) of mel magnitudes, 125 to 7500 Hz.

    Published features of VGGish (Hershey et al. 2017): periodic Hann window of 400 in an FFT of 512, hop 160, not centred;
    triangles on HTK's scale, linear in mel, whereas those of librosa and torchaudio are linear in Hz.
    """

    def __init__(self, offset: float) -> None:
        super().__init__(RATE, 512, HOP, BANDS, "htk", "log", None, power=1, f_min=125.0, f_max=7500.0)
        self.scale = partial(logarithm, offset=offset)
        self.window.zero_()
        self.window[:WINDOW] = torch.hann_window(WINDOW)
        self.filterbank.copy_(mel_triangles())


def logarithm(mel: Tensor, offset: float) -> Tensor:
    """log(mel + offset)."""
    return (mel + offset).log()


def mel_triangles() -> Tensor:
    """Mel filterbank (64, 257)."""
    mel = 1127.0 * np.log1p(np.linspace(0.0, RATE / 2, 257) / 700.0)
    edges = np.linspace(*(1127.0 * np.log1p(np.array([125.0, 7500.0]) / 700.0)), BANDS + 2)[:, None]
    rising = (mel - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - mel) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0.0, np.minimum(rising, falling))
    return torch.from_numpy(weights).float()


class PatchExtractor(Extractor):
    """Extractor on patches of 0.96 s, one per `step_s`: 10 s in steps of 60 ms are 151 patches.

    centred: pad with silence, so that patch k is centred on k * step_s and the whole clip is covered; else the published
    framing, in which the first centre is at 0.48 s and the remainder at the end is dropped. A clip shorter than a patch is
    padded to one. Raises ValueError for a step that is not a multiple of 10 ms.
    """

    kind = "audio"
    sample_rate = RATE

    def __init__(self, offset: float, step_s: float, centred: bool, batch: int, **settings: object) -> None:
        super().__init__(step_s=step_s, centred=centred, offset=offset, **settings)
        self.step, self.centred, self.batch = round(step_s * RATE), centred, batch
        if self.step < HOP or self.step % HOP or abs(self.step - step_s * RATE) > 1e-6:
            raise ValueError(f"{type(self).__name__}: step_s is {step_s}, expected a multiple of {HOP / RATE:g}")
        self.mel = PatchMel(offset)

    def n_patches(self, samples: int) -> int:
        """Number of patches of a clip of `samples`."""
        if self.centred:
            return 1 + samples // self.step
        frames = max(FRAMES, 1 + (samples - WINDOW) // HOP)
        return 1 + (frames - FRAMES) // (self.step // HOP)

    def times(self, n: int) -> np.ndarray:
        return (np.arange(n) * self.step + (0 if self.centred else PATCH // 2)) / RATE

    def pieces(self, signal: np.ndarray) -> Iterator[Tensor]:
        """Patches (at most `batch`, 96, 64), computed batch by batch."""
        count, lead = self.n_patches(len(signal)), PATCH // 2 if self.centred else 0
        for first in range(0, count, self.batch):
            n = min(self.batch, count - first)
            start = first * self.step - lead
            stop = start + (n - 1) * self.step + self.mel.samples(FRAMES)
            part = torch.from_numpy(np.ascontiguousarray(signal[max(0, start) : max(0, stop)], np.float32)).to(self.device)
            left = min(max(0, -start), stop - start)
            part = F.pad(part, (left, stop - start - left - len(part)))
            frames = self.mel(part[None])[0].T  # (frames, 64)
            yield frames.unfold(0, FRAMES, self.step // HOP).transpose(1, 2)


class ImageExtractor(Extractor):
    """Extractor on single images; image k is at k / fps s: 10 s at 15 images/s, both ends included, are 151 images.

    size: (height, width) that images are scaled to; mean, std: per colour, of values from 0 to 1.
    """

    kind = "video"

    def __init__(
        self, fps: float, size: tuple[int, int], mean: Sequence[float], std: Sequence[float], batch: int, **settings: object
    ) -> None:
        super().__init__(size=tuple(size), mean=tuple(mean), std=tuple(std), **settings)
        self.fps, self.size, self.batch = fps, tuple(size), batch
        self.register_buffer("colour_mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("colour_std", torch.tensor(std)[:, None, None], persistent=False)

    def times(self, n: int) -> np.ndarray:
        return np.arange(n) / self.fps

    def pieces(self, signal: np.ndarray) -> Iterator[Tensor]:
        """Images (at most `batch`, 3, height, width), standardised."""
        for first in range(0, len(signal), self.batch):
            images = torch.from_numpy(np.ascontiguousarray(signal[first : first + self.batch])).to(self.device)
            images = images.permute(0, 3, 1, 2).float() / 255.0
            if images.shape[2:] != self.size:
                images = F.interpolate(images, self.size, mode="bilinear", antialias=True, align_corners=False)
            yield (images - self.colour_mean) / self.colour_std
