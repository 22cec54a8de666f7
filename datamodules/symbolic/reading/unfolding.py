"""Repeats of written music: as they stand, once through or as they are played; what is said of them."""

from collections.abc import Sequence
from typing import Literal

from datamodules.errors import counted
from datamodules.repeats import Signs, play_order, played_once

Repeats = Literal["written", "once", "played"]
"""written: every measure once; once: of several endings the last alone; played: repeats, endings and jumps followed."""
MOST_NOTES = 1_000_000
"""Notes of a piece: repeats that ask for more are damaged."""


def order_of(signs: Sequence[Signs], repeats: Repeats) -> list[int]:
    """Indices of measures in the order in which they are read. Raises ValueError for signs without an end."""
    if repeats == "written":
        return list(range(len(signs)))
    return play_order(signs) if repeats == "played" else played_once(signs)


def order_remarks(written: int, order: Sequence[int], unit: str) -> list[str]:
    """What an order of measures changes against the `written` ones, in sentences."""
    if len(order) > written:
        return [f"its repeats are played: {counted(written, unit)} written, {len(order)} read"]
    return [left_out(f"{unit} of an earlier ending", written - len(set(order)))] if len(set(order)) < written else []


def changes(events: Sequence[tuple]) -> list[tuple]:
    """Events (time, ...) in order, each of which holds until the next, without those that say what holds already."""
    return [event for place, event in enumerate(events) if not place or event[1:] != events[place - 1][1:]]


def left_out(thing: str, number: int) -> str:
    """A sentence such as `2 grace notes are left out`."""
    return f"{counted(number, thing)} {'is' if number == 1 else 'are'} left out"
