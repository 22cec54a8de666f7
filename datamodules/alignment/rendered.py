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
"""General MIDI programs of training performances: grand and bright piano."""
DETUNED_CENTS = 30.0


class Vienna(ScoredData):
    """Vienna 4x22 (real performances of four excerpts): one excerpt for the test, the others split by pianist.

    Args:
        test_piece: excerpt of the test split
        validating: number of validation pianists, those with the highest numbers
        training: number of training pianists, those with the lowest numbers; null: all others
        voices: renderings of each training performance, each with another SoundFont or program
        fonts: SoundFont files of training performances; missing ones are left out
        test_fonts: SoundFont files of test performances, of which the first existing one is used; else the embedded bright piano
        test_worse: degradation of test performances, with detuning by up to 30 cents; null: neither
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
        refuse_unread(type(self), {"split": self.split}, "since --data.test_piece and --data.validating define the splits")
        self.test_piece, self.validating, self.test_worse = test_piece, validating, test_worse
        self.training, self.voices = training, voices
        self.fonts = _present([EMBEDDED, *(fonts or [])])
        self.test_font = next(iter(_present(test_fonts or [])), None)

    @property
    def subset(self) -> str:
        font = Path(self.test_font).stem if self.test_font else "embedded bright piano"
        return f"{self.test_piece}, {font}, {self.test_worse or 'undamaged'}"

    def read_pairs(self, root: Path) -> Listing:
        result = asap.list_vienna(root, EMBEDDED, self.score_font)
        return result._replace(pairs=[self._with_split(pair) for pair in result.pairs])

    def _with_split(self, pair: Pair) -> Pair:
        if pair.piece == self.test_piece:
            return pair._replace(split="test", performance=self._test_sound(pair))
        split = "validation" if _pianist(pair) > 22 - self.validating else "train"
        return pair._replace(split=split, performance=self._voiced(pair.performance, seed_of(pair.name)))

    def _test_sound(self, pair: Pair) -> Sound:
        sound = pair.performance
        if sound.font is None:
            return sound
        if self.test_font is None:
            sound = sound._replace(program=1)
        seed = seed_of(pair.name)
        cents = float(np.random.default_rng(seed).uniform(-DETUNED_CENTS, DETUNED_CENTS)) if self.test_worse else 0.0
        return sound._replace(font=self.test_font or EMBEDDED, worse=self.test_worse, seed=seed, cents=round(cents, 2))

    def _voiced(self, sound: Sound, voice: int) -> Sound:
        """Sound of a training performance in one of the voices."""
        if sound.font is None:
            return sound
        voices = [(font, program) for font in self.fonts for program in PIANOS]
        font, program = voices[voice % len(voices)]
        return sound._replace(font=font, program=program)

    def training_pairs(self) -> list[Pair]:
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
    results = [font for font in fonts if font == EMBEDDED or Path(font).expanduser().is_file()]
    for font in fonts:
        if font not in results:
            log.warning("SoundFont %s not found: performances are rendered without it.", font)
    return results
