"""An augmentation, and two views of one batch: one for the student, one for the teacher."""

from collections.abc import Sequence

from torch import nn

from models.augment.view import View


class Augmentation(nn.Module):
    """View -> View. `moves_labels`: student and teacher must share one draw, for their outputs are compared."""

    moves_labels = False

    def forward(self, view: View) -> View:
        """The view changed at random; the one given stays as it is."""
        raise NotImplementedError


def two_views(view: View, augmentations: Sequence[Augmentation], independent: bool = True) -> tuple[View, View]:
    """The student's and the teacher's view: what moves labels is drawn once for both, in order and first.

    The rest is drawn for each by itself if `independent`, else once.
    """
    for augmentation in augmentations:
        if augmentation.moves_labels:
            view = augmentation(view)
    student = _own(view, augmentations)
    return student, _own(view, augmentations) if independent else student


def _own(view: View, augmentations: Sequence[Augmentation]) -> View:
    for augmentation in augmentations:
        if not augmentation.moves_labels:
            view = augmentation(view)
    return view
