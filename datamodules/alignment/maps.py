"""MAPS, its pieces of music (MUS): piano sound with the MIDI that drove the piano, 30 pieces on each of 9 pianos.

Seven pianos are software, two a Disklavier heard near and far. Pieces come back on other pianos: drawn by piece, they stay
together, drawn by recording, as the paper does, they do not.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from datamodules.alignment.listing import SOUNDS, Drawn, Listing, by_stem, own_midi_pair, with_splits
from datamodules.alignment.pairs import Sound
from datamodules.alignment.score import MIDI
from datamodules.errors import DataError

LAYOUT = (
    "MAPS (.../MUS/MAPS_MUS-PIECE_PIANO.wav with .mid and .txt beside it; a zip for each piano, open at "
    "amubox.univ-amu.fr/index.php/s/iNG0xc5Td1Nv4rR)"
)
NAME = re.compile(r"MAPS_MUS-(?P<piece>.+)_(?P<piano>[^_]+)")


def list_maps(root: Path, score_font: str = "embedded", split: Drawn = "piece", pianos: Sequence[str] | None = None) -> Listing:
    """Every recording of a piece of music, its MIDI as the score.

    pianos: those to take, such as ENSTDkCl; default: all. Raises DataError where there is no such recording.
    """
    sounds, midis = by_stem(root, "MAPS_MUS-*", SOUNDS), by_stem(root, "MAPS_MUS-*", MIDI)
    named = {name: found for name in sorted({*sounds, *midis}) if (found := NAME.fullmatch(name))}
    named = {name: found for name, found in named.items() if pianos is None or found["piano"] in pianos}
    if not named:
        chosen = f" of the pianos {', '.join(pianos)}" if pianos else ""
        raise DataError(f"{root} holds no recording MAPS_MUS-PIECE_PIANO.wav{chosen}: expected {LAYOUT}.")
    pairs, flaws = [], []
    for name, found in named.items():
        if name not in midis:
            flaws.append(f"{sounds[name]} has no {name}.mid beside it: it is left out.")
        elif name not in sounds:
            flaws.append(f"{midis[name]} has no {name}.wav beside it: it is left out.")
        else:
            pairs.append(own_midi_pair(name, found["piece"], Sound(sounds[name]), midis[name], score_font))
    return Listing(with_splits(pairs, split), flaws)
