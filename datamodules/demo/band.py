"""Band arrangement of a tune: balanced random instruments -> MIDI files of drums, bass, other and vocals."""

from typing import NamedTuple

import numpy as np

from datamodules.audio.midi_file import DRUMS
from datamodules.audio.render import EXPRESSION, KITS, VOLUME, Control, RenderedNote, midi_file
from datamodules.demo import accompany, cutting, plan
from datamodules.demo.accompany import Tone
from datamodules.demo.arrange import INSTRUMENTS
from datamodules.demo.music import DemoPiece
from datamodules.demo.plan import Deck

STEMS = ("drums", "bass", "other", "vocals")
SECONDS = 20.0
MODULATION, PAN = 1, 10
VELOCITY = 90


class Comper(NamedTuple):
    """Chord instrument: programs of the SoundFont, level in dB at velocity 90 and volume 100."""

    programs: tuple[int, ...]
    level: float


# Without choirs, which are the vocals.
COMPERS = {
    **{name: Comper(INSTRUMENTS[name].programs, INSTRUMENTS[name].level) for name in ("piano", "organ", "guitar", "strings")},
    "harpsichord": Comper((6, 7), -29),
    "electric piano": Comper((4, 5), -26),
    "mallets": Comper((11, 12), -26),
    "accordion": Comper((21, 23), -28),
    "electric guitar": Comper((26, 27), -29),
    "harp": Comper((46,), -22),
    "brass": Comper((61, 62), -25),
    "pad": Comper((50, 89, 90), -29),
}
STRUCK = ("piano", "guitar", "harpsichord", "electric piano", "mallets", "electric guitar", "harp")
BASSES = (32, 33, 34, 35, 36, 38, 39)
SINGERS = (52, 53, 54, 85)
# Beats a minute.
TEMPI = {"chorale": (66, 96), "waltz": (108, 160), "jig": (76, 112), "reel": (84, 132)}
COMPER_LOW = (45, 52)  # range of the lowest root
SHORTEST = 0.28  # s: shortest distance of sung notes


class Chair(NamedTuple):
    """Chord player: program, level in dB at velocity 90, key of accompany.COMPING, lowest root, pan (64: centre)."""

    program: int
    level: float
    style: str
    low: int
    pan: int


class BandSong(NamedTuple):
    """Parameters of a band arrangement."""

    piece: DemoPiece
    tempo: float  # beats a minute
    start: float  # position of a bar in the piece, 0 to 1
    transpose: int  # semitones
    centre: int  # pitch around which the melody lies
    kit: int
    drumming: str  # key of accompany.DRUMMING
    bass: int  # program
    figure: int  # of the bass
    chairs: tuple[Chair, ...]
    singer: int  # program
    pan: int  # of the singer
    vibrato: int  # value of the modulation wheel
    gate: float  # sounding share of a chord player's notes
    levels: tuple[float, ...]  # of STEMS in the mix, dB
    seed: int  # of random variations


class Casting:
    """Random band arrangements; one instance per split, so that each split has all instruments."""

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random
        self.kit, self.bass, self.singer = Deck(random, *KITS.values()), Deck(random, *BASSES), Deck(random, *SINGERS)
        self.drumming = Deck(random, "backbeat", "backbeat", "light", "four on the floor")
        # Struck and plucked instruments twice: sustained ones are harder to separate from a voice.
        self.comper, self.comping = Deck(random, *COMPERS, *STRUCK), Deck(random, *accompany.COMPING)
        self.players = Deck(random, 1, 2, 2)

    def song(self, piece: DemoPiece) -> BandSong:
        """Draw a band and a mix for a piece."""
        random = self.random
        kit, bars = self.kit.draw(), int(piece.length / piece.bar + 1e-6)
        return BandSong(
            piece=piece,
            tempo=float(random.uniform(*TEMPI[plan.kind_of(piece)])),
            start=int(random.random() * bars) / bars,
            transpose=int(random.integers(-5, 7)),
            centre=int(random.integers(64, 73)),
            kit=kit,
            drumming="four on the floor" if kit in plan.ELECTRONIC_KITS else self.drumming.draw(),
            bass=self.bass.draw(),
            figure=int(random.integers(6)),
            chairs=self._chairs(),
            singer=self.singer.draw(),
            pan=int(random.integers(58, 71)),
            vibrato=int(random.integers(30, 90)),
            gate=float(random.choice((0.95, 0.95, 0.6))),
            levels=tuple(float(level) for level in random.uniform((-2, -1, -1, -3), (2, 2, 3, 1))),
            seed=int(random.integers(2**31)),
        )

    def _chairs(self) -> tuple[Chair, ...]:
        """One or two different chord players on opposite sides."""
        chairs, names, side = [], [], int(self.random.choice((-1, 1)))
        for _ in range(self.players.draw()):
            names.append(self.comper.draw(lambda name: name not in names))
            comper = COMPERS[names[-1]]
            program, low = int(self.random.choice(comper.programs)), int(self.random.integers(COMPER_LOW[0], COMPER_LOW[1] + 1))
            pan = 64 + side * int(self.random.integers(10, 50))
            chairs.append(Chair(program, comper.level, self.comping.draw(), low + 7 * len(chairs), pan))
            side = -side
        return tuple(chairs)


def scores(song: BandSong) -> dict[str, bytes]:
    """MIDI files of STEMS, each SECONDS long."""
    beat = song.piece.bar / accompany.BEATS[song.piece.beats, song.piece.beat_type]  # in quarter notes
    excerpt = cutting.cut(song.piece, 60 / song.tempo / beat, song.start, song.transpose, song.centre, SECONDS)
    random = np.random.default_rng(song.seed)
    melody = sung(cutting.within(excerpt.parts[0], 55, 81))
    comping = [accompany.comping(excerpt.grid, chair.style, chair.low, False) for chair in song.chairs]
    other = _mixed(song.chairs)
    return {
        "drums": _file({DRUMS: accompany.drums(excerpt.grid, song.drumming)}, {DRUMS: song.kit}, [], 1.0, random),
        "bass": _file({0: cutting.bass_line(excerpt, song.figure)}, {0: song.bass}, [], 0.95, random),
        "other": _file(dict(enumerate(comping)), {n: c.program for n, c in enumerate(song.chairs)}, other, song.gate, random),
        "vocals": _file({0: melody}, {0: song.singer}, _expression(song, melody), 0.97, random),
    }


def sung(part: list[Tone]) -> list[Tone]:
    """Vocal version of a melody: notes sooner than SHORTEST after the previous one extend it instead."""
    kept: list[Tone] = []
    for tone in sorted(part):
        if not kept or tone.start - kept[-1].start >= SHORTEST - 1e-6:
            kept.append(tone)
        elif tone.start + tone.length > kept[-1].start + kept[-1].length:
            kept[-1] = kept[-1]._replace(length=tone.start + tone.length - kept[-1].start)
    return kept


def _mixed(chairs: tuple[Chair, ...]) -> list[Control]:
    """Pan and volume of the chord players, at equal loudness."""
    loudest = max(-chair.level for chair in chairs)
    controls = []
    for channel, chair in enumerate(chairs):
        # The SoundFont maps volume to 40 log10 of the ratio in dB.
        volume = round(110 * 10 ** ((-chair.level - loudest) / 40))
        controls += [Control(0.0, channel, VOLUME, volume), Control(0.0, channel, PAN, chair.pan)]
    return controls


def _expression(song: BandSong, melody: list[Tone]) -> list[Control]:
    """Crescendo and diminuendo on each sung note, with a delayed vibrato."""
    controls = [Control(0.0, 0, PAN, song.pan)]
    for tone in melody:
        # Steps of 25 ms are small enough to avoid clicks.
        steps = max(2, round(tone.length / 0.025))
        for step in range(steps + 1):
            value = round(127 - 24 * abs(2 * step / steps - 1))
            controls.append(Control(max(0.0, tone.start + step / steps * tone.length), 0, EXPRESSION, value))
        controls.append(Control(max(0.0, tone.start), 0, MODULATION, song.vibrato // 4))
        controls.append(Control(max(0.0, tone.start + 0.25), 0, MODULATION, song.vibrato))
    return [control for control in controls if control.time < SECONDS]


def _file(players: dict[int, list[Tone]], programs: dict[int, int], controls, gate: float, random) -> bytes:
    """Lines by channel -> MIDI file with random variations of velocity."""
    notes = []
    for channel, line in players.items():
        for tone, vary in zip(line, random.integers(-8, 9, len(line)).tolist(), strict=True):
            end = min(SECONDS, tone.start + max(0.05, tone.length * gate))
            if end - max(0.0, tone.start) > 0.03:
                velocity = min(127, round(VELOCITY * tone.stress) + vary)
                notes.append(RenderedNote(max(0.0, tone.start), end, channel, tone.pitch, velocity))
    return midi_file(notes, programs, SECONDS, controls)
