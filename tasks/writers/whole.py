"""Output files written whole or not at all: text, JSON and figures."""

from pathlib import Path
from typing import TYPE_CHECKING

from datamodules.whole import whole, write_json, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["whole", "write_figure", "write_json", "write_text"]


def write_figure(path: Path, figure: "Figure") -> Path:
    """Write a matplotlib figure as PNG; return its path."""
    with whole(Path(path)) as temporary:
        figure.savefig(temporary, format="png")
    return path
