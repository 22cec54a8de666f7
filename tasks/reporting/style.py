"""One look for every picture: 1200 pixels wide, the same fonts, colours that colour-blind readers can tell apart.

Figures are built without pyplot: nothing global changes, nothing needs closing, ranks and threads do not interfere.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# Glyphs of any script in figures: fonts installed here that have them, else Latin letters or question marks.
#
# Nothing global changes: a figure of `figure_class()` sees to its own texts whenever it is drawn.

BASE = "DejaVu Sans"
"""The font that matplotlib brings."""

UNKNOWN = "?"
"""Stands for a character that no font has and that has no Latin spelling."""

NONCHARACTER = "\U0001ffff"
"""A code point that is no character, which only a font of boxes for everything has."""

_NAMED = re.compile(r"(?:SYLLABLE|LETTER)(?: SMALL)? ([A-Z]{1,7})$")


@cache
def figure_class() -> type["Figure"]:
    """Figure whose texts are legible, whatever characters they have; loads matplotlib on the first call."""
    from matplotlib.figure import Figure

    class LegibleFigure(Figure):
        """Gives texts fonts that have their characters, or spells the characters otherwise, before drawing."""

        def draw(self, renderer: Any) -> None:
            """Draw all parts."""
            make_legible(self)
            super().draw(renderer)

    return LegibleFigure


def make_legible(figure: "Figure") -> None:
    """Set fonts and spellings of texts that have characters which the base font lacks."""
    from matplotlib.text import Text

    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            labels = [label.get_text() for label in axis.get_ticklabels()]
            if lacking("".join(labels)):
                spelled, fonts = spelling(labels)
                axis.set_ticklabels(spelled, fontfamily=fonts)
    texts: list[Text] = [text for text in figure.findobj(Text) if lacking(text.get_text())]
    for text in texts:
        (spelled,), fonts = spelling([text.get_text()])
        text.set_text(spelled)
        text.set_fontfamily(fonts)


def spelling(texts: list[str]) -> tuple[list[str], list[str]]:
    """Texts spelled with characters that some font has, and the names of the fonts, the base font first."""
    missing = lacking("".join(texts))
    fonts = fonts_for(missing)
    left = missing - frozenset().union(*(glyphs(path) for _, path in fonts)) if fonts else missing
    table = {ord(character): latin(character) for character in left}
    return [text.translate(table) for text in texts], [BASE, *(name for name, _ in fonts)]


def lacking(text: str) -> frozenset[str]:
    """Characters of a text that the base font lacks; line breaks are none."""
    return frozenset(text) - base_glyphs() - {"\n"} if not text.isascii() or not text.isprintable() else frozenset()


@lru_cache(256)
def fonts_for(characters: frozenset[str]) -> tuple[tuple[str, str], ...]:
    """(name, path) of installed fonts that together have as many of the characters as possible, most first."""
    left, chosen = characters, []
    while left:
        name, path = max(installed(), key=lambda font: (len(left & glyphs(font[1])), font[0]), default=("", ""))
        if not path or not left & glyphs(path):
            break
        chosen.append((name, path))
        left -= glyphs(path)
    return tuple(chosen)


@cache
def installed() -> tuple[tuple[str, str], ...]:
    """(name, path) of the upright fonts of normal weight on this machine, each name once."""
    from matplotlib.font_manager import fontManager

    plain = {font.name: font.fname for font in fontManager.ttflist if font.style == "normal" and font.weight in (400, "normal")}
    return tuple(sorted(plain.items()))


@cache
def glyphs(path: str) -> frozenset[str]:
    """Characters that a font file has; none where it cannot be used, such as one of bitmaps or of last resort (boxes)."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path)
        characters = frozenset(map(chr, font.get_charmap()))
        return characters if font.scalable and NONCHARACTER not in characters else frozenset()
    except (OSError, RuntimeError, ValueError):
        return frozenset()


@cache
def base_glyphs() -> frozenset[str]:
    """Characters of the font that matplotlib brings."""
    from matplotlib.font_manager import FontProperties, fontManager

    return glyphs(fontManager.findfont(FontProperties(family=BASE)))


@cache
def latin(character: str) -> str:
    """Latin spelling of a character: without its accents, or a syllable's name (か: ka, 한: han); else `UNKNOWN`."""
    if not character.isprintable():
        return " " if character.isspace() else UNKNOWN
    plain = _known(unicodedata.normalize("NFKD", character))
    if plain:
        return plain
    name = _NAMED.search(unicodedata.name(character, ""))
    return name[1].lower() if name else UNKNOWN


def _known(characters: Iterable[str]) -> str:
    return "".join(character for character in characters if character in base_glyphs() and not unicodedata.combining(character))


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
