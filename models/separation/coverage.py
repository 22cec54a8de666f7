"""Whether a network's sources add up to a whole song, or the Wiener filter needs a residual source beside them."""

from collections.abc import Sequence

from torch import nn

from models.separation.options import SeparationOptions

WHOLES = (
    {"drums", "bass", "other", "vocals"},
    {"vocals", "accompaniment"},
    {"speech", "noise"},
)
"""Sets of names that stand for all sounds of a recording."""


def covers_by_name(sources: Sequence[str]) -> bool:
    """Whether sources cover a mixture as far as their names tell; answers for checkpoints that do not say it.

    One source never does, nor do some of the names of a set in `WHOLES`. Other names do: such a network was trained on
    mixtures that were the sums of its sources.
    """
    names = set(sources)
    return len(names) > 1 and (any(whole <= names for whole in WHOLES) or not any(names < whole for whole in WHOLES))


def settings_of(separator: nn.Module) -> SeparationOptions:
    """Settings that a separator (or a network by itself, which is taken to cover the mixture) separates with."""
    inference = getattr(separator, "inference", None) or SeparationOptions()
    return inference.decided(getattr(separator, "covers_mixture", True))


def remark(sources: Sequence[str]) -> str:
    """What a user should know of a network that lacks sources."""
    names = ", ".join(sources)
    return (
        f"{names} {'is' if len(sources) == 1 else 'are'} not all of a song: the Wiener filter counts the rest as one more "
        "source, which is dropped (--output.rest true writes it; --model.inference.residual false: your songs hold nothing else)"
    )
