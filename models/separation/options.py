"""Inference options of source separation."""

import dataclasses
import math
from dataclasses import dataclass, field


@dataclass
class SeparationOptions:
    """Separation options, stored in the checkpoint; change them by `--model.inference.niter 0` and the like.

    Networks on magnitudes run on chunks of whole Wiener windows, with discarded context on both sides. Networks on
    waveforms run on chunks of their training length.

    Args:
        niter: iterations of the multichannel Wiener filter; 0: magnitudes of the network with the phase of the mixture
        window: frames of a Wiener window, on the grid of the recording, so chunks do not change them
        chunk: length of a chunk in s, rounded to whole windows; `.inf` separates the whole recording at once
        context: discarded context on each side of a chunk, s; `--output.check_seams true` measures whether it is enough
        overlap: overlap of chunks of networks on waveforms, as a share of the chunk, for cross-fades
        swap: average with the separation of exchanged left and right channels (twice the time)
        shifts: average with separations of chunks of waveforms at this many delays up to half a second
        residual: add a residual source to the Wiener filter, which is then dropped (default: if the sources of the network
            do not cover the mixture)

    Raises:
        ValueError: a value out of range.
    """

    niter: int = 1
    window: int = 300
    chunk: float = 28.0
    context: float = 5.0
    overlap: float = 0.25
    swap: bool = False
    shifts: int = 0
    residual: bool | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.niter < 0 or self.shifts < 0 or self.window < 1:
            raise ValueError(
                f"inference: niter and shifts must not be negative and window at least 1: "
                f"{self.niter}, {self.shifts}, {self.window}"
            )
        if not self.chunk > 0 or not 0 <= self.context < math.inf or not 0 <= self.overlap <= 0.5:
            raise ValueError(
                f"inference: chunk must be above 0 s, context not negative, overlap within 0 .. 0.5: "
                f"{self.chunk}, {self.context}, {self.overlap}"
            )

    def decided(self, covers_mixture: bool) -> "SeparationOptions":
        """Options with `residual` set, if it is None, to whether the sources do not cover the mixture."""
        return self if self.residual is not None else dataclasses.replace(self, residual=not covers_mixture)
