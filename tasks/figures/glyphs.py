"""Glyphs of any script in figures: fonts installed here that have them, else Latin letters or question marks.

Nothing global changes: a figure of `figure_class()` sees to its own texts whenever it is drawn.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
