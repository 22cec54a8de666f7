"""Chord symbols as text, such as Am7, F#dim or G7/B, and the root and quality that they stand for."""

import re

from datamodules.demo.piece import STEPS
from datamodules.symbolic.piece import QUALITIES

ROOTS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "G#", "A", "Bb", "B")
SUFFIXES = ("", "m", "dim", "aug", "7", "maj7", "m7", "sus")
"""What `write_symbol` puts behind the root, in the order of QUALITIES."""
LONGEST = 40
"""Characters of a symbol; `_TAIL` tries every way to part longer ones into its words."""
_SYMBOL = re.compile(r"\(?([A-Ga-g])(##|#|bb|b|♯|♭)?([^/]*)(?:/.*)?")
# What may follow the root: else it is a word, such as Fine.
_TAIL = re.compile(r"(maj|ma|min|mi|m|dim|aug|sus|add|dom|alt|no|o|°|ø|Δ|[\^+\-#b()*,\d ])*")
# Tried in this order, at the beginning of what follows the root in lower case; M was spelled out as maj.
_SUFFIX = (
    (r"(m|min|-)(\(?maj|\^|Δ)", "minor"),
    (r"(maj|ma|j|\^|Δ)(7|9|11|13)|(\^|Δ)", "major seventh"),
    (r"dim|o|°|ø|(m|min|-)(7|9)?\(?(b5|-5)", "diminished"),
    (r"(maj|ma)?(6|add|2$|69)|(maj|ma)?$|\(", "major"),
    (r"(m|min|mi|-)(7|9|11|13)", "minor seventh"),
    (r"(m|min|mi|-)(6|add|2$|b6|\(|\*|$)", "minor"),
    (r"(aug|\+)", "augmented"),
    (r"(7|9|11|13)(#5|\+|aug)", "augmented"),
    (r"(dom)?(7|9|11|13)(?!.*sus)", "dominant"),
)


def read_symbol(text: str) -> tuple[int, int] | None:
    """Root (pitch class) and quality (index into QUALITIES) of a chord symbol; None where the text is none.

    A bass note behind a slash is left out; an extension counts as the seventh chord below it, a half-diminished chord as
    diminished, a sixth as the triad.
    """
    found = _SYMBOL.fullmatch(text.strip().rstrip(")")) if len(text) <= LONGEST else None
    if not found:
        return None
    accidental = (found[2] or "").replace("♯", "#").replace("♭", "b")
    root = (STEPS[found[1].upper()] + accidental.count("#") - accidental.count("b")) % 12
    quality = _quality(found[3].strip())
    return None if quality is None else (root, QUALITIES.index(quality))


def write_symbol(root: int, quality: int) -> str:
    """A symbol that `read_symbol` reads as this root and quality."""
    return ROOTS[root] + SUFFIXES[quality]


def _quality(suffix: str) -> str | None:
    plain = re.sub(r"M(?!in)", "maj", re.sub(r"M(?=aj|a\d|a$)", "m", suffix)).lower()
    if not _TAIL.fullmatch(plain):
        return None
    return next((quality for pattern, quality in _SUFFIX if re.match(pattern, plain)), "other")
