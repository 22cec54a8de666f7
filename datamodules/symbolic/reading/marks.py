"""Marks of a score beside its notes, such as lyrics and slurs, counted: no answer to a score carries them."""

import re
from collections import Counter
from pathlib import Path

from datamodules.errors import counted
from datamodules.symbolic.reading.scores import parsed_score

MUSICXML = {
    "lyric": "lyric",
    "dynamics": "dynamic mark",
    "wedge": "hairpin",
    "slur": "slur",
    "articulations": "articulation",
    "ornaments": "ornament",
    "technical": "technical mark",
    "pedal": "pedal mark",
    "words": "text",
    "figured-bass": "figure",
}
"""Elements of MusicXML, and what they are in words; of those that begin and end the beginnings count."""
ABC = {
    "lyric line": re.compile(r"(?m)^[wW]:"),
    "slur": re.compile(r"\((?=[\"^_=]*[A-Ga-g\[{])"),
    "decoration": re.compile(r"![^!|\s]+!"),
}


def unread_marks(path: Path) -> list[str]:
    """A sentence on the marks of a MusicXML or ABC file, if it has any; of other formats nothing is known."""
    ending = path.suffix.lower()
    if ending in (".musicxml", ".xml", ".mxl"):
        elements = (one for one in parsed_score(path).iter() if one.get("type") not in ("stop", "continue"))
        counts = Counter(MUSICXML[one.tag] for one in elements if one.tag in MUSICXML)
    elif ending == ".abc":
        text = path.read_text(encoding="utf-8", errors="replace")
        counts = Counter({name: len(pattern.findall(text)) for name, pattern in ABC.items()})
    else:
        return []
    listed = [counted(number, name) for name, number in counts.items() if number]
    return [f"notes, chords, keys, metres and tempi are carried over, not {', '.join(listed)}"] if listed else []
