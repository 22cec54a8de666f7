"""One look for every picture: 1200 pixels wide, the same fonts, colours that colour-blind readers can tell apart.

Figures are built without pyplot: nothing global changes, nothing needs closing, ranks and threads do not interfere.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from tasks.figures.glyphs import figure_class

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 1200  # px
DPI = 100
DEPTH = 80.0  # dB below the peak that a spectrogram shows
TITLE, LABEL, TICK = 14, 12, 11  # pt
SPECTROGRAM = "magma"
HEAT = "YlOrRd"  # light means little: a row of zeros looks empty
# Okabe and Ito's palette without its yellow, which vanishes on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
INK, FAINT, GRID = "#222222", "#BBBBBB", "#E5E5E5"
MEL_TICKS = (125, 250, 500, 1000, 2000, 4000, 8000, 16000)  # Hz


def figure(height: int, title: str) -> "Figure":
    """Empty figure of 1200 x `height` px with a title; names with `$` or `_`, and in any script, are shown as they are."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    made = figure_class()(figsize=(WIDTH / DPI, height / DPI), dpi=DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(made)
    made.suptitle(shorten(title, 110), fontsize=TITLE, color=INK, parse_math=False)
    return made


def shorten(text: str, length: int) -> str:
    """Cut the middle out of a long name, so that the folder and the suffix stay readable."""
    if len(text) <= length:
        return text
    head = (length - 1) * 2 // 3
    return f"{text[:head]}…{text[len(text) - (length - 1 - head) :]}"


def dress(axes: "Axes", x: str | None = None, y: str | None = None) -> None:
    """Labels and ticks in the suite's sizes; without `x` the tick labels below are dropped too."""
    axes.tick_params(labelsize=TICK, color=FAINT, labelcolor=INK, labelbottom=x is not None)
    for side in axes.spines.values():
        side.set_color(FAINT)
    if x:
        axes.set_xlabel(x, fontsize=LABEL, color=INK)
    if y:
        axes.set_ylabel(y, fontsize=LABEL, color=INK)


def text(axes: "Axes", x: float, y: float, words: str, **options: Any) -> None:
    """Text in the suite's size, never read as mathematics."""
    axes.text(x, y, words, **{"fontsize": TICK, "color": INK, "parse_math": False, **options})


def grid(axes: "Axes", along: str = "both") -> None:
    """Faint lines behind the data, along the axis `x`, `y` or `both`."""
    axes.grid(axis=along, color=GRID)
    axes.set_axisbelow(True)


def hatch_padding(axes: "Axes", begin: float, end: float) -> None:
    """Hatch the stretch begin .. end of the time axis, which is no part of the recording."""
    if end > begin:
        axes.axvspan(begin, end, facecolor="#FFFFFFB0", edgecolor="#888888", hatch="//", linewidth=0, zorder=3)


def legend_above(axes: "Axes", size: float = LABEL) -> None:
    """Legend in a row above the axes, where it hides no data."""
    axes.legend(fontsize=size, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)


def colour_bar(made: "Figure", image: Any, label: str, **where: Any) -> None:
    """Colour bar in axes of its own, `cax`, or beside one or several, `ax`."""
    bar = made.colorbar(image, **where)
    bar.set_label(label, fontsize=TICK, color=INK)
    bar.ax.tick_params(labelsize=TICK - 1, color=FAINT, labelcolor=INK)
    bar.outline.set_edgecolor(FAINT)


def spectrogram(
    axes: "Axes", values: ArrayLike, mel_hertz: ArrayLike, hop_s: float, start_s: float = 0.0, peak: float | None = None
) -> Any:
    """Draw a log-mel spectrogram (mels, frames) in dB below its peak, `DEPTH` deep, the mel axis labelled in Hz.

    Args:
        axes: to draw into
        values: (mels, frames) dB
        mel_hertz: (mels,) centre frequency of each band, Hz
        hop_s: time from frame to frame, s
        start_s: time of the first frame, s
        peak: dB of the brightest colour, where several spectrograms share it (default: its own loudest; silence, which is one
            level everywhere, is dark)
    """
    values, centres = np.asarray(values, dtype=np.float64), np.asarray(mel_hertz, dtype=np.float64)
    if values.shape[0] != len(centres):
        raise ValueError(f"{len(centres)} band frequencies for a spectrogram of {values.shape[0]} bands")
    if peak is None:
        peak = float(values.max()) + (DEPTH if np.ptp(values) == 0 else 0)
    image = axes.imshow(
        values - peak,
        aspect="auto",
        origin="lower",
        cmap=SPECTROGRAM,
        interpolation="nearest",
        vmin=-DEPTH,
        vmax=0.0,
        extent=(start_s, start_s + values.shape[1] * hop_s, -0.5, len(centres) - 0.5),
    )
    shown: dict[float, str] = {}
    for frequency in reversed(MEL_TICKS):
        band = float(np.interp(frequency, centres, np.arange(len(centres))))
        # The lowest octaves share few bands: their labels would overlap.
        if centres[0] <= frequency <= centres[-1] and all(abs(band - other) > 0.07 * len(centres) for other in shown):
            shown[band] = _hertz(frequency)
    axes.set_yticks(list(shown), list(shown.values()))
    return image


def colours(count: int) -> Sequence[str]:
    """As many line colours as asked for, repeating after seven."""
    return [COLOURS[i % len(COLOURS)] for i in range(count)]


def _hertz(frequency: float) -> str:
    return f"{frequency / 1000:g} k" if frequency >= 1000 else f"{frequency:g}"
