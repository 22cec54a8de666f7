"""Range checks of the numbers in MusicXML, MEI and Humdrum files, made before a parser allocates memory for them."""

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

MOST_QUARTERS = 500_000
"""Quarter notes of a part: two and a half days at 120 to the minute."""
MOST_DIVISIONS = 1_000_000
"""Of a quarter note; MuseScore writes 480, Finale up to 16,383."""
MOST_SPINES = 200
"""Columns of a Humdrum file."""
_NUMBER = re.compile(r"\s*[-+]?\d{1,12}(\.\d{0,12})?\s*", re.ASCII)
_IN_MEI = re.compile(rb"""\bmeter\.(?:count|unit)\s*=\s*["']([^"']*)["']""")
_SIGNATURE = re.compile(rb"<(?:\w+:)?meterSig\b[^<>]*>")
_IN_SIGNATURE = re.compile(rb"""\s(?:count|unit)\s*=\s*["']([^"']*)["']""")
_IN_KERN = re.compile(rb"(?:^|\t)\*M(\d[^\t\r\n]*)", re.MULTILINE)
_METRE = re.compile(rb"[1-9]\d{0,2}([+/*|:][1-9]\d{0,2})*(%\d+)?")
_LONG = re.compile(rb"""=\s*["'](-?\d{10,})["']""")
_SMALL = {"alter": 100, "octave": 20, "chromatic": 200, "octave-change": 20, "fifths": 20, "staff": 1000, "staves": 1000}
"""Elements and their largest magnitude; others of music are not bounded."""


def exact_number(text: str) -> Fraction:
    """Exact value of a decimal number.

    Raises:
        ValueError: another text, or more digits than a score has (1e99999999 is a number of 12 MB).
    """
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text[:20]!r} is not a plain number")
    return Fraction(text)


def check_metres(data: bytes) -> None:
    """Check the time signatures and the size of numbers in an MEI or Humdrum file before a library processes it.

    Args:
        data: content of the file

    Raises:
        ValueError: a time signature, an attribute or a number of spines that no score has.
    """
    signatures = b" ".join(_SIGNATURE.findall(data))
    for text in (*_IN_MEI.findall(data), *_IN_SIGNATURE.findall(signatures), *_IN_KERN.findall(data)):
        if not _METRE.fullmatch(text.strip()):
            raise ValueError(f"the time signature {text[:20].decode('latin-1')!r}")
    if not data.lstrip().startswith(b"<"):
        spines = 1 + max((line.count(b"\t") for line in data.splitlines()), default=0)
        if spines > MOST_SPINES:
            raise ValueError(f"{spines:,} spines")
    if match := _LONG.search(data):
        raise ValueError(f"the number {match[1][:20].decode('latin-1')}")


def check_numbers(root: Any) -> None:
    """Check divisions, durations, metres and pitches of a partwise document.

    Args:
        root: its root element, of lxml or ElementTree

    Raises:
        ValueError: a number that no score has, or a part of more than `MOST_QUARTERS`.
    """
    for name, most in _SMALL.items():
        for element in root.iter(name):
            if abs(exact_number(element.text or "0")) > most:
                raise ValueError(f"<{name}> is {element.text:.20}")
    for kind in root.iter("beat-type"):
        if (kind.text or "").strip() not in ("1", "2", "4", "8", "16", "32", "64", "128"):
            raise ValueError(f"<beat-type> is {kind.text or '':.20}")
    for beats in root.iter("beats"):
        if any(not 0 < exact_number(part) < 1000 for part in (beats.text or "").split("+")):
            raise ValueError(f"<beats> is {beats.text or '':.20}")
    for part in root.iter("part"):
        quarters = sum(_quarters(part))
        if quarters > MOST_QUARTERS:
            raise ValueError(f"a part lasts {float(quarters):.0f} quarter notes, {MOST_QUARTERS:,} at most are read")


def _quarters(part: Any) -> Iterator[float]:
    """Quarter notes of every note and move of a part."""
    divisions = Fraction(1)
    for element in part.iter("divisions", "duration") if hasattr(part, "getroottree") else part.iter():
        if element.tag == "divisions":
            divisions = exact_number(element.text or "1")
            if not 0 < divisions <= MOST_DIVISIONS:
                raise ValueError(f"<divisions> is {element.text:.20}")
        elif element.tag == "duration":
            duration = exact_number(element.text or "0")
            if duration < 0:
                raise ValueError(f"<duration> is {element.text:.20}")
            yield float(duration / divisions)
