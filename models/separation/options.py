"""How a long recording is separated piece by piece."""

import dataclasses
import math
from dataclasses import dataclass, field


@dataclass
class SeparationOptions:
    """Settings of separation, stored with the network's checkpoint; `--model.inference.niter 0` and the like change them.

    Networks on magnitudes are run on chunks of whole Wiener windows, with context on both sides that they hear and that
    is thrown away. Networks on waveforms are run on chunks of the length they were trained on.

    Args:
        niter: iterations of the multichannel Wiener filter; 0: the network's magnitudes with the mixture's phase
        window: frames of one Wiener window; windows lie on the recording's own grid, so chunks do not change them
        chunk: length of a chunk in s, rounded to whole windows; `.inf` separates the whole recording at once
        context: discarded context on each side of a chunk, s; `--output.check_seams true` tells whether it is enough
        overlap: share of a chunk that a network on waveforms separates twice, to fade from one chunk to the next
        swap: separate also with left and right exchanged, and average (twice the time)
        shifts: separate chunks of waveforms also at this many delays up to half a second, and average
        residual: give the Wiener filter one more source, what the sources leave of the mixture, which is then dropped
            (default: where the network's sources do not cover the mixture)

    Raises:
        ValueError: an impossible number.
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
        """These settings with `residual` decided where the user left that open: true where sources lack some of the mixture."""
        return self if self.residual is not None else dataclasses.replace(self, residual=not covers_mixture)
