"""Coverage of the mixture by a network's sources: names -> whether the Wiener filter needs a residual source."""

from collections.abc import Sequence

from torch import nn

from models.separation.options import SeparationOptions

WHOLES = (
    {"drums", "bass", "other", "vocals"},
    {"vocals", "accompaniment"},
    {"speech", "noise"},
)
"""Sets of source names that cover all sounds of a recording."""


def covers_by_name(sources: Sequence[str]) -> bool:
    """True if sources cover the mixture, judged by their names, for checkpoints without that information.

    A single source or a subset of `WHOLES` does not. Other names do: such a network was trained on sums of its sources.
    """
    names = set(sources)
    return len(names) > 1 and (any(whole <= names for whole in WHOLES) or not any(names < whole for whole in WHOLES))


def settings_of(separator: nn.Module) -> SeparationOptions:
    """Separation options of a separator; a plain network is assumed to cover the mixture."""
    inference = getattr(separator, "inference", None) or SeparationOptions()
    return inference.decided(getattr(separator, "covers_mixture", True))


def remark(sources: Sequence[str]) -> str:
    """Message for networks whose sources do not cover the mixture."""
    names = ", ".join(sources)
    return (
        f"{names} {'does' if len(sources) == 1 else 'do'} not cover the mixture: the Wiener filter adds a residual source, which "
        "is dropped (--output.rest true writes it; --model.inference.residual false if your songs contain no other sources)"
    )
