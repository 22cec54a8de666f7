"""Piano sets with sound and MIDI (MAESTRO, MAPS, SMD): folder -> pairs."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from datamodules.alignment.listing import SOUNDS, Drawn, Listing, Sound, audio_beside, by_stem, own_midi_pair, with_splits
from datamodules.alignment.score import MIDI
from datamodules.common.delimited import records
from datamodules.common.errors import DataError
from datamodules.common.splits import SPLITS

MAESTRO_LAYOUT = (
    "MAESTRO (maestro-vX.Y.Z.csv or .json, and a folder per year with .midi and .wav files; "
    "magenta.tensorflow.org/datasets/maestro)"
)
COLUMNS = ("canonical_composer", "canonical_title", "split", "midi_filename", "audio_filename")


def list_maestro(root: Path, font: str = "embedded", score_font: str = "embedded", split: Drawn = "piece") -> Listing:
    """Performances with their MIDI as the score, in the splits of MAESTRO unless drawn by recording.

    In the edition without audio, performances are rendered with `font`. Raises DataError if the table is missing or invalid.
    """
    table = next((path for ending in ("csv", "json") for path in sorted(root.glob(f"maestro-*.{ending}"))), None)
    if table is None:
        raise DataError(f"{root} holds no table maestro-v3.0.0.csv: expected {MAESTRO_LAYOUT}.")
    pairs, flaws = [], []
    for row in _rows(table):
        midi, sound = root / row["midi_filename"], audio_beside(root / row["audio_filename"])
        name, piece = Path(row["midi_filename"]).stem, f"{row['canonical_composer']}: {row['canonical_title']}"
        if not midi.is_file():
            flaws.append(f"{midi} is missing (listed in {table.name}): it is left out.")
        elif row["split"] not in SPLITS:
            flaws.append(f"{table} has the unknown split '{row['split']}' for {name}: it is left out.")
        else:
            performance = Sound(sound) if sound else Sound(midi, font)
            pairs.append(own_midi_pair(name, piece, performance, midi, score_font)._replace(split=row["split"]))
    silent = [pair for pair in pairs if pair.performance.font]
    if len(silent) < len(pairs):
        flaws += [f"{pair.midi} has no sound file, others have: it is left out." for pair in silent]
        pairs = [pair for pair in pairs if not pair.performance.font]
    return Listing(with_splits(pairs, split) if split == "recording" else pairs, flaws)


def _rows(table: Path) -> list[dict[str, str]]:
    """Table rows; JSON is a list of rows or a dictionary of columns."""
    try:
        table_rows = json.loads(table.read_text(encoding="utf-8")) if table.suffix == ".json" else records(table)
        if isinstance(table_rows, dict):
            table_rows = [{column: table_rows[column][key] for column in COLUMNS} for key in table_rows[COLUMNS[0]]]
        return [{column: str(row[column]) for column in COLUMNS} for row in table_rows]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        text = f"{type(error).__name__}: {error}"
        raise DataError(f"{table} is damaged ({text}): expected the columns {', '.join(COLUMNS)}.") from error


# MAPS, subset MUS: 30 pieces on each of 9 pianos (7 software pianos, a Disklavier recorded close and ambient) with MIDI.
# Pianos share pieces, so that a split by recording, as in the paper, has pieces in several splits.

MAPS_LAYOUT = (
    "MAPS (.../MUS/MAPS_MUS-PIECE_PIANO.wav with .mid and .txt beside it; a zip for each piano, open at "
    "amubox.univ-amu.fr/index.php/s/iNG0xc5Td1Nv4rR)"
)
NAME = re.compile(r"MAPS_MUS-(?P<piece>.+)_(?P<piano>[^_]+)")


def list_maps(root: Path, score_font: str = "embedded", split: Drawn = "piece", pianos: Sequence[str] | None = None) -> Listing:
    """Recordings with their MIDI as the score.

    pianos: names such as ENSTDkCl; default: all. Raises DataError if there is no recording of them.
    """
    sounds, midis = by_stem(root, "MAPS_MUS-*", SOUNDS), by_stem(root, "MAPS_MUS-*", MIDI)
    named = {name: match for name in sorted({*sounds, *midis}) if (match := NAME.fullmatch(name))}
    named = {name: item for name, item in named.items() if pianos is None or item["piano"] in pianos}
    if not named:
        chosen = f" of the pianos {', '.join(pianos)}" if pianos else ""
        raise DataError(f"{root} holds no recording MAPS_MUS-PIECE_PIANO.wav{chosen}: expected {MAPS_LAYOUT}.")
    pairs, flaws = [], []
    for name, match in named.items():
        if name not in midis:
            flaws.append(f"{sounds[name]} has no {name}.mid beside it: it is left out.")
        elif name not in sounds:
            flaws.append(f"{midis[name]} has no {name}.wav beside it: it is left out.")
        else:
            pairs.append(own_midi_pair(name, match["piece"], Sound(sounds[name]), midis[name], score_font))
    return Listing(with_splits(pairs, split), flaws)


# SMD (Saarland Music Data): 50 performances on a Disklavier

SMD_LAYOUT = (
    "SMD (COMPOSER_WORK_PERFORMER_VERSION-SMD.wav or .mp3 and .mid of the same name, in one folder or in several; "
    "SMD-piano_v2.zip, open at zenodo.org/records/13753319)"
)


def list_smd(root: Path, score_font: str = "embedded", split: Drawn = "piece") -> Listing:
    """Performances with their MIDI as the score; a piece is a movement. Raises DataError if there is none."""
    sounds, midis = by_stem(root, "*-SMD", SOUNDS), by_stem(root, "*-SMD", MIDI)
    if not sounds and not midis:
        raise DataError(f"{root} holds no performance COMPOSER_WORK_PERFORMER_VERSION-SMD: expected {SMD_LAYOUT}.")
    pairs = [
        own_midi_pair(name, name.rsplit("_", 2)[0], Sound(path), midis[name], score_font)
        for name, path in sorted(sounds.items())
        if name in midis
    ]
    flaws = [f"{sounds[name]} has no MIDI file {name}.mid: it is left out." for name in sorted({*sounds} - {*midis})]
    flaws += [f"{midis[name]} has no sound file {name}.wav or .mp3: it is left out." for name in sorted({*midis} - {*sounds})]
    return Listing(with_splits(pairs, split), flaws)
