"""Repeat signs, endings and jumps of a score -> the order in which its measures are played."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

MOST_PLAYED = 100_000
"""Largest number of measures played; more means damaged signs."""


class Signs(NamedTuple):
    """Signs of one measure; targets apply at its beginning, jumps at its end."""

    forward: bool = False  # a repeated passage begins
    backward: int = 0  # times through the repeated passage that ends here; 0: none ends
    ending: tuple[int, ...] = ()  # passes in which the measure is played; empty: all
    segno: bool = False
    coda: bool = False
    to_coda: bool = False
    dacapo: bool = False
    dalsegno: bool = False
    fine: bool = False


class Repeat(NamedTuple):
    """A repeated passage with its endings."""

    start: int  # first measure
    stop: int  # after the last measure, endings included
    passes: int  # times through
    last: int  # number of the last ending; 0: it has none
    signed: bool = True  # a repeat sign leads back; else its endings are reached by a jump


def play_order(signs: Sequence[Signs], passes: Mapping[int, int] | None = None, jumps: bool = True) -> list[int]:
    """Order of play of the measures: repeats first, then jumps, no repeat again after a jump.

    Args:
        signs: of each measure
        passes: times through the repeats that begin at these measures, instead of the written number; the last time through
            takes the last ending
        jumps: follow da capo and dal segno, each once

    Returns:
        Indices of measures.

    Raises:
        ValueError: the signs ask for more than MOST_PLAYED measures.
    """
    repeat_at = {measure: repeat for repeat in repeats_of(signs) for measure in range(repeat.start, repeat.stop)}
    order: list[int] = []
    now, turn, followed = 0, 1, set()
    while now < len(signs):
        sign, repeat = signs[now], repeat_at.get(now)
        final = repeat is None or bool(followed) or turn >= (passes or {}).get(repeat.start, repeat.passes)
        if repeat and sign.ending and (repeat.last if final else turn) not in sign.ending:
            now += 1
        else:
            order.append(now)
            if followed and sign.fine:
                break
            target = _target(signs, now, followed) if jumps and (final or not repeat.signed) else None
            if target is not None:
                now, turn = target, 1
            elif sign.backward and not final:
                now, turn = repeat.start, turn + 1
            else:
                now += 1
        turn = turn if repeat_at.get(now) is repeat else 1
        if len(order) > MOST_PLAYED:
            raise ValueError(f"its repeats last more than {MOST_PLAYED} measures")
    return order


def played_once(signs: Sequence[Signs]) -> list[int]:
    """The order of the measures without repeats and jumps: of several endings the last alone."""
    return play_order(signs, {repeat.start: 1 for repeat in repeats_of(signs)}, jumps=False)


def runs_of(order: Sequence[int]) -> list[tuple[int, int]]:
    """First and last measure of each stretch that is played without a jump."""
    breaks = [index for index in range(1, len(order)) if order[index] != order[index - 1] + 1]
    return [(order[first], order[last - 1]) for first, last in pairwise([0, *breaks, len(order)]) if last > first]


def _target(signs: Sequence[Signs], now: int, followed: set[int]) -> int | None:
    """Target of the jump at the end of a measure, which is added to `followed`; None: no jump, or followed before."""
    sign = signs[now]
    if sign.to_coda and followed:
        return next((measure for measure in range(now + 1, len(signs)) if signs[measure].coda), None)
    if now in followed or not (sign.dacapo or sign.dalsegno):
        return None
    target = 0 if sign.dacapo else next((measure for measure in range(now, -1, -1) if signs[measure].segno), None)
    if target is not None:
        followed.add(now)
    return target


def repeats_of(signs: Sequence[Signs]) -> list[Repeat]:
    """Repeated passages in order. A passage without a start sign begins after the previous one, or with the score."""
    repeats, start, now = [], 0, 0
    while now < len(signs):
        start = now if signs[now].forward else start
        if not (signs[now].ending or signs[now].backward):
            now += 1
            continue
        stop = now + 1
        while signs[now].ending and stop < len(signs) and signs[stop].ending and not signs[stop].forward:
            stop += 1
        repeats += _repeat(signs[now:stop], start, stop)
        start = now = stop
    return repeats


def _repeat(close: Sequence[Signs], start: int, stop: int) -> list[Repeat]:
    """Repeat closed by these measures, endings included; empty for brackets without repeat or jump."""
    times = max(sign.backward for sign in close)
    if not times and not any(sign.dacapo or sign.dalsegno for sign in close):
        return []
    endings = {sign.ending for sign in close}
    last = max((number for ending in endings for number in ending), default=0)
    if last and times and len(endings) == 1:
        last += 1  # the music after a single bracket is the other ending
    return [Repeat(start, stop, last or times, last, bool(times))]


MARKS = {"dacapo": "dacapo", "dalsegno": "dalsegno", "tocoda": "to_coda", "fine": "fine", "segno": "segno", "coda": "coda"}
"""Attributes of MusicXML's `<sound>` that name a jump, and the fields of `Signs` for them."""
WORDS = {
    "dacapo": re.compile(r"\bd\. ?c\b|\bda capo\b", re.IGNORECASE),
    "dalsegno": re.compile(r"\bd\. ?s\b|\bdal segno\b", re.IGNORECASE),
    "to_coda": re.compile(r"^\W*to coda\b", re.IGNORECASE),
    "coda": re.compile(r"^\W*coda\W*$", re.IGNORECASE),
    "fine": re.compile(r"^\W*fine\W*$", re.IGNORECASE),
}


def musicxml_signs(root) -> list[Signs]:
    """Signs of each measure of a partwise MusicXML document, those of all parts together.

    Jumps are read from `<sound>`, or from words and printed signs if no sound names any. A mark applies to its whole
    measure: a fine to its end, a segno to its beginning.

    Args:
        root: `<score-partwise>` of lxml or of the standard library
    """
    parts = root.findall("part")
    marked = any(sound.get(mark) not in (None, "no") for part in parts for sound in part.iter("sound") for mark in MARKS)
    columns = [list(_part_signs(part, words=not marked)) for part in parts]
    count = max(map(len, columns), default=0)
    return [_merged([column[measure] for column in columns if measure < len(column)]) for measure in range(count)]


def _merged(signs: Sequence[Signs]) -> Signs:
    return Signs(*(max(values) for values in zip(*signs, strict=True)))


def _part_signs(part, words: bool) -> Iterator[Signs]:
    ending: tuple[int, ...] = ()
    codas = len(part.findall("measure/direction/direction-type/coda"))
    for measure in part.findall("measure"):
        jumps = _printed(measure, codas > 1) if words else _sounding(measure)
        codas -= measure.find("direction/direction-type/coda") is not None
        forward, backward, closed = False, 0, False
        for line in measure.findall("barline"):
            repeat, bracket = line.find("repeat"), line.find("ending")
            if bracket is not None and bracket.get("type") == "start":
                ending, closed = numbers_of(bracket.get("number", "")), False
            closed = closed or (bracket is not None and bracket.get("type") != "start")
            if repeat is not None and repeat.get("direction") == "forward":
                forward = True
            elif repeat is not None:
                times = repeat.get("times", "")
                backward = max(2, int(times)) if times.isdecimal() else 2
        yield Signs(forward, backward, ending, **dict.fromkeys(jumps, True))
        ending = () if closed or backward else ending


def _sounding(measure) -> set[str]:
    return {name for sound in measure.iter("sound") for mark, name in MARKS.items() if sound.get(mark) not in (None, "no")}


def _printed(measure, more_codas: bool) -> set[str]:
    """Jumps in words and signs of a measure. more_codas: a later coda sign is the target of this one."""
    jumps = set()
    for direction in measure.findall("direction"):
        text = " ".join(words.text or "" for words in direction.findall("direction-type/words"))
        jumps |= {name for name, pattern in WORDS.items() if pattern.search(text)}
    if measure.find("direction/direction-type/segno") is not None:
        jumps.add("segno")
    if measure.find("direction/direction-type/coda") is not None and not jumps & {"coda", "to_coda"}:
        jumps.add("to_coda" if more_codas else "coda")
    return jumps


def numbers_of(text: str) -> tuple[int, ...]:
    """Numbers of an ending: of "1, 2" and "1-3" all of them."""
    numbers: set[int] = set()
    for first, last in re.findall(r"(\d{1,3})(?:\s*-\s*(\d{1,3}))?", text):
        numbers.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(numbers - {0})) or (1,)
