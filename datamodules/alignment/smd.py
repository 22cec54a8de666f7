"""SMD, the Saarland Music Data: 50 performances on a Disklavier, sound and MIDI."""

from pathlib import Path

from datamodules.alignment.listing import SOUNDS, Drawn, Listing, by_stem, own_midi_pair, with_splits
from datamodules.alignment.pairs import Sound
from datamodules.alignment.score import MIDI
from datamodules.errors import DataError

LAYOUT = (
    "SMD (COMPOSER_WORK_PERFORMER_VERSION-SMD.wav or .mp3 and .mid of the same name, in one folder or in several; "
    "SMD-piano_v2.zip, open at zenodo.org/records/13753319)"
)


def list_smd(root: Path, score_font: str = "embedded", split: Drawn = "piece") -> Listing:
    """Every performance, its MIDI as the score; a piece is a movement. Raises DataError where there is none."""
    sounds, midis = by_stem(root, "*-SMD", SOUNDS), by_stem(root, "*-SMD", MIDI)
    if not sounds and not midis:
        raise DataError(f"{root} holds no performance COMPOSER_WORK_PERFORMER_VERSION-SMD: expected {LAYOUT}.")
    pairs = [
        own_midi_pair(name, name.rsplit("_", 2)[0], Sound(path), midis[name], score_font)
        for name, path in sorted(sounds.items())
        if name in midis
    ]
    flaws = [f"{sounds[name]} has no MIDI file {name}.mid: it is left out." for name in sorted({*sounds} - {*midis})]
    flaws += [f"{midis[name]} has no sound file {name}.wav or .mp3: it is left out." for name in sorted({*midis} - {*sounds})]
    return Listing(with_splits(pairs, split), flaws)
