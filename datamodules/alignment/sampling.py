"""Which frames of two sounds that run in the same time are told the network to match, and which not."""

from typing import NamedTuple

import numpy as np

from datamodules.alignment.score import Notes


class Sampling(NamedTuple):
    """How pairs of frames are drawn.

    A pair that does not match lies `near` frames apart (lowest and highest distance) with probability `near_share`, else
    anywhere; with `by_pitch` only where other pitches sound, as far as a few tries find such a place. A share `ends` of the
    crops lies across the beginning or the end: else silence, which DTW meets there, would be like anything.
    """

    frames: int = 1  # embeddings of a crop on each side; 1: a patch for each pair, as in the paper
    pairs: int = 1  # drawn from each crop, half of them matches; with one pair a crop every second crop is one
    near: tuple[int, int] = (4, 40)
    near_share: float = 0.5
    by_pitch: bool = True
    ends: float = 0.15


TRIES = 8


def sounding(notes: Notes, frames: int, frame_s: float) -> np.ndarray:
    """Pitches that sound in each frame, (frames, 2) uint64 with a bit for each of 128."""
    active = np.zeros((frames, 2), np.uint64)
    first = np.clip(np.round(notes.onset / frame_s).astype(int), 0, frames)
    last = np.clip(np.maximum(np.round(notes.offset / frame_s).astype(int), first + 1), 0, frames)
    for start, stop, pitch in zip(first, last, notes.pitch.astype(int), strict=True):
        active[start:stop, pitch // 64] |= np.uint64(1) << np.uint64(pitch % 64)
    return active


def roll(active: np.ndarray) -> np.ndarray:
    """The same as (128, frames) uint8 of 0 and 1."""
    bits = np.arange(64, dtype=np.uint64)
    return np.concatenate([(active[None, :, half] >> bits[:, None]) & np.uint64(1) for half in (0, 1)]).astype(np.uint8)


def within(active: np.ndarray, start: int, frames: int) -> np.ndarray:
    """What sounds in frames start .. start + frames, nothing beyond the ends."""
    found = np.zeros((frames, 2), np.uint64)
    first, last = max(0, -start), min(frames, len(active) - start)
    if first < last:
        found[first:last] = active[start + first : start + last]
    return found


def other_place(place: int, low: int, high: int, active: np.ndarray, how: Sampling, random: np.random.Generator) -> int:
    """A frame of low .. high - 1 that does not match `place`."""
    found = place
    for _ in range(TRIES):
        if random.random() < how.near_share:
            found = place + int(random.choice((-1, 1))) * int(random.integers(how.near[0], how.near[1] + 1))
        else:
            found = int(random.integers(low, high))
        if not low <= found < high or abs(found - place) < how.near[0]:
            continue
        if not how.by_pitch or (active[found] != active[place]).any():
            return found
    return _farther(place, low, high, how.near[0])


def _farther(place: int, low: int, high: int, least: int) -> int:
    """The frame least frames away, on the side that has more of them: in a very short crop the end of it."""
    return min(place + least, high - 1) if high - place > place - low else max(place - least, low)
