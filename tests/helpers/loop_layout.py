"""Tiny sessions of bar-exact loops as they lie on disk: every bar begins with a click, what follows tells the loop."""

import csv
from pathlib import Path

import numpy as np
import soundfile

BAR_S = 0.5
ROLES = {"drums": (1000, 3900), "bass": (60, 400), "other": (250, 2000)}


def loop(role: str, group: int, take: int, bars: int, rate: int) -> np.ndarray:
    """(samples,) float32: an eighth-note riff of the group in the role's register; takes differ by a little noise."""
    random = np.random.default_rng([list(ROLES).index(role), group])
    bar = round(BAR_S * rate)
    time = np.arange(bar // 8) / rate
    sound = []
    for _ in range(bars):
        for _eighth in range(8):
            pitch = random.uniform(*ROLES[role])
            loud = random.random() < 0.5
            sound.append(0.15 * loud * np.sin(2 * np.pi * pitch * time) * np.exp(-20 * time))
    sound = np.concatenate(sound)
    sound = np.pad(sound, (0, bars * bar - len(sound)))
    sound += 0.001 * np.random.default_rng([group, take]).standard_normal(len(sound))
    sound[::bar] = 0.5
    return sound.astype(np.float32)


def write_sessions(root: Path, sessions: int = 2, groups: int = 4, takes: int = 2, rate: int = 44_100) -> Path:
    """Sessions with `groups` riffs of every role in `takes` near-variants of one or two bars; the first has one bass riff."""
    for number in range(sessions):
        folder = Path(root) / f"session {number}"
        folder.mkdir(parents=True)
        rows = []
        for role in ROLES:
            for group in range(1 if (role, number) == ("bass", 0) else groups):
                for take in range(takes):
                    name, bars = f"{role}{'ABCDEFGH'[group]}{take + 1:02d}.{'flac' if take else 'wav'}", 1 + group % 2
                    soundfile.write(folder / name, loop(role, 10 * number + group, take, bars, rate), rate)
                    rows.append((name, role, round(bars * BAR_S, 3), float(bars)))
        with (folder / "stems.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("file", "role", "duration_s", "bars"), *rows])
    return Path(root)
