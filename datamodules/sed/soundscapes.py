"""Soundscapes mixed from a user's isolated sounds and backgrounds: sound library -> strongly labelled data set."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.audio import reading
from datamodules.common.cache import build_folder, cached, fingerprint
from datamodules.common.errors import DataError
from datamodules.common.left_out import LeftOut
from datamodules.common.progress import progress
from datamodules.common.splits import SPLITS, assign_splits
from datamodules.common.whole import write_json
from datamodules.sed import scenes
from datamodules.sed.dcase import DCASE2018
from datamodules.sed.scenes import Recipe

CLIPS = {"weak": 400, "unlabeled": 800, "validation": 120, "test": 240}
LEFT_OUT = "left_out.json"  # unusable files of the library
GROUP = r"^.*?(?=[\W_]*\d*$)"
FADED_DB = 12.0  # ends of a background below its median by more than this are trimmed
LONGEST_S = 8.0
"""Longest part of an isolated sound, from its onset, s."""

Library = dict[str, tuple[list[list[np.ndarray]], list[np.ndarray]]]  # split -> sounds of each class, backgrounds


class Soundscapes(DCASE2018):
    """Soundscapes of the sounds in `root`, mixed on first use in the layout of DCASE 2018 task 4; splits share no recording.

    Args:
        sounds: class -> globs of its isolated sounds, relative to the root (default: each folder in ROOT/foreground)
        backgrounds: globs of backgrounds, relative to the root (default: ROOT/background/*)
        group: regular expression; files with the same match in their stem stay in one split (default: the stem without a
            trailing number)
        clips: number of clips in each list (weak, unlabeled, validation, test)
        empty: additional weakly labelled soundscapes without events (backgrounds, faint ones, silence), as a share of the
            others: negative examples
        snr_db: limits of the level of an active sound over the background, dB
        mixed_rate: of the soundscapes, Hz
    """

    name = "soundscapes"
    layout = "a folder with foreground/CLASS/*.wav and background/*.wav, or those of --data.sounds and --data.backgrounds"

    def __init__(
        self,
        root: str | None = None,
        sounds: dict[str, list[str]] | None = None,
        backgrounds: list[str] | None = None,
        group: str = GROUP,
        clips: dict[str, int] | None = None,
        snr_db: tuple[float, float] = (6.0, 20.0),
        mixed_rate: int = 22_050,
        empty: float = 0.05,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, **kwargs)
        self.sounds, self.backgrounds, self.group = sounds, backgrounds or ["background/*"], group
        if not 0 <= empty <= 1:
            raise ValueError(f"--data.empty is a share of the weakly labelled soundscapes, 0 to 1, not {empty}.")
        self.amounts, self.recipe = clips or CLIPS, Recipe(mixed_rate, snr_db=tuple(snr_db), empty=empty)

    @property
    def classes(self) -> list[str]:
        """Classes, sorted."""
        return sorted(self._sounds())

    def find_root(self) -> Path:
        """Folder of the soundscapes, mixed on first use. Raises DataError if a class or the backgrounds have too few files."""
        library = super().find_root()
        files = {label: _files(library, globs, label) for label, globs in sorted(self._sounds().items())}
        backgrounds = _files(library, self.backgrounds, "backgrounds")
        settings = f"{list(files)} {self.amounts} {self.recipe} {self.group} {self.seed_of_scenes}"
        code = [Path(scenes.__file__), Path(__file__)]
        listed = [path for paths in [*files.values(), backgrounds, code] for path in paths]
        key = fingerprint(settings, ((path.name.encode(errors="surrogateescape"), str(path).encode()) for path in listed))
        target = cached(self.cache_dir, "soundscapes", f"{self.name}-{key}")
        root = build_folder(target, lambda part: self._mix(part, files, backgrounds), f"the soundscapes {target}")
        self.left_out.extend(LeftOut(*row) for row in json.loads((root / LEFT_OUT).read_text(encoding="utf-8")))
        self.left_out.log_new()
        return root

    seed_of_scenes = 0
    """Constant, since another seed of the training order must not change the data set."""

    def _sounds(self) -> Mapping[str, list[str]]:
        if self.sounds is not None:
            return self.sounds
        folder = super().find_root() / "foreground"
        return {path.name: [f"foreground/{path.name}/*"] for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else {}

    def _mix(self, root: Path, files: Mapping[str, Sequence[Path]], backgrounds: Sequence[Path]) -> None:
        bank, faults = self._library(files, backgrounds)
        left_out = [LeftOut.from_sentence("sound", str(path), fault, path) for path, fault in faults.items()]
        write_json(root / LEFT_OUT, [entry.row() for entry in left_out])
        with progress(total=sum(self.amounts.values()), unit="clip", desc="mixing soundscapes, once") as bar:
            for k, (subset, count) in enumerate(self.amounts.items()):
                random = np.random.default_rng([self.seed_of_scenes, k, count])
                split = subset if subset in SPLITS else "train"
                scenes.write_list(root, subset, count, random, bank[split], list(files), self.recipe, bar.update)

    def _library(self, files: Mapping[str, Sequence[Path]], paths: Sequence[Path]) -> tuple[Library, dict[Path, str]]:
        """Decoded sounds and backgrounds by split, and error messages of unusable files; paths: of the backgrounds."""
        faults: dict[Path, str] = {}
        classes = [self._split(sounds, label, True, faults) for label, sounds in files.items()]
        backgrounds = self._split(paths, "backgrounds", False, faults)
        return {split: ([sounds[split] for sounds in classes], backgrounds[split]) for split in SPLITS}, faults

    def _split(self, paths: Sequence[Path], label: str, isolated: bool, faults: dict[Path, str]) -> dict[str, list[np.ndarray]]:
        groups: dict[str, list[np.ndarray]] = {}
        for path in paths:
            match = re.search(self.group, path.stem)
            try:
                sound = (read_isolated if isolated else read_background)(path, self.recipe.rate)
                groups.setdefault(match[0] if match else path.stem, []).append(sound)
            except DataError as error:
                if self.strict:
                    raise
                faults[path] = str(error)
        if len(groups) < len(SPLITS):
            raise DataError(self._too_few(label, list(groups), len(paths)))
        splits = assign_splits(list(groups), [sum(map(len, sounds)) for sounds in groups.values()])
        return {
            split: [sound for sounds, own in zip(groups.values(), splits, strict=True) if own == split for sound in sounds]
            for split in SPLITS
        }

    def _too_few(self, label: str, names: Sequence[str], files: int) -> str:
        """Message on a class, or the backgrounds, with fewer than three recordings."""
        recordings = f"{len(names)} recording{'s' * (len(names) != 1)}"
        listed = f" ({', '.join(map(repr, names))})" if names else ""
        advice = "add some"
        if files >= len(SPLITS) > len(names) and self.group == GROUP:
            advice += ", or set --data.group '.+' if each file is a separate recording; files whose names differ only in the "
            advice += "last number count as takes of one recording"
        needed = "expected at least three, one for each split"
        return f"{self.root}: {label}: {files} file{'s' * (files != 1)} of {recordings}{listed}, {needed}: {advice}."


def read_isolated(path: Path, rate: int) -> np.ndarray:
    """Read a sound from its onset, at most LONGEST_S. Raises DataError if it does not decode or is silent."""
    sound = reading.read_file(path, rate)
    on = scenes.active(sound, rate)
    if not len(on):
        raise DataError(f"{path} is silent or shorter than 10 ms: replace it or leave it out.")
    return sound[round(on[0, 0] * rate) :][: round(min(LONGEST_S, on[-1, 1] - on[0, 0]) * rate)]


def read_background(path: Path, rate: int) -> np.ndarray:
    """Read a background without the fades at its ends. Raises DataError if it does not decode or is silent."""
    sound = reading.read_file(path, rate)
    levels = scenes.level(sound, rate)
    on = np.flatnonzero(levels > np.median(levels) - FADED_DB) if len(levels) else levels
    if len(on) < 100 or levels.max() < scenes.SILENT_DB:
        raise DataError(f"{path} is silent or shorter than 1 s: replace it or leave it out.")
    return sound[round(on[0] * scenes.FRAME_S * rate) : round((on[-1] + 1) * scenes.FRAME_S * rate)]


def _files(root: Path, globs: Sequence[str], label: str) -> list[Path]:
    files = sorted({path for pattern in globs for path in root.glob(pattern) if path.suffix.lower() in reading.AUDIO_SUFFIXES})
    if not files:
        advice = "add some, or set --data.sounds and --data.backgrounds"
        raise DataError(f"{root} holds no audio for {label} ({', '.join(globs)}): {advice}.")
    return files
