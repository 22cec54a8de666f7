"""The salience network as something to train here, and to align by alone (Agrawal and Dixon 2021, section III-B)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from models.alignment.front import HCQT
from models.alignment.salience import DeepSalience
from models.alignment.similarity import Side, Similarity

PER_SEMITONE = 5
LOWEST = 24  # MIDI pitch of the first bin, C1
WIDTH_CENTS = 20.0


class SalienceMap(Similarity):
    """Deep salience trained by soft targets (equation 4), compared semitone by semitone.

    Its checkpoint is taken as `weights` of `models.alignment.front.Salience`.

    Args:
        front: the harmonic constant-Q transform, its only input
    """

    modes = ("distance",)

    def __init__(self, front: HCQT) -> None:
        super().__init__(front, context=1)
        self.net = DeepSalience()

    def salience(self, features: Tensor) -> Tensor:
        """Harmonic CQT (batch, 6, bins, frames) -> salience (batch, bins, frames) in 0 to 1, with gradients."""
        return self.net(features).float().sigmoid()

    def targets(self, pitches: Tensor) -> Tensor:
        """What sounds (batch, 128, frames) 0 or 1 -> salience wanted (batch, bins, frames), each pitch a bell of 20 cents.

        Bittner et al. 2017: 1 at the pitch, falling on both sides as a Gaussian of that standard deviation; the largest counts.
        """
        cents = torch.arange(self.front.bins, device=pitches.device) * 100.0 / PER_SEMITONE
        wanted = torch.zeros(len(pitches), self.front.bins, pitches.shape[-1], device=pitches.device)
        for pitch in torch.nonzero(pitches.amax((0, 2)))[:, 0].tolist():
            bell = torch.exp(-0.5 * ((cents - 100.0 * (pitch - LOWEST)) / WIDTH_CENTS) ** 2)
            wanted = torch.maximum(wanted, bell[None, :, None] * pitches[:, pitch, None].float())
        return wanted

    def frames(self, features: Tensor, side: Side) -> Tensor:
        """Every frame of a whole recording: (6, bins, frames) -> (frames, bins / 5); the network sees zeros beyond the ends."""
        return self._semitones(self.net.salience(features[None]))[0]

    def embed(self, features: Tensor, side: Side = "performance") -> Tensor:
        """Features (batch, 6, bins, frames) -> (batch, frames, bins / 5): the most salient bin of each semitone."""
        return self._semitones(self.salience(features))

    def _semitones(self, salience: Tensor) -> Tensor:
        padded = F.pad(salience, (0, 0, PER_SEMITONE // 2, 0))  # bin 0 is the middle of its semitone
        return F.max_pool2d(padded, (PER_SEMITONE, 1)).transpose(1, 2)
