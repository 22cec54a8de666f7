"""Rule-made twelve-bar blues, after the training set of Eck and Schmidhuber (2002)."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodules.generation.corpora.corpus import Corpus, Splits
from datamodules.generation.grid import VELOCITY_WRITTEN
from datamodules.generation.piece import QUALITIES, Piece, in_order
from datamodules.generation.splitting import divide

TICKS = 2  # of a quarter note: the paper's step is an eighth
BAR = 8
BARS = "CCCCFFCCGFCC"
ROOTS = {"C": 0, "F": 5, "G": 7}
DOMINANT = (0, 4, 7, 10)
LOW = 48
"""C3: chords sound in the octave from here, inverted to fit, melodies in the 13 pitches from the octave above."""
SCALE = (60, 63, 65, 66, 67, 70, 72)
"""The blues scale on C: minor pentatonic with its diminished fifth."""
STEPS, CHANCES = (-2, -1, 0, 1, 2), (0.15, 0.3, 0.1, 0.3, 0.15)
TEMPO = 500_000


class Blues(Corpus):
    """A chorus of twelve bars in C, 96 steps of an eighth: a melody of quarter notes over a dominant chord in every bar.

    As in the paper the form is always the same, and each bar's melody is one of two segments of that bar, which makes 4096
    melodies without rests. The authors' own segments were not published: ours are random walks on the blues scale that
    begin on a note of the chord. The order of the chords is the common one, also ours.

    Args:
        pieces: number of melodies, at most 4096
        seed: seed of the segments and of the selection
    """

    name = "blues"

    def __init__(self, pieces: int = 200, seed: int = 0) -> None:
        if not 1 <= pieces <= 2 ** len(BARS):
            raise ValueError(f"pieces must be between 1 and {2 ** len(BARS)}: {pieces}")
        self.pieces, self.seed = pieces, seed

    def folder(self) -> Path:
        """The folder of this file: the music is generated."""
        return Path(__file__).parent

    def read(self) -> Splits:
        """Make all pieces."""
        random = np.random.default_rng(self.seed)
        segments = np.stack([[_segment(root, random) for _ in range(2)] for root in BARS])
        numbers = np.sort(random.choice(2 ** len(BARS), self.pieces, replace=False))
        return divide([_piece(segments, int(number)) for number in numbers])


def _segment(root: str, random: np.random.Generator) -> list[int]:
    """Four pitches over a chord."""
    tones = [degree for degree, pitch in enumerate(SCALE) if (pitch - ROOTS[root]) % 12 in DOMINANT]
    degrees = [int(random.choice(tones))]
    while len(degrees) < 4:
        degree = abs(degrees[-1] + int(random.choice(STEPS, p=CHANCES)))
        degrees.append(min(degree, 2 * (len(SCALE) - 1) - degree))  # the walk is reflected at the ends of the scale
    return [SCALE[degree] for degree in degrees]


def _piece(segments: NDArray[np.int64], number: int) -> Piece:
    """Melody selected by the bits of a number, with chords; segments: (bars, 2, notes) pitches."""
    notes, chords = [], []
    for bar, root in enumerate(BARS):
        onset = bar * BAR
        chosen = segments[bar, number >> bar & 1]
        notes += [(onset + TICKS * beat, TICKS, pitch, VELOCITY_WRITTEN, 0) for beat, pitch in enumerate(chosen)]
        tones = sorted((LOW + (ROOTS[root] + tone) % 12 for tone in DOMINANT), reverse=True)
        notes += [(onset, BAR, pitch, VELOCITY_WRITTEN, voice) for voice, pitch in enumerate(tones, 1)]
        chords.append((onset, ROOTS[root], QUALITIES.index("dominant")))
    return Piece(
        notes=in_order(np.array(notes)),
        ticks=TICKS,
        length=len(BARS) * BAR,
        name=f"blues/{number:04}",
        kind="blues",
        tempi=np.array([[0, TEMPO]], np.int32),
        tonic=0,
        mode="major",
        chords=np.array(chords, np.int32),
    )
