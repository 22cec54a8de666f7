"""Short-time Fourier transform in float32 and its inverse: audio (..., samples) <-> (..., bins, frames)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class STFT(nn.Module):
    """Periodic Hann window, not normalised: audio (..., samples) <-> complex spectrum (..., bins, frames).

    With `center` frame t is centred on sample t*hop and the edges are padded by reflection (at least n_fft/2 + 1
    samples are needed). If frames overlap by less than three quarters there may be one more than in `torch.stft`:
    otherwise the inverse would divide the last samples, at the end of a window, by nearly 0. Without `center` frame t
    covers samples t*hop .. t*hop+n_fft, and there is no inverse.
    """

    window: Tensor

    def __init__(self, n_fft: int = 4096, hop: int = 1024, center: bool = True) -> None:
        super().__init__()
        self.n_fft, self.hop, self.center = n_fft, hop, center
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    def centred(self) -> "STFT":
        """Same transform with `center`, which has an inverse; on the same device."""
        return self if self.center else STFT(self.n_fft, self.hop).to(self.window.device)

    @property
    def sparse(self) -> bool:
        """True if frames overlap by less than three quarters."""
        return 4 * self.hop > self.n_fft

    @property
    def bins(self) -> int:
        """Frequency bins from 0 Hz to half the sample rate."""
        return self.n_fft // 2 + 1

    def extra_repr(self) -> str:
        return f"n_fft={self.n_fft}, hop={self.hop}, center={self.center}"

    def forward(self, audio: Tensor) -> Tensor:
        """Complex spectrum (..., bins, frames) of audio (..., samples)."""
        flat = audio.reshape(-1, audio.shape[-1])
        flat = flat if flat.dtype == torch.float64 else flat.float()
        if self.center and self.sparse:
            flat = F.pad(flat, (0, -flat.shape[-1] % self.hop))
        with torch.autocast(audio.device.type, enabled=False):
            spectrum = torch.stft(
                flat,
                self.n_fft,
                self.hop,
                window=self.window.to(flat.dtype),
                center=self.center,
                pad_mode="reflect",
                return_complex=True,
            )
        return spectrum.reshape(*audio.shape[:-1], *spectrum.shape[-2:])

    def inverse(self, spectrum: Tensor, length: int) -> Tensor:
        """Audio (..., length) of a complex spectrum (..., bins, frames).

        Raises ValueError without `center`: the first samples of such a transform are not determined.
        """
        if not self.center:
            raise ValueError("An STFT without center has no inverse: set center to true for losses in time.")
        flat = spectrum.reshape(-1, *spectrum.shape[-2:])
        window = self.window.to(flat.real.dtype)
        with torch.autocast(spectrum.device.type, enabled=False):
            audio = torch.istft(flat, self.n_fft, self.hop, window=window, center=True, length=length)
        return audio.reshape(*spectrum.shape[:-2], length)
