"""Vienna 4x22: four excerpts of piano music by 22 pianists each, with note for note what they play."""

import re
from functools import partial
from pathlib import Path

from datamodules.alignment.listing import Drawn, Listing, audio_beside, with_splits
from datamodules.alignment.note_truth import matched_times
from datamodules.alignment.pairs import Pair, Sound
from datamodules.errors import DataError

LAYOUT = (
    "Vienna 4x22 (match/PIECE_pNN.match, midi/PIECE_pNN.mid, musicxml/PIECE.musicxml, and audio/PIECE_pNN.wav for its sound; "
    "github.com/CPJKU/vienna4x22)"
)
FOLDERS = ("match", "midi", "musicxml", "score", "scores", "xml", ".")
PIECE = re.compile(r"(.+)_p\d+")  # p23-average, which the set's first edition has too, is no pianist


def list_vienna(root: Path, font: str = "embedded", score_font: str = "embedded", split: Drawn = "piece") -> Listing:
    """Every performance: its recording where it is there, else its MIDI in a SoundFont; and the score from MusicXML.

    Raises DataError where the folder holds no match file.
    """
    matches, performances, scores = (_files(root, *endings) for endings in ((".match",), (".mid",), (".musicxml", ".xml")))
    if not matches:
        raise DataError(f"{root} holds no match file: expected {LAYOUT}.")
    alone = [path for name, path in performances.items() if PIECE.fullmatch(name) and name not in matches]
    pairs, flaws = [], [f"{path} has no match file {path.stem}.match: it is left out." for path in alone]
    for name, match in matches.items():
        found = PIECE.fullmatch(name)
        if not found:
            continue
        midi, score, sound = performances.get(name), scores.get(found[1]), _sound(root, name)
        if score is None:
            flaws.append(f"{match} has no score {found[1]}.musicxml: it is left out.")
        elif midi is None and sound is None:
            flaws.append(f"{match} has neither a recording {name}.wav nor a performance {name}.mid: it is left out.")
        else:
            performance = Sound(sound) if sound else Sound(midi, font)
            truth = partial(matched_times, match, score)
            pairs.append(Pair(name, found[1], "train", performance, Sound(score, score_font), truth, midi))
    return Listing(with_splits(pairs, split), flaws)


def _files(root: Path, *endings: str) -> dict[str, Path]:
    """Files by their names without the ending."""
    found = (path for name in FOLDERS for ending in endings for path in sorted((root / name).glob(f"[!.]*{ending}")))
    return {path.stem: path for path in found}


def _sound(root: Path, name: str) -> Path | None:
    places = (root / folder / f"{name}.wav" for folder in ("audio", "wav", "."))
    return next((found for place in places if (found := audio_beside(place))), None)
