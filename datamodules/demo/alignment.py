"""Embedded alignment set: bundled scores on keyboards with random tempo curves, in the layout of MAPS, subset MUS.

A root has a folder `MAPS_<player>/MUS` per player with `MAPS_MUS-<piece>_<player>` as .wav (22.05 kHz, mono, 16 bit), .mid
and .txt. A player is a program of the SoundFont with a degradation; no piece and no player is in two splits.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from datamodules.alignment import degrade
from datamodules.audio import render
from datamodules.audio.render import RenderedNote
from datamodules.demo import accompany, cutting, plan, tagging
from datamodules.demo.cache import build_once
from datamodules.demo.music import DemoPiece

RATE = 22_050
SECONDS = 30.0
# Pieces of each kind per player.
PIECES = {"chorale": 4, "waltz": 2, "jig": 2, "reel": 3}
PLAYED_AFTER_S = 0.008
"""Standard deviation of the onsets within a chord."""
SOURCES = (*tagging.SOURCES, Path(degrade.__file__), Path(__file__))


class KeyboardSound(NamedTuple):
    """General MIDI program with an optional degradation."""

    split: str
    program: int
    worse: str | None


PLAYERS = {
    "GrandPno": KeyboardSound("train", 0, "room"),
    "BrightPno": KeyboardSound("train", 1, None),
    "ElecGrand": KeyboardSound("train", 2, "tape"),
    "ElecPno": KeyboardSound("train", 4, "hiss"),
    "Harpsi": KeyboardSound("train", 6, "narrow"),
    "Clavi": KeyboardSound("validation", 7, "tape"),
    "HonkyTonkShellac": KeyboardSound("test", 3, "shellac"),
    "HonkyTonkCylinder": KeyboardSound("test", 3, "cylinder"),
}


class Performance(NamedTuple):
    """Piece with the notes of one player."""

    piece: DemoPiece
    name: str  # of the piece, as a file name
    player: str
    notes: list[RenderedNote]
    seed: int


def build(
    cache_dir: str | Path | None = None, pieces: Mapping[str, int] = PIECES, processes: int | None = None, seed: int = 0
) -> Path:
    """Root of the embedded set, rendered on the first call; `pieces`: number of each kind per player."""

    def make(root: Path) -> None:
        work = [(performance, root) for performance in performances(pieces, seed)]
        for player in PLAYERS:
            (root / f"MAPS_{player}" / "MUS").mkdir(parents=True)
        render.parallel(write, work, processes, f"rendering {len(work)} demo performances of {SECONDS:.0f} s, once")

    return build_once("alignment", make, SOURCES, (dict(pieces), seed), cache_dir)


def performances(pieces: Mapping[str, int] = PIECES, seed: int = 0) -> list[Performance]:
    """Recordings of the set."""
    random = np.random.default_rng(seed)
    split_of = {name: player.split for name, player in PLAYERS.items()}
    shares = {split: sum(own == split for own in split_of.values()) / len(PLAYERS) for split in ("train", "validation", "test")}
    chosen = tagging.choose({kind: count * len(PLAYERS) for kind, count in pieces.items()}, random, shares)
    decks = {split: plan.Deck(random, *(name for name in PLAYERS if split_of[name] == split)) for split in shares}
    results = []
    for piece, split in chosen:
        name = re.sub(r"[^a-z0-9]+", "_", piece.name.lower()).strip("_")
        own_seed = int(random.integers(2**31))
        results.append(Performance(piece, name, decks[split].draw(), play(piece, own_seed), own_seed))
    return results


def split_of(name: str) -> str:
    """Split of a recording, by player."""
    return PLAYERS[name.rsplit("_", 1)[1]].split


def play(piece: DemoPiece, seed: int) -> list[RenderedNote]:
    """Notes of a piece with a random first bar, key, tempo curve and dynamics, and asynchronous chords."""
    random = np.random.default_rng(seed)
    lines = arranged(piece, random).parts
    curve, swell = degrade.Curve(seed, SECONDS), random.uniform(0, 6.28)
    notes = []
    for part, line in enumerate(lines):
        for tone in line:
            if not sounds(tone):
                continue
            first, last = curve(np.array([tone.start, tone.start + 0.95 * tone.length]))
            first = max(0.0, first + random.normal(0, PLAYED_AFTER_S))
            loud = 72 + 12 * np.sin(tone.start / 4 + swell) + random.normal(0, 6) - 8 * (part > 0)
            notes.append(RenderedNote(first, max(last, first + 0.05), 0, tone.pitch, int(np.clip(loud * tone.stress, 20, 120))))
    return apart(sorted(notes))


def arranged(piece: DemoPiece, random: np.random.Generator) -> cutting.ScoreExcerpt:
    """Excerpt in strict tempo with a random first bar, key and tempo; accompanied if it is a lone melody."""
    beat = piece.bar / accompany.BEATS[piece.beats, piece.beat_type]
    bars = int(piece.length / piece.bar + 1e-6)
    tempo = random.uniform(60, 100) if len(piece.parts) > 1 else random.uniform(80, 130)
    start = int(random.random() * bars) / bars
    excerpt = cutting.cut(piece, 60 / tempo / beat, start, int(random.integers(-5, 7)), int(random.integers(66, 76)), SECONDS)
    if len(excerpt.parts) > 1:
        return excerpt
    chords = accompany.comping(excerpt.grid, str(random.choice(list(accompany.COMPING))), 48, False)
    return excerpt._replace(parts=[*excerpt.parts, chords, cutting.bass_line(excerpt, int(random.integers(6)))])


def sounds(tone: accompany.Tone) -> bool:
    """True if a note of an arrangement is played in the recording."""
    return 0 <= tone.start < SECONDS - 0.3


def apart(notes: list[RenderedNote]) -> list[RenderedNote]:
    """End notes before their pitch is repeated; drop repetitions within 60 ms."""
    last: dict[int, int] = {}
    kept: list[RenderedNote] = []
    for note in notes:
        before = last.get(note.pitch)
        if before is not None and kept[before].end > note.start - 0.01:
            if note.start - kept[before].start < 0.06:
                continue
            kept[before] = kept[before]._replace(end=note.start - 0.01)
        last[note.pitch] = len(kept)
        kept.append(note)
    return kept


def write(performance: Performance, root: Path) -> None:
    """Write the three files of a recording."""
    name = f"MAPS_MUS-{performance.name}_{performance.player}"
    stem = root / f"MAPS_{performance.player}" / "MUS" / name
    midi, audio = rendered(performance)
    stem.with_name(f"{name}.mid").write_bytes(midi)
    rows = [f"{note.start:.6f}\t{note.end:.6f}\t{note.pitch}" for note in performance.notes]
    stem.with_name(f"{name}.txt").write_text("\n".join(["OnsetTime\tOffsetTime\tMidiPitch", *rows]) + "\n", encoding="utf-8")
    soundfile.write(stem.with_name(f"{name}.wav"), audio, RATE, subtype="PCM_16")


def rendered(performance: Performance) -> tuple[bytes, np.ndarray]:
    """MIDI file of a performance, and its sound (samples,) float32 at RATE."""
    player = PLAYERS[performance.player]
    end = max(note.end for note in performance.notes) + 1.5
    midi = render.midi_file(performance.notes, {0: player.program}, end)
    audio = render.render_mono(midi, RATE, end)
    return midi, degrade.degrade(audio, RATE, player.worse, performance.seed) if player.worse else audio
