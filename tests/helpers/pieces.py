"""Makers of pieces that tests need: random ones, and four-part cadences by rule."""

from itertools import pairwise, product

import numpy as np

from datamodules.generation.piece import Piece, in_order
from datamodules.generation.views.view import View

REGISTERS = ((70, 81), (60, 69), (52, 59), (36, 51))
"""Lowest and highest pitch of soprano, alto, tenor and bass of a random piece: no two meet."""
TRIADS = {"major": ((0, 0), (2, 1), (5, 0), (7, 0), (9, 1)), "minor": ((0, 1), (5, 1), (7, 0), (8, 0))}
"""Root above the tonic and quality (0 major, 1 minor) of the chords of a chorale."""
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
SHAPES = (
    {},
    {"pickup": 3},
    {"metre": (3, 4), "pickup": 4, "ticks": 960},
    {"ticks": 4, "voices": 2},
    {"metre": (3, 8), "bars": 1},
    {"metre": (6, 8), "pickup": 2, "voices": 1},
)
"""What random pieces of `various` look like."""


def fitted(view: View, *learned: Piece) -> View:
    view.fit(list(learned))
    return view


def piece_of(*notes, ticks=4, length=16, **fields):
    """A piece of (onset, duration, pitch, voice) notes."""
    rows = [(onset, lasts, pitch, 80, voice) for onset, lasts, pitch, voice in notes]
    return Piece(np.zeros((0, 5), np.int32), ticks, length, **fields).with_notes(np.array(rows, np.int32).reshape(-1, 5))


def various() -> list[Piece]:
    """Random pieces of all metres, ticks, pickups and numbers of voices, and some chorales."""
    return [random_piece(seed, **shape) for seed in range(6) for shape in SHAPES] + [chorale(seed) for seed in range(4)]


def random_piece(
    seed: int,
    voices: int = 4,
    bars: int = 4,
    pickup: int = 0,
    ticks: int = 480,
    steps: int = 4,
    metre: tuple[int, int] = (4, 4),
    rests: float = 0.15,
    repeats: float = 0.25,
    registers: tuple[tuple[int, int], ...] = REGISTERS,
) -> Piece:
    """Voices of random notes with rests, repeated and held notes, on a grid of `steps` a quarter note.

    pickup: steps before the first bar; ticks must be a multiple of steps. Every velocity is 80. The last bar may end in silence.
    """
    random = np.random.default_rng(seed)
    bar = 4 * steps * metre[0] // metre[1]
    length, notes = pickup + bars * bar, []
    for voice in range(voices):
        now, pitch = 0, None
        while now < length:
            lasts = min(int(random.integers(1, 7)), length - now)
            if random.random() >= rests:
                if pitch is None or random.random() >= repeats:
                    pitch = int(random.integers(registers[voice][0], registers[voice][1] + 1))
                notes.append((now, lasts, pitch, 80, voice))
            now += lasts
    step = ticks // steps
    notes = in_order(np.array(notes, np.int32).reshape(-1, 5) * np.array([step, step, 1, 1, 1]))
    onsets = np.unique(notes[notes[:, 4] == 0, 0])
    return Piece(
        notes=notes,
        ticks=ticks,
        length=length * step,
        name=f"random-{seed}",
        pickup=pickup * step,
        metres=np.array([[0, *metre]], np.int32),
        tonic=int(random.integers(12)),
        mode=str(random.choice(["major", "minor"])),
        fermatas=np.sort(random.choice(onsets, min(2, len(onsets)), replace=False)).astype(np.int32),
    )


def chorale(seed: int, phrases: int = 2, ticks: int = 4, pickup: bool = True) -> Piece:
    """A chorale of phrases of eight chords that end in V I under a fermata, in any key, with a few passing eighths.

    Chords are triads in a smooth voicing, each a quarter; no two voices move in parallel fifths or octaves. ticks must be even.
    """
    random = np.random.default_rng(seed)
    mode = str(random.choice(["major", "minor"]))
    tonic = int(random.integers(12))
    chords = [chord for _ in range(phrases) for chord in _phrase(random, mode)]
    voicings: list[tuple[int, ...]] = []
    for root, quality in chords:
        voicings.append(_voicing((tonic + root) % 12, quality, voicings[-1] if voicings else None, random))
    beats = np.arange(len(chords)) * ticks
    lines = [[(int(beat), ticks, v[voice]) for beat, v in zip(beats, voicings, strict=True)] for voice in range(4)]
    for place, (now, after) in enumerate(pairwise(voicings)):
        _pass(lines, place, now, after, ticks, {(tonic + degree) % 12 for degree in SCALES[mode]}, random)
    notes = [(onset, lasts, pitch, 80, voice) for voice, line in enumerate(lines) for onset, lasts, pitch in line]
    return Piece(
        notes=in_order(np.array(sorted(notes))),
        ticks=ticks,
        length=len(chords) * ticks,
        name=f"chorale-{seed}",
        composer="rule",
        kind="chorale",
        pickup=ticks if pickup else 0,
        tonic=tonic,
        mode=mode,
        fermatas=(beats[7::8]).astype(np.int32),
        chords=np.array([(b, (tonic + root) % 12, quality) for b, (root, quality) in zip(beats, chords, strict=True)], np.int32),
    )


def _phrase(random: np.random.Generator, mode: str) -> list[tuple[int, int]]:
    """Eight chords, tonic first, dominant and tonic last, no chord twice in a row."""
    tonic, fourth, fifth = (next(c for c in TRIADS[mode] if c[0] == degree) for degree in (0, 5, 7))
    chords = [tonic]
    while len(chords) < 5:
        unlike = {chords[-1], fifth} | ({fourth} if len(chords) == 4 else set())
        inner = [chord for chord in TRIADS[mode] if chord not in unlike]
        chords.append(inner[random.integers(len(inner))])
    return [*chords, fourth, fifth, tonic]


def parallels(before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    """True if two voices of two chords move from a fifth or an octave into the same interval."""
    pairs = [(high, low) for low in range(4) for high in range(low)]
    return any(
        (before[a] - before[b]) % 12 == (after[a] - after[b]) % 12
        and (after[a] - after[b]) % 12 in (0, 7)
        and before[a] != after[a]
        for a, b in pairs
    )


def _voicing(root: int, quality: int, before: tuple[int, ...] | None, random: np.random.Generator) -> tuple[int, ...]:
    """Soprano to bass of a triad in root position: complete, spaced within octaves, the smoothest after `before`."""
    triad = [root, (root + 4 - quality) % 12, (root + 7) % 12]
    reach = [[p for p in range(low, high + 1) if p % 12 in triad] for low, high in ((62, 79), (55, 72), (48, 67))]
    basses = [p for p in range(40, 60) if p % 12 == root]
    found = [
        v
        for v in product(*reach, basses)
        if 0 <= v[0] - v[1] <= 12 and 0 <= v[1] - v[2] <= 12 and v[2] >= v[3] and {p % 12 for p in v} == set(triad)
    ]
    centre = (71, 65, 58, 48)
    before_or_centre = before or centre
    found = [v for v in found if before is None or not parallels(before, v)] or found

    def leaps(v: tuple[int, ...]) -> float:
        moved = sum(abs(a - b) for a, b in zip(v, before_or_centre, strict=True))
        return moved + 0.3 * sum(abs(a - b) for a, b in zip(v, centre, strict=True)) + 3 * random.random()

    return min(found, key=leaps)


def _pass(lines, place, now, after, ticks, scale, random) -> None:
    """Fill a third in one voice between two chords with a passing eighth, where no parallels come of it."""
    for voice in random.permutation(4):
        between = [p for p in range(min(now[voice], after[voice]) + 1, max(now[voice], after[voice])) if p % 12 in scale]
        if abs(now[voice] - after[voice]) not in (3, 4) or not between:
            continue
        passing = (*now[:voice], between[0], *now[voice + 1 :])
        if random.random() < 0.6 and not parallels(now, passing) and not parallels(passing, after):
            at = next(i for i, note in enumerate(lines[voice]) if note[0] == place * ticks)
            lines[voice][at : at + 1] = [
                (place * ticks, ticks // 2, now[voice]),
                (place * ticks + ticks // 2, ticks // 2, between[0]),
            ]
        return
