"""POP909 (Wang et al. 2020): pop songs as melody, bridge and piano."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from datamodules.common.errors import DataError
from datamodules.generation.corpora.corpus import OwnMusic, Splits, Unwanted, gather
from datamodules.generation.piece import ONSET, PITCH, VOICE, Piece
from datamodules.generation.reading import read_piece
from datamodules.generation.splitting import divide

UNSAID = (1, 4)
TRACKS = ("MELODY", "BRIDGE", "PIANO")


class POP909(OwnMusic):
    """Songs 001.mid to 909.mid, at any depth: voice 0 is the melody, 1 the bridge, 2 the piano, which is polyphonic.

    Other versions of a song (`versions`) are not read. Split by a hash of the song's number. A metre of 1/4, as in most files,
    is read as 4/4. Each file has a constant offset from its beats, estimated by `beat_phase` and removed; bar lines are
    unknown.

    Args:
        root: folder of the songs
    """

    name = "pop909"
    layout = "the folder of POP909 with 001.mid, 002.mid, ... or a folder for each of them"

    def sources(self) -> list[Path]:
        """The songs by number. Raises DataError if there is none."""
        paths = sorted(self.folder().rglob("[0-9][0-9][0-9].mid"))
        if not paths:
            raise DataError(f"{self.folder()} holds no songs: --data.root must name {self.layout}.")
        return paths

    def read(self) -> Splits:
        """Parse everything."""
        pieces, dropped = gather(_song, [(path, f"pop909/{path.stem}") for path in self.sources()], "songs")
        return divide(pieces, dropped)


def _song(path: Path, name: str) -> list[Piece]:
    import symusic

    piece = read_piece(path)
    tracks = {track.name.strip(): np.sort(track.notes.numpy()["pitch"]) for track in symusic.Score(path).tracks}
    if not set(TRACKS) <= {name for name, pitches in tracks.items() if len(pitches)}:
        raise Unwanted(f"it lacks one of the tracks {', '.join(TRACKS)}")
    notes = piece.notes.copy()
    for number, track in enumerate(TRACKS):
        voices = [v for v in range(piece.voices) if np.array_equal(np.sort(piece.voice(v)[:, PITCH]), tracks[track])]
        notes[piece.notes[:, VOICE] == voices[0], VOICE] = number
    metres = piece.metres.copy()
    metres[(metres[:, 1:] == UNSAID).all(1), 1] = 4
    piece = replace(piece.with_notes(notes), name=name, kind="pop", programs=(), names=(), remarks=(), metres=metres)
    phase = beat_phase(piece)
    return [moved(piece, -phase if phase <= piece.notes[0, ONSET] else piece.ticks - phase)]


def beat_phase(piece: Piece) -> int:
    """Most frequent onset within a quarter note, in ticks."""
    return int(np.bincount(piece.notes[:, ONSET] % piece.ticks).argmax())


def moved(piece: Piece, ticks: int) -> Piece:
    """Piece moved by `ticks`; the first metre and tempo stay at 0."""
    notes, metres, tempi = piece.notes.copy(), piece.metres.copy(), piece.tempi.copy()
    for events in (notes, metres[1:], tempi[1:]):
        events[:, 0] = np.maximum(events[:, 0] + ticks, 0)
    return replace(piece, notes=notes, metres=metres, tempi=tempi, length=piece.length + ticks)
