"""Shared figure style: 1200 px wide, common fonts with glyphs of any script, colour-blind-safe colours.

Figures are built without pyplot, so that there is no global state and ranks and threads do not interfere.
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

# Fonts

BASE = "DejaVu Sans"
"""Font that comes with matplotlib."""

UNKNOWN = "?"
"""Replacement of a character without font and Latin spelling."""

NONCHARACTER = "\U0001ffff"
"""Code point that is no character; a font that has it draws boxes for all characters."""

_NAMED = re.compile(r"(?:SYLLABLE|LETTER)(?: SMALL)? ([A-Z]{1,7})$")


@cache
def figure_class() -> type["Figure"]:
    """Figure class whose texts use fonts that have their characters; imports matplotlib on the first call."""
    from matplotlib.figure import Figure

    class LegibleFigure(Figure):
        """Figure that sets fonts or Latin spellings of its texts before drawing."""

        def draw(self, renderer: Any) -> None:
            make_legible(self)
            super().draw(renderer)

    return LegibleFigure


def make_legible(figure: "Figure") -> None:
    """Set fonts and spellings of texts with characters that the base font does not have."""
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
    """Texts with Latin spellings of characters that no font has, and names of the fonts, the base font first."""
    missing = lacking("".join(texts))
    fonts = fonts_for(missing)
    unavailable = missing - frozenset().union(*(glyphs(path) for _, path in fonts)) if fonts else missing
    table = {ord(character): latin(character) for character in unavailable}
    return [text.translate(table) for text in texts], [BASE, *(name for name, _ in fonts)]


def lacking(text: str) -> frozenset[str]:
    """Characters of a text that the base font does not have, without line breaks."""
    return frozenset(text) - base_glyphs() - {"\n"} if not text.isascii() or not text.isprintable() else frozenset()


@lru_cache(256)
def fonts_for(characters: frozenset[str]) -> tuple[tuple[str, str], ...]:
    """(name, path) of installed fonts that together have as many of the characters as possible (greedy cover)."""
    missing, fonts = characters, []
    while missing:
        name, path = max(installed(), key=lambda font: (len(missing & glyphs(font[1])), font[0]), default=("", ""))
        if not path or not missing & glyphs(path):
            break
        fonts.append((name, path))
        missing -= glyphs(path)
    return tuple(fonts)


@cache
def installed() -> tuple[tuple[str, str], ...]:
    """(name, path) of the installed upright fonts of normal weight, each name once."""
    from matplotlib.font_manager import fontManager

    plain = {font.name: font.fname for font in fontManager.ttflist if font.style == "normal" and font.weight in (400, "normal")}
    return tuple(sorted(plain.items()))


@cache
def glyphs(path: str) -> frozenset[str]:
    """Characters of a font file; empty for unusable fonts, such as bitmap and last-resort (box) fonts."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path)
        characters = frozenset(map(chr, font.get_charmap()))
        return characters if font.scalable and NONCHARACTER not in characters else frozenset()
    except (OSError, RuntimeError, ValueError):
        return frozenset()


@cache
def base_glyphs() -> frozenset[str]:
    """Characters of the base font."""
    from matplotlib.font_manager import FontProperties, fontManager

    return glyphs(fontManager.findfont(FontProperties(family=BASE)))


@cache
def latin(character: str) -> str:
    """Latin spelling of a character: without accents, or the name of a syllable (か: ka, 한: han); else `UNKNOWN`."""
    if not character.isprintable():
        return " " if character.isspace() else UNKNOWN
    plain = _known(unicodedata.normalize("NFKD", character))
    if plain:
        return plain
    name = _NAMED.search(unicodedata.name(character, ""))
    return name[1].lower() if name else UNKNOWN


def _known(characters: Iterable[str]) -> str:
    return "".join(character for character in characters if character in base_glyphs() and not unicodedata.combining(character))


# Sizes and colours

WIDTH = 1200  # px
DPI = 100
DEPTH = 80.0  # dynamic range of spectrograms, dB
TITLE, LABEL, TICK = 14, 12, 11  # pt
SPECTROGRAM = "magma"
HEAT = "YlOrRd"  # low values are light: a row of zeros looks empty
# Okabe and Ito's palette without its yellow, which vanishes on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
INK, FAINT, GRID = "#222222", "#BBBBBB", "#E5E5E5"
MEL_TICKS = (125, 250, 500, 1000, 2000, 4000, 8000, 16000)  # Hz


def figure(height: int, title: str) -> "Figure":
    """Empty figure of 1200 x `height` px with a literal title (`$` and `_` have no special meaning)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    new = figure_class()(figsize=(WIDTH / DPI, height / DPI), dpi=DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(new)
    new.suptitle(shorten(title, 110), fontsize=TITLE, color=INK, parse_math=False)
    return new


def shorten(text: str, length: int) -> str:
    """Replace the middle of a long name by an ellipsis, so that folder and suffix stay readable."""
    if len(text) <= length:
        return text
    head = (length - 1) * 2 // 3
    return f"{text[:head]}…{text[len(text) - (length - 1 - head) :]}"


def dress(axes: "Axes", x: str | None = None, y: str | None = None) -> None:
    """Set labels and ticks in the suite's sizes; without `x` the horizontal axis has no tick labels."""
    axes.tick_params(labelsize=TICK, color=FAINT, labelcolor=INK, labelbottom=x is not None)
    for side in axes.spines.values():
        side.set_color(FAINT)
    if x:
        axes.set_xlabel(x, fontsize=LABEL, color=INK)
    if y:
        axes.set_ylabel(y, fontsize=LABEL, color=INK)


def text(axes: "Axes", x: float, y: float, words: str, **options: Any) -> None:
    """Draw literal text in the suite's size."""
    axes.text(x, y, words, **{"fontsize": TICK, "color": INK, "parse_math": False, **options})


def grid(axes: "Axes", along: str = "both") -> None:
    """Draw grid lines behind the data, along the axis `x`, `y` or `both`."""
    axes.grid(axis=along, color=GRID)
    axes.set_axisbelow(True)


def hatch_padding(axes: "Axes", begin: float, end: float) -> None:
    """Hatch padding from `begin` to `end` of the time axis."""
    if end > begin:
        axes.axvspan(begin, end, facecolor="#FFFFFFB0", edgecolor="#888888", hatch="//", linewidth=0, zorder=3)


def legend_above(axes: "Axes", size: float = LABEL) -> None:
    """Draw the legend in a row above the axes."""
    axes.legend(fontsize=size, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)


def colour_bar(figure: "Figure", image: Any, label: str, **position: Any) -> None:
    """Draw a colour bar in the axes `cax`, or beside one or several axes `ax`."""
    bar = figure.colorbar(image, **position)
    bar.set_label(label, fontsize=TICK, color=INK)
    bar.ax.tick_params(labelsize=TICK - 1, color=FAINT, labelcolor=INK)
    bar.outline.set_edgecolor(FAINT)


def spectrogram(
    axes: "Axes", values: ArrayLike, mel_hertz: ArrayLike, hop_s: float, start_s: float = 0.0, peak: float | None = None
) -> Any:
    """Draw a log-mel spectrogram in dB below its peak over a range of `DEPTH`, with the mel axis labelled in Hz.

    Args:
        axes: axes to draw into
        values: (mels, frames) dB
        mel_hertz: (mels,) centre frequency of each band, Hz
        hop_s: hop, s
        start_s: time of the first frame, s
        peak: dB of the brightest colour, to share between spectrograms (default: the maximum; a constant spectrogram is dark)
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
    ticks: dict[float, str] = {}
    for frequency in reversed(MEL_TICKS):
        band = float(np.interp(frequency, centres, np.arange(len(centres))))
        # Labels of the lowest octaves would overlap.
        if centres[0] <= frequency <= centres[-1] and all(abs(band - other) > 0.07 * len(centres) for other in ticks):
            ticks[band] = _hertz(frequency)
    axes.set_yticks(list(ticks), list(ticks.values()))
    return image


def colours(count: int) -> Sequence[str]:
    """`count` line colours, repeating after seven."""
    return [COLOURS[i % len(COLOURS)] for i in range(count)]


def _hertz(frequency: float) -> str:
    return f"{frequency / 1000:g} k" if frequency >= 1000 else f"{frequency:g}"
