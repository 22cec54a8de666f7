"""What a corpus holds, as plain values for the report of `prepare`."""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from datamodules.symbolic.corpora.corpus import Dropped, Splits
from datamodules.symbolic.piece import PITCH, Piece
from datamodules.symbolic.splitting import content

TONICS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
SPLITS = ("train", "validation", "test")


def survey(splits: Splits) -> dict[str, Any]:
    """Per split what its pieces are like, which pieces are there twice, and what was left out for which reason.

    Two pieces are one where all their notes agree, in whatever key.
    """
    by_split = {split: getattr(splits, split) for split in SPLITS}
    names = {split: _by_content(pieces) for split, pieces in by_split.items()}
    across = [
        [*names[one][key], *names[other][key]]
        for one, other in combinations(SPLITS, 2)
        for key in names[one].keys() & names[other]
    ]
    return {
        "splits": {split: _describe(pieces) for split, pieces in by_split.items()},
        "duplicates": {
            "inside": {split: sorted(n for n in found.values() if len(n) > 1) for split, found in names.items()},
            "across": sorted(across),
        },
        "left_out": _grouped(splits.dropped),
    }


def minutes(piece: Piece) -> float:
    """How long a piece lasts at its tempi."""
    changes = np.append(piece.tempi[:, 0].clip(max=piece.length), piece.length).astype(np.int64)
    return float((np.diff(changes) * piece.tempi[:, 1].astype(np.int64)).sum() / piece.ticks / 60e6)


def _describe(pieces: Sequence[Piece]) -> dict[str, Any]:
    return {
        "pieces": len(pieces),
        "bars": sum(piece.bars for piece in pieces),
        "notes": sum(len(piece.notes) for piece in pieces),
        "drum_notes": sum(len(piece.drums) for piece in pieces),
        "minutes": round(sum(map(minutes, pieces)), 2),
        "keys": _histogram(_key(piece) for piece in pieces),
        "metres": _histogram(f"{piece.beats}/{piece.beat_type}" for piece in pieces),
        "composers": _histogram(piece.composer or "unknown" for piece in pieces),
        "voices": _histogram(str(piece.voices) for piece in pieces),
        "ranges": _ranges(pieces),
        "with_pickup": _share(piece.pickup > 0 for piece in pieces),
        "with_fermatas": _share(len(piece.fermatas) > 0 for piece in pieces),
        "with_chords": _share(len(piece.chords) > 0 for piece in pieces),
        "metre_changes": sum(len(piece.metres) > 1 for piece in pieces),
    }


def _key(piece: Piece) -> str:
    return "unknown" if piece.tonic is None else " ".join(filter(None, (TONICS[piece.tonic], piece.mode)))


def _histogram(values: Any) -> dict[str, int]:
    """How often each value occurs, the most frequent first."""
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))


def _ranges(pieces: Sequence[Piece]) -> list[list[int]]:
    """Lowest and highest pitch of each voice that sounds."""
    found = []
    for voice in range(max((piece.voices for piece in pieces), default=0)):
        pitches = np.concatenate([piece.voice(voice)[:, PITCH] for piece in pieces])
        found.append([int(pitches.min()), int(pitches.max())] if len(pitches) else [])
    return found


def _share(flags: Any) -> float:
    flags = list(flags)
    return round(sum(flags) / len(flags), 4) if flags else 0.0


def _by_content(pieces: Sequence[Piece]) -> dict[bytes, list[str]]:
    names: dict[bytes, list[str]] = {}
    for piece in pieces:
        if len(piece.notes):
            names.setdefault(content(piece), []).append(piece.name)
    return names


def _grouped(dropped: Sequence[Dropped]) -> dict[str, dict[str, Any]]:
    """Reasons without the names, each with how many and the names."""
    groups: dict[str, list[str]] = {}
    for one in dropped:
        reason = "damaged" if one.damaged else one.reason.removeprefix(one.name).lstrip(": ")
        reason = "a duplicate" if reason.startswith("holds the notes of") else reason
        groups.setdefault(reason, []).append(one.name)
    return {reason: {"number": len(names), "names": names} for reason, names in sorted(groups.items(), key=lambda g: -len(g[1]))}
