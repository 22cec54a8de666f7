"""Mixup (Zhang et al. 2017): every clip becomes a mixture of itself and another one."""

from typing import Literal

import torch
from torch import Tensor

from models.augment.augmentation import Augmentation
from models.augment.view import View


class Mixup(Augmentation):
    """One share and one permutation per batch, for log-mel, embeddings and labels alike.

    share ~ Beta(alpha, alpha) is what a clip keeps of itself, 1 - share what it gets of its partner. `soft`: labels are mixed
    the same way; `hard`: whatever is in either is in both. Partners are of one `group` (where the view has any), so that a
    labelled clip does not get an unlabelled one's missing labels. A mixture is as long as the longer of its two.
    With probability 1 - `p` a batch stays as it is. Raises ValueError for an unknown `labels`, or alpha not above 0.
    """

    moves_labels = True

    def __init__(self, alpha: float = 0.2, p: float = 0.5, labels: Literal["soft", "hard"] = "soft") -> None:
        super().__init__()
        if labels not in ("soft", "hard") or alpha <= 0:
            raise ValueError(f"Mixup: labels {labels!r}, alpha {alpha}: expected soft or hard, above 0")
        self.alpha, self.p, self.labels = alpha, p, labels

    def forward(self, view: View) -> View:
        skipped = bool(torch.rand(()) >= self.p)
        share = float(torch.distributions.Beta(self.alpha, self.alpha).sample())
        partner = partners(view).to(view.device)
        if skipped:
            return view
        labels = self._hard if self.labels == "hard" else self._soft
        return view._replace(
            mel=None if view.mel is None else self._soft(view.mel, partner, share),
            valid=view.valid.maximum(view.valid[partner]),
            embeddings={name: self._soft(values, partner, share) for name, values in view.embeddings.items()},
            clip=labels(view.clip, partner, share),
            frames=labels(view.frames, partner, share),
        )

    @staticmethod
    def _soft(values: Tensor, partner: Tensor, share: float) -> Tensor:
        return values[partner].lerp(values, share)

    @staticmethod
    def _hard(values: Tensor, partner: Tensor, share: float) -> Tensor:
        return (values + values[partner]).clamp(max=1.0)


def partners(view: View) -> Tensor:
    """(batch,) a random permutation that leaves every item in its group; on the CPU."""
    group = torch.zeros(len(view.clip), dtype=torch.int64) if view.group is None else view.group.cpu()
    partner = torch.empty_like(group)
    for number in group.unique():
        members = (group == number).nonzero()[:, 0]
        partner[members] = members[torch.randperm(len(members))]
    return partner
