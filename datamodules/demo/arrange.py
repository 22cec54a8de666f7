"""Arrangement of a clip: piece and plan -> MIDI file of 10 s."""

from typing import NamedTuple

import numpy as np

from datamodules.audio.midi_file import DRUMS
from datamodules.audio.render import EXPRESSION, VOLUME, Control, RenderedNote, midi_file
from datamodules.demo import accompany, cutting
from datamodules.demo.accompany import Tone
from datamodules.demo.cutting import ScoreExcerpt, bass_line, within
from datamodules.demo.music import DemoPiece

SECONDS = 10.0


class Instrument(NamedTuple):
    """One sound: the SoundFont's programs that pass for it, its range, its level in dB at velocity 90, volume 100."""

    programs: tuple[int, ...]
    low: int
    high: int
    level: float
    chords: bool = False  # can play several notes at once


INSTRUMENTS = {
    "piano": Instrument((0, 1), 36, 96, -30, True),
    "harpsichord": Instrument((6,), 41, 86, -30, True),
    "organ": Instrument((19, 20), 40, 88, -28, True),
    "guitar": Instrument((24, 25), 40, 79, -27, True),
    "harp": Instrument((46,), 40, 91, -21, True),
    "violin": Instrument((40,), 55, 93, -24),
    "cello": Instrument((42,), 36, 69, -23),
    "strings": Instrument((48,), 40, 88, -27, True),
    "flute": Instrument((73,), 62, 94, -24),
    "trumpet": Instrument((56,), 55, 82, -27),
    "choir": Instrument((52, 53), 45, 79, -26, True),
    "synth": Instrument((80, 81), 40, 91, -23, True),
}
BASS_LEVELS = {32: -27, 33: -26, 38: -25}
DRUM_LEVEL = -28


class Dynamics(NamedTuple):
    """Level a clip aims at in dB, velocity, and how much it swells (or fades) from start to end in dB."""

    level: float
    velocity: int
    swell: float = 0.0


DYNAMICS = {
    "quiet": Dynamics(-41, 44),
    "medium": Dynamics(-31, 76),
    "loud": Dynamics(-22, 114),
    "crescendo": Dynamics(-23, 100, 24),
    "diminuendo": Dynamics(-23, 100, -24),
}


class Line(NamedTuple):
    """One player: a key of INSTRUMENTS, its program, and melody, chords, voice (a second one) or all at once."""

    instrument: str
    program: int
    role: str


class ClipPlan(NamedTuple):
    """All that is decided about a clip before a note is written; its tags follow from it and from the piece."""

    style: str  # classical, folk, techno, other
    lines: tuple[Line, ...]
    bass: int | None  # program
    kit: int | None  # program on the drum channel
    drumming: str  # key of accompany.DRUMMING
    comping: str  # key of accompany.COMPING
    tempo: str  # slow, medium, fast
    rate: float  # notes of the melody a second
    transpose: int  # semitones
    centre: int  # pitch around which the melody lies
    dynamics: str  # key of DYNAMICS
    entries: str  # together, building, thinning
    gate: float  # sounding share of each note
    start: float  # where in the piece, 0 to 1
    seed: int  # for what a player varies


class Clip(NamedTuple):
    """A finished clip: the MIDI file and the mean pitch of all but the drums, weighted by length."""

    midi: bytes
    pitch: float


def arrange(piece: DemoPiece, plan: ClipPlan) -> Clip:
    """Write the clip out. The piece's metre must be one of accompany.BEATS."""
    random = np.random.default_rng(plan.seed)
    excerpt = cut(piece, plan)
    players, programs, levels = {}, {}, {}
    for channel, line in enumerate(plan.lines):
        players[channel] = played(line, plan, excerpt)
        programs[channel], levels[channel] = line.program, INSTRUMENTS[line.instrument].level
    if plan.bass is not None:
        channel = len(players)
        players[channel] = bass_line(excerpt, int(random.integers(6)))
        programs[channel], levels[channel] = plan.bass, BASS_LEVELS[plan.bass]
    if plan.kit is not None:
        players[DRUMS] = accompany.drums(excerpt.grid, plan.drumming)
        programs[DRUMS], levels[DRUMS] = plan.kit, DRUM_LEVEL
    notes = []
    for channel, (first, last) in entries(list(players), plan.entries, random).items():
        jitter = random.integers(-6, 7, len(players[channel]))
        for tone, vary in zip(players[channel], jitter.tolist(), strict=True):
            if max(0.0, first) <= tone.start < min(last, SECONDS - 0.03):
                end = min(SECONDS, tone.start + max(0.05, tone.length * plan.gate))
                velocity = round(DYNAMICS[plan.dynamics].velocity * tone.stress) + vary
                notes.append(RenderedNote(tone.start, end, channel, tone.pitch, min(127, velocity)))
    pitched = np.array([(note.end - note.start, note.pitch) for note in notes if note.channel != DRUMS])
    mean = float((pitched[:, 0] * pitched[:, 1]).sum() / pitched[:, 0].sum()) if len(pitched) else 0.0
    return Clip(midi_file(notes, programs, SECONDS, mixing(DYNAMICS[plan.dynamics], levels)), mean)


def cut(piece: DemoPiece, plan: ClipPlan) -> ScoreExcerpt:
    """The plan's 10 s of the piece; where it begins anew its melody and chords go on, but no new bars."""
    quarter = len(piece.parts[0]) / piece.length / plan.rate  # s
    excerpt = cutting.cut(piece, quarter, plan.start, plan.transpose, plan.centre, SECONDS)
    # Without a bar no accompaniment follows: an accident, kept since the published scores rest on this sound.
    end = (1 - plan.start) * int(piece.length / piece.bar + 1e-6) * piece.bar * quarter
    bars = [bar for bar in excerpt.grid.bars if bar < end - 1e-6]
    return excerpt._replace(grid=excerpt.grid._replace(bars=bars))


def played(line: Line, plan: ClipPlan, excerpt: ScoreExcerpt) -> list[Tone]:
    """What one player plays of the piece, in the octave where the instrument can."""
    instrument, written = INSTRUMENTS[line.instrument], len(excerpt.parts) > 1
    tones = []
    if line.role in ("melody", "all"):
        tones += within(excerpt.parts[0], instrument.low, instrument.high)
    if written and line.role != "melody":
        inner = {"voice": excerpt.parts[2:3], "chords": excerpt.parts[1:3], "all": excerpt.parts[1:]}[line.role]
        tones += [tone for part in inner for tone in within(part, instrument.low, instrument.high)]
    elif line.role == "voice":
        low = int(np.clip(plan.centre - 12, instrument.low, instrument.high - 12))
        tones += accompany.second_voice(excerpt.grid, low)
    elif line.role in ("chords", "all"):
        low = int(np.clip(plan.centre - 19, instrument.low, min(60, instrument.high - 24)))
        tones += accompany.comping(excerpt.grid, plan.comping, low, not instrument.chords)
    return sorted(set(tones))


def entries(channels: list[int], how: str, random: np.random.Generator) -> dict[int, tuple[float, float]]:
    """From when to when (s) each player plays: all along, or entering or leaving one by one in random order."""
    gap = 0.9 * SECONDS / len(channels)
    places = {channel: place * gap for place, channel in enumerate(random.permutation(channels).tolist())}
    if how == "building":
        return {channel: (place, SECONDS) for channel, place in places.items()}
    if how == "thinning":
        return {channel: (0.0, SECONDS - place) for channel, place in places.items()}
    return dict.fromkeys(channels, (0.0, SECONDS))


def mixing(dynamics: Dynamics, levels: dict[int, float]) -> list[Control]:
    """Volumes that bring all players to one level and their sum to the plan's, and the swell over the clip."""
    # The SoundFont answers velocity, volume and expression alike: 40 log10 of the ratio.
    expected = dynamics.level - 10 * np.log10(len(levels)) - 40 * np.log10(dynamics.velocity / 90)
    controls = []
    for channel, level in levels.items():
        volume = 100 * 10 ** ((expected - level) / 40)
        controls.append(Control(0.0, channel, VOLUME, min(127, max(1, round(volume)))))
        for step in range(51 if dynamics.swell else 1):
            gain = dynamics.swell * step / 50 - max(dynamics.swell, 0)
            value = min(127, max(1, round(127 * 10 ** (gain / 40))))
            controls.append(Control(step * SECONDS / 50, channel, EXPRESSION, value))
    return controls
