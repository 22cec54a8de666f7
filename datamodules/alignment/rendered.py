"""Vienna 4x22 rendered: performances in SoundFonts and rooms that differ between training and test."""

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.alignment import asap
from datamodules.alignment.data import seed_of
from datamodules.alignment.listing import Listing, Pair, Sound
from datamodules.alignment.sets import ScoredData
from datamodules.alignment.sounds import EMBEDDED
from datamodules.common.unread import refuse_unread

log = logging.getLogger(__name__)

PIANOS = (0, 1)
"""General MIDI programs that a training performance is rendered in: the grand and the bright piano."""
DETUNED_CENTS = 30.0


class Vienna(ScoredData):
    """Real performances of three or four excerpts: one is tested, of the others the last pianists validate, the rest train.

    Args:
        test_piece: the piece that is tested
        validating: so many pianists of the other pieces, those with the highest numbers
        training: so many pianists train, those with the lowest numbers; null: all others
        voices: how many times each training performance is rendered, each time by another SoundFont or program
        fonts: SoundFont files that training performances are rendered with; those that are missing are left out
        test_fonts: SoundFont files of the test performances, the first that is there; else the bright piano of the embedded one
        test_worse: degradation of the test performances, which are detuned by up to 30 cents too; null: none, in tune
    """

    name, layout = "vienna4x22", asap.VIENNA_LAYOUT

    def __init__(
        self,
        root: str | None = None,
        test_piece: str = "Chopin_op10_no3",
        validating: int = 4,
        training: int | None = None,
        voices: int = 2,
        fonts: list[str] | None = None,
        test_fonts: list[str] | None = None,
        test_worse: str | None = "shellac",
        **kwargs: Any,
    ) -> None:
        super().__init__(root, **kwargs)
        refuse_unread(type(self), {"split": self.split}, "since --data.test_piece and --data.validating say its splits")
        self.test_piece, self.validating, self.test_worse = test_piece, validating, test_worse
        self.training, self.voices = training, voices
        self.fonts = _present([EMBEDDED, *(fonts or [])])
        self.test_font = next(iter(_present(test_fonts or [])), None)

    @property
    def subset(self) -> str:
        """What a number has to name beside it."""
        font = Path(self.test_font).stem if self.test_font else "embedded bright piano"
        return f"{self.test_piece}, {font}, {self.test_worse or 'undamaged'}"

    def read_pairs(self, root: Path) -> Listing:
        """Every performance; where its recording is there, that is heard instead."""
        result = asap.list_vienna(root, EMBEDDED, self.score_font)
        return result._replace(pairs=[self._dealt(pair) for pair in result.pairs])

    def _dealt(self, pair: Pair) -> Pair:
        if pair.piece == self.test_piece:
            return pair._replace(split="test", performance=self._tested(pair))
        split = "validation" if _pianist(pair) > 22 - self.validating else "train"
        return pair._replace(split=split, performance=self._voiced(pair.performance, seed_of(pair.name)))

    def _tested(self, pair: Pair) -> Sound:
        sound = pair.performance
        if sound.font is None:
            return sound
        if self.test_font is None:
            sound = sound._replace(program=1)
        seed = seed_of(pair.name)
        cents = float(np.random.default_rng(seed).uniform(-DETUNED_CENTS, DETUNED_CENTS)) if self.test_worse else 0.0
        return sound._replace(font=self.test_font or EMBEDDED, worse=self.test_worse, seed=seed, cents=round(cents, 2))

    def _voiced(self, sound: Sound, which: int) -> Sound:
        """A training performance in one of the voices."""
        if sound.font is None:
            return sound
        voices = [(font, program) for font in self.fonts for program in PIANOS]
        font, program = voices[which % len(voices)]
        return sound._replace(font=font, program=program)

    def training_pairs(self) -> list[Pair]:
        """Each performance in its voices beside its own MIDI."""
        plain = [pair for pair in super().training_pairs() if self.training is None or _pianist(pair) <= self.training]
        others = [
            pair._replace(name=f"{pair.name} {voice}", performance=self._voiced(pair.performance, seed_of(pair.name) + voice))
            for pair in plain
            for voice in range(1, self.voices)
            if pair.performance.font
        ]
        return plain + others


def _pianist(pair: Pair) -> int:
    return int(re.search(r"(\d+)$", pair.name)[1])


def _present(fonts: list[str]) -> list[str]:
    """SoundFonts that are there; the others are said."""
    results = [font for font in fonts if font == EMBEDDED or Path(font).expanduser().is_file()]
    for font in fonts:
        if font not in results:
            log.warning("The SoundFont %s is not there: performances are rendered without it.", font)
    return results
