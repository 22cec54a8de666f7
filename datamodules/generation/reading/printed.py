"""Notes of a MusicXML part as printed: ids, staves, voices, lyrics and grace notes."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element


class PrintedNote(NamedTuple):
    """A note, tied notes joined. Times in ticks from the start of the score as written."""

    onset: int
    duration: int
    pitch: int  # MIDI number, sounding
    grace: int  # 0: none; else its position before its main note, counted backwards
    name: str  # id in the file, of the first of tied notes; "": none
    staff: str
    voice: str
    lyrics: tuple[str, ...]  # one syllable per verse; a syllable inside a word ends in a hyphen


class PrintedNotes:
    """Notes of one part, added in the order of the file."""

    def __init__(self) -> None:
        self.rows: list[tuple[Element, int, int, int, int, int]] = []  # element, measure, offset, duration, pitch, grace
        self.graces: dict[str, list[tuple[Element, int]]] = defaultdict(list)  # before the next note of a voice: with pitch

    def add(self, element: Element, measure: int, offset: int, duration: int, pitch: int) -> None:
        """Add a note. Grace notes begin with the next other note of their voice.

        Args:
            element: `<note>`
            measure: index of its measure
            offset: ticks from the beginning of the measure
            duration: ticks
            pitch: MIDI number, sounding
        """
        voice = _text(element, "voice")
        if element.find("grace") is not None:
            self.graces[voice].append((element, pitch))
            return
        graces = self.graces.pop(voice, [])
        self.rows += [(grace, measure, offset, 0, height, len(graces) - index) for index, (grace, height) in enumerate(graces)]
        self.rows.append((element, measure, offset, duration, pitch, 0))

    def joined(self, starts: Sequence[int]) -> list[PrintedNote]:
        """Notes by onset, tied ones joined. starts: ticks at which the measures begin."""
        notes: list[PrintedNote] = []
        held: dict[int, tuple[int, bool]] = {}  # pitch -> index of a note that a tie goes on from, whether that must end
        timed = [(starts[measure] + offset, row) for row in self.rows for _, measure, offset, *_ in (row,)]
        for onset, (element, _, _, duration, pitch, grace) in sorted(timed, key=lambda pair: (pair[0], -pair[1][-1])):
            ties, slurred = element.findall("tie"), element.findall("notations/tied")
            index, strict = held.pop(pitch, (None, False)) if not grace else (None, False)
            ends = any(tie.get("type") == "stop" for tie in ties + slurred)
            if index is None or notes[index].onset + notes[index].duration != onset or (strict and not ends):
                index = len(notes)
                name = element.get("id") or element.get("ID") or ""
                printed = (_text(element, "staff"), _text(element, "voice"), _lyrics(element))
                notes.append(PrintedNote(onset, 0, pitch, grace, name, *printed))
            notes[index] = notes[index]._replace(duration=notes[index].duration + duration)
            if any(tie.get("type") == "start" for tie in ties or slurred):
                held[pitch] = (index, not ties)  # a lone sign of notation may be a slur
        return notes


def _text(element: Element, tag: str) -> str:
    return (element.findtext(tag) or "1").strip()


def _lyrics(note: Element) -> tuple[str, ...]:
    verses = {}
    for position, lyric in enumerate(note.findall("lyric"), 1):
        number = lyric.get("number") or str(position)
        text = "".join(element.text or "" for element in lyric.iter() if element.tag in ("text", "elision"))
        goes_on = (lyric.findtext("syllabic") or "").strip() in ("begin", "middle")
        verses[int(number) if number.isdecimal() else position] = text + "-" * goes_on
    return tuple(verses[number] for number in sorted(verses))
