"""Report of `prepare` on a multitrack data set: headers, silent stems, NaN samples, identical files in two splits."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datamodules.audio.wav import Wav
from datamodules.common.base import RootedDataModule
from datamodules.common.errors import DataError
from datamodules.common.left_out import LeftOut
from datamodules.common.progress import progress
from datamodules.common.report import Recording, identical_files, warn, write_report
from datamodules.common.splits import SPLITS
from datamodules.common.workers import cores
from datamodules.separation.tracks import Track

BLOCK = 1 << 18
"""Frames per read."""

KINDS = ("missing", "unequal", "unfit", "unreadable")


class _SampleCheck(NamedTuple):
    """Result of reading the samples of a track."""

    silent: tuple[str, ...]  # paths
    bad: tuple[str, ...]  # error messages


def report(data: RootedDataModule, folder: Path) -> dict:
    """Write `folder`/report.json; returns counts and the first files of each kind.

    Silent stems are used, since an instrumental has no vocals; tracks with NaN are left out when they are read.

    Raises:
        DataError: the first error, if the data are strict.
    """
    tracks, flaws = data.opened
    checks = _check_samples(tracks)
    lists = {kind: [str(flaw) for flaw in flaws if getattr(flaw, "kind", "unreadable") == kind] for kind in KINDS}
    lists["unreadable"] += [sentence for check in checks for sentence in check.bad]
    lists["odd"] = [remark for track in tracks for remark in track.remarks]
    lists["noticed"] = [notice for track in tracks for notice in track.notices]
    lists["silent"] = [path for check in checks for path in check.silent]
    lists["identical"] = _identical(tracks, set(lists["silent"]))
    if data.strict and lists["unreadable"]:
        raise DataError(lists["unreadable"][0])
    usable = [track for track, check in zip(tracks, checks, strict=True) if not check.bad]
    for track, check in zip(tracks, checks, strict=True):
        data.left_out.extend(LeftOut("track", track.name, sentence.rstrip(".")) for sentence in check.bad[:1])
    data.left_out.log_new()
    counts = {
        "listed": len(data.listed),
        "usable": len(usable),
        "splits": {split: _split(data, split, usable) for split in SPLITS},
        "sources": data.sources,
        "sample_rate": data.sample_rate,
        "channels": data.channels,
    }
    return write_report(data, folder, counts, lists, {"statistics": _statistics(data)})


def _identical(tracks: Sequence[Track], silent: set[str]) -> list[str]:
    """One sentence for each file in two splits; silent files are not compared."""
    recordings = [
        Recording(f"{track.name}/{Path(wav.path).name}", track.split, Path(wav.path))
        for track in tracks
        for wav in track.wavs
        if wav.path not in silent
    ]
    same = identical_files(recordings)
    warn("In two splits: %s.", same)
    return same


def _split(data: RootedDataModule, split: str, tracks: Sequence[Track]) -> dict:
    chosen = [track for track in tracks if track.split == split]
    return {
        "listed": sum(files.split == split for files in data.listed),
        "usable": len(chosen),
        "hours": round(sum(track.frames for track in chosen) / data.sample_rate / 3600, 3),
        "own_mixture": sum(track.mixture is not None for track in chosen),
    }


def _statistics(data: RootedDataModule) -> dict | None:
    """Statistics of the training set, if the network needs them."""
    if not data.is_connected or data.spec.spectrogram is None or not any(track.split == "train" for track in data.opened[0]):
        return None
    mean, std = data.statistics()
    return {"bins": len(mean), "mean": round(float(mean.mean()), 6), "std": round(float(std.mean()), 6)}


def _check_samples(tracks: Sequence[Track]) -> list[_SampleCheck]:
    with ThreadPoolExecutor(cores()) as pool:
        return list(progress(pool.map(_track, tracks), "checking stems", len(tracks), "track"))


def _track(track: Track) -> _SampleCheck:
    silent, bad = [], []
    for wav in track.wavs:
        try:
            if _is_silent(wav):
                silent.append(wav.name)
        except DataError as error:
            bad.append(str(error))
    return _SampleCheck(tuple(silent), tuple(bad))


def _is_silent(wav: Wav) -> bool:
    """True if all samples are 0; int16 is read up to the first other sample. Raises DataError for NaN and infinity."""
    silent = True
    for start in range(0, wav.frames, BLOCK):
        block = wav.read(start, BLOCK)
        silent = silent and not block.any()
        if wav.dtype == "<i2" and not silent:
            return False
        if wav.dtype != "<i2" and not np.isfinite(block).all():
            raise DataError(f"{wav.name} holds NaN or infinite samples: write it again or leave the track out.")
    return silent
