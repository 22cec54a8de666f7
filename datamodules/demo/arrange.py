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
    """Instrument: programs of the SoundFont, range, level in dB at velocity 90 and volume 100."""

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
    """Target level of a clip in dB, velocity, and crescendo (or, if negative, diminuendo) over the clip in dB."""

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
    """Part of one player: key of INSTRUMENTS, program, role (melody, chords, voice: a second voice, all)."""

    instrument: str
    program: int
    role: str


class ClipPlan(NamedTuple):
    """Parameters of a clip, which with the piece determine its tags."""

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
    start: float  # position in the piece, 0 to 1
    seed: int  # of random variations


class Clip(NamedTuple):
    """MIDI file of a clip, and its mean pitch without drums, weighted by length."""

    midi: bytes
    pitch: float


def arrange(piece: DemoPiece, plan: ClipPlan) -> Clip:
    """Arrange a piece whose time signature is in accompany.BEATS."""
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
    """Excerpt of SECONDS; after a repetition of the piece it has melody and chords, but no bars."""
    quarter = len(piece.parts[0]) / piece.length / plan.rate  # s
    excerpt = cutting.cut(piece, quarter, plan.start, plan.transpose, plan.centre, SECONDS)
    # Without bars there is no accompaniment: kept, since the published scores were measured on this set.
    end = (1 - plan.start) * int(piece.length / piece.bar + 1e-6) * piece.bar * quarter
    bars = [bar for bar in excerpt.grid.bars if bar < end - 1e-6]
    return excerpt._replace(grid=excerpt.grid._replace(bars=bars))


def played(line: Line, plan: ClipPlan, excerpt: ScoreExcerpt) -> list[Tone]:
    """Notes of one player, transposed by octaves into the range of the instrument."""
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


def entries(channels: list[int], kind: str, random: np.random.Generator) -> dict[int, tuple[float, float]]:
    """Start and end (s) of each player: the whole clip, or entering or leaving one by one in random order."""
    gap = 0.9 * SECONDS / len(channels)
    times = {channel: index * gap for index, channel in enumerate(random.permutation(channels).tolist())}
    if kind == "building":
        return {channel: (time, SECONDS) for channel, time in times.items()}
    if kind == "thinning":
        return {channel: (0.0, SECONDS - time) for channel, time in times.items()}
    return dict.fromkeys(channels, (0.0, SECONDS))


def mixing(dynamics: Dynamics, levels: dict[int, float]) -> list[Control]:
    """Volumes for equal levels of the players and the target level of the clip, and its crescendo."""
    # The SoundFont maps velocity, volume and expression to 40 log10 of the ratio in dB.
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
