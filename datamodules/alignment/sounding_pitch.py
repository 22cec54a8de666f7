"""Transposing instruments: written pitches of MusicXML and MEI documents -> sounding pitches, in place.

Humdrum needs none of it: its pitches sound as they are encoded, and `*ITr` says how to write them.
"""

STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
SHARPS = ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"]
"""Name of each pitch class: what is transposed is for the ear, no longer to be read."""
MEI_ALTERATIONS = {"s": 1, "f": -1, "ss": 2, "x": 2, "ff": -2, "n": 0, "ns": 1, "nf": -1, "xs": 3, "sx": 3, "ts": 3, "tf": -3}


def transpose_musicxml(root) -> None:
    """Apply each `<transpose>` to the notes that follow it in its part, or on the staff that it names, and remove it.

    Args:
        root: lxml element `<score-partwise>`
    """
    for part in root.iter("part"):
        semitones: dict[str | None, int] = {}  # staff -> from written to sounding; None: every other staff
        for element in part.iter("attributes", "note"):
            for transpose in element.findall("transpose"):
                staff = transpose.get("number")
                semitones = {**({} if staff is None else semitones), staff: _semitones(transpose)}
                element.remove(transpose)
            pitch = element.find("pitch")
            if pitch is not None:
                by = semitones.get(element.findtext("staff") or "1", semitones.get(None, 0))
                if by:
                    _respell_musicxml(element, pitch, by)


def _semitones(transpose) -> int:
    chromatic, octaves = (transpose.findtext(name) or "0" for name in ("chromatic", "octave-change"))
    return round(float(chromatic)) + 12 * round(float(octaves))


def _respell_musicxml(note, pitch, by: int) -> None:
    from lxml import etree

    alter = round(float(pitch.findtext("alter") or 0))
    height = 12 * int(pitch.findtext("octave")) + STEPS[pitch.findtext("step").strip()] + alter + by
    step, sharp = SHARPS[height % 12][0], len(SHARPS[height % 12]) - 1
    for child in list(pitch):
        pitch.remove(child)
    for name, value in (("step", step), ("alter", sharp), ("octave", height // 12)):
        etree.SubElement(pitch, name).text = str(value)
    for printed in note.findall("accidental"):
        note.remove(printed)


def transpose_mei(root) -> bool:
    """Apply `trans.semi` of score and staff definitions to the notes of the measures that follow.

    Args:
        root: lxml element of an MEI document

    Returns:
        Whether any note was changed.
    """
    semitones: dict[str | None, int] = {}  # number of a staff -> from written to sounding; None: every other staff
    changed = False
    for element in root.iter("{*}scoreDef", "{*}staffDef", "{*}staff"):
        kind = element.tag.rpartition("}")[2]
        if kind == "staff":
            by = semitones.get(element.get("n"), semitones.get(None, 0))
            notes = [note for note in element.iter("{*}note") if by and note.get("pname") and note.get("oct")]
            changed = changed or bool(notes)
            for note in notes:
                _respell_mei(note, by)
        elif element.get("trans.semi") is not None:
            staff = None if kind == "scoreDef" else element.get("n")
            semitones[staff] = round(float(element.attrib.pop("trans.semi")))
            element.attrib.pop("trans.diat", None)
    return changed


def _respell_mei(note, by: int) -> None:
    accidentals = list(note.iter("{*}accid"))
    marks = [element.get(name) for element in (note, *accidentals) for name in ("accid", "accid.ges")]
    alter = next((MEI_ALTERATIONS.get(mark, 0) for mark in marks if mark), 0)
    height = 12 * int(note.get("oct")) + STEPS[note.get("pname").upper()] + alter + by
    step, sharp = SHARPS[height % 12][0], len(SHARPS[height % 12]) - 1
    for element in accidentals:
        element.getparent().remove(element)
    for name in ("accid", "accid.ges"):
        note.attrib.pop(name, None)
    note.set("pname", step.lower())
    note.set("oct", str(height // 12))
    if sharp:
        note.set("accid.ges", "s")
