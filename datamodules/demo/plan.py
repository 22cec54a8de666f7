"""Random plans of clips (players, tempo, key, dynamics) with balanced tags, and their tags."""

from collections.abc import Callable

import numpy as np

from datamodules.audio.render import KITS
from datamodules.demo.accompany import BEATS, COMPING
from datamodules.demo.arrange import DYNAMICS, INSTRUMENTS, ClipPlan, Line
from datamodules.demo.music import DemoPiece

TAGS = (
    *INSTRUMENTS,  # strings is both the ensemble and the family of violin and cello
    "drums", "bass", "solo", "fast", "slow", "loud", "quiet", "crescendo", "diminuendo", "high", "low",
    "minor", "classical", "folk", "techno", "waltz", "jig", "staccato", "build up",
)  # fmt: skip
# Notes of the melody per second, with gaps between the classes to make them unambiguous.
RATES = {"slow": (0.9, 1.5), "medium": (2.3, 3.6), "fast": (5.5, 7.5)}
# Beats a minute of dances, which replace RATES.
DANCES = {("waltz", "medium"): (126, 170), ("jig", "fast"): (110, 140)}
CENTRES = {"low": (46, 52), "middle": (60, 70), "high": (80, 86)}
# Mean pitch of a clip: upper limit of "low", lower limit of "high".
LOW, HIGH = 52, 75
STACCATO, LEGATO = 0.28, 0.95
ACOUSTIC_KITS = tuple(KITS[name] for name in ("standard", "room", "power", "jazz", "brush"))
ELECTRONIC_KITS = (KITS["electronic"], KITS["analog"])


class Deck:
    """Random sampling without replacement, restarted when all cards are drawn."""

    def __init__(self, random: np.random.Generator, *cards: object) -> None:
        self.random, self.cards, self.left = random, cards, []

    def draw(self, allowed: Callable[[object], bool] = lambda card: True):
        """Draw the next allowed card; skipped cards stay on top."""
        while True:
            for index, card in enumerate(self.left):
                if allowed(card):
                    return self.left.pop(index)
            self.left += [self.cards[index] for index in self.random.permutation(len(self.cards))]


class Planner:
    """Random plans; one instance per split, so that each split has all tags."""

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random
        self.style = {
            True: Deck(random, "classical", "classical", "classical", "classical", "other"),
            False: Deck(random, "folk", "folk", "folk", "techno", "other"),
        }
        self.tempo = {
            "chorale": Deck(random, "slow", "medium", "medium"),
            "waltz": Deck(random, "medium"),
            "jig": Deck(random, "fast", "fast", "fast", "medium", "slow"),
            "reel": Deck(random, *RATES),
        }
        self.instrument = Deck(random, *INSTRUMENTS)
        self.players = Deck(random, 1, 1, 1, 1, 2, 2, 2, 3)
        self.rhythm = Deck(random, (False, False), (False, True), (True, False), (True, True))
        self.register = Deck(random, "low", "middle", "middle", "high")
        self.dynamics = Deck(random, *DYNAMICS)
        self.entries = Deck(random, "together", "together", "building", "building", "thinning")
        self.gate = Deck(random, LEGATO, LEGATO, STACCATO)
        self.comping = Deck(random, *COMPING)

    def plan(self, piece: DemoPiece) -> ClipPlan:
        """Draw a plan for a clip of a piece."""
        random, kind = self.random, kind_of(piece)
        written, waltz = kind == "chorale", kind == "waltz"
        style, register = self.style[written].draw(), self.register.draw()
        tempo = self.tempo[kind].draw()
        bass, drums = self.rhythm.draw() if style != "classical" else (False, False)
        if style == "techno":
            drums, register = True, "middle"
        elif register != "middle" and random.random() < 0.6:
            bass = False  # a bass would make high clips sound low
        centre = int(random.integers(*CENTRES[register]))
        lines = self._lines(style, centre, tempo, written, waltz)
        full = len(lines) + bass + drums >= 3
        return ClipPlan(
            style=style,
            lines=lines,
            bass=int(random.choice((38, 33) if style == "techno" else (32, 33))) if bass else None,
            kit=int(random.choice(ELECTRONIC_KITS if style == "techno" else ACOUSTIC_KITS)) if drums else None,
            drumming="four on the floor" if style == "techno" else str(random.choice(("backbeat", "light"))),
            comping="offbeat" if waltz else self.comping.draw(),
            tempo=tempo,
            rate=self._rate(piece, kind, tempo),
            transpose=int(random.integers(-5, 7)),
            centre=centre,
            dynamics=self.dynamics.draw(),
            entries=self.entries.draw() if full else "together",
            gate=self.gate.draw(),
            start=float(random.random()),
            seed=int(random.integers(2**31)),
        )

    def _rate(self, piece: DemoPiece, kind: str, tempo: str) -> float:
        if (kind, tempo) not in DANCES:
            return float(self.random.uniform(*RATES[tempo]))
        beat = piece.bar / BEATS[piece.beats, piece.beat_type]  # in quarter notes
        return float(self.random.uniform(*DANCES[kind, tempo])) / 60 * beat * len(piece.parts[0]) / piece.length

    def _lines(self, style: str, centre: int, tempo: str, written: bool, waltz: bool) -> tuple[Line, ...]:
        chosen = ["synth"] if style == "techno" else []

        def fits(name: str) -> bool:
            instrument = INSTRUMENTS[name]
            return (
                name not in chosen
                and instrument.low + 5 <= centre <= instrument.high - 4
                and (name != "synth" or style == "other")
                # Slow attack.
                and (tempo != "fast" or name not in ("choir", "strings"))
            )

        for _ in range(self.players.draw() - len(chosen)):
            chosen.append(self.instrument.draw(fits))
        if style != "techno":
            chosen.sort(key=lambda name: INSTRUMENTS[name].chords)  # monophonic instruments get the melody
        roles = []
        for index, name in enumerate(chosen):
            chords = INSTRUMENTS[name].chords
            if index == 0:
                alone = len(chosen) == 1 and chords and (waltz or written or self.random.random() < 0.7)
                roles.append("all" if alone else "melody")
            elif written and chords:
                roles.append("all" if index == len(chosen) - 1 and self.random.random() < 0.5 else "chords")
            else:
                roles.append("chords" if chords or waltz else "voice")
        programs = [int(self.random.choice(INSTRUMENTS[name].programs)) for name in chosen]
        return tuple(map(Line, chosen, programs, roles))


def kind_of(piece: DemoPiece) -> str:
    """Kind of a piece: chorale if polyphonic, else jig, waltz or reel by metre."""
    return "chorale" if len(piece.parts) > 1 else {2: "jig", 3: "waltz", 4: "reel"}[BEATS[piece.beats, piece.beat_type]]


def tags(piece: DemoPiece, plan: ClipPlan, pitch: float) -> set[str]:
    """Tags of a clip; `pitch`: its mean pitch."""
    holding = {line.instrument for line in plan.lines} | {plan.style, plan.tempo, plan.dynamics}
    kind = kind_of(piece)
    # The metre of an unaccompanied melody is ambiguous.
    accompanied = plan.bass is not None or plan.kit is not None or any(line.role != "melody" for line in plan.lines)
    more = {
        "strings": bool(holding & {"violin", "cello"}),
        "drums": plan.kit is not None,
        "bass": plan.bass is not None,
        "solo": len(plan.lines) == 1 and plan.bass is None and plan.kit is None,
        "high": pitch >= HIGH,
        "low": pitch <= LOW,
        "minor": piece.mode == "minor",
        "waltz": kind == "waltz" and accompanied,
        "jig": kind == "jig" and plan.tempo == "fast",
        "staccato": plan.gate == STACCATO,
        "build up": plan.entries == "building",
    }
    return (holding | {tag for tag, holds in more.items() if holds}) & set(TAGS)
