"""Sync Toolbox on pairs of files, run by the Python of its own environment: synctoolbox_align.py FOLDER.

For each NAME.performance.wav with NAME.score.wav in the folder it writes NAME.npz: `score_s` and `performance_s` (steps,) of a
strictly monotonic path, `cpu_s` without imports and compilation, `peak_mb` of the process, `cents` (2,) of tuning, and the
chroma shift `turned` (semitones). The method is that of the package's notebook sync_audio_audio_full: two tunings, quantized
chroma, DLNCO, MrMsDTW at 50 Hz.
"""

import contextlib
import os
import sys
import time
from pathlib import Path

import librosa
import numpy as np
from synctoolbox.dtw.mrmsdtw import sync_via_mrmsdtw
from synctoolbox.dtw.utils import compute_optimal_chroma_shift, make_path_strictly_monotonic, shift_chroma_vectors
from synctoolbox.feature.chroma import pitch_to_chroma, quantize_chroma, quantized_chroma_to_CENS
from synctoolbox.feature.dlnco import pitch_onset_features_to_DLNCO
from synctoolbox.feature.pitch import audio_to_pitch_features
from synctoolbox.feature.pitch_onset import audio_to_pitch_onset_features
from synctoolbox.feature.utils import estimate_tuning

RATE, FRAMES_A_SECOND = 22_050, 50
WEIGHTS, LARGEST = np.array([1.5, 1.5, 2.0]), 10**6
ENDING = ".performance.wav"


def main(folder: Path) -> None:
    """Align every pair."""
    align(*_two_chords())  # compiles before the measurement
    for path in sorted(folder.glob(f"*{ENDING}")):
        name = path.name.removesuffix(ENDING)
        performance, score = (librosa.load(file, sr=RATE)[0] for file in (path, folder / f"{name}.score.wav"))
        start = time.process_time()
        result = align(performance, score)
        np.savez(folder / f"{name}.npz", cpu_s=time.process_time() - start, peak_mb=_peak_mb(), **result)


def align(performance: np.ndarray, score: np.ndarray) -> dict:
    """Two sounds (samples,) at RATE -> path (s), tuning and chroma shift."""
    cents = [int(estimate_tuning(audio, RATE)) for audio in (performance, score)]
    (played, onsets), (written, written_onsets) = map(features, (performance, score), cents)
    coarse = (quantized_chroma_to_CENS(chroma, 201, 50, FRAMES_A_SECOND)[0] for chroma in (played, written))
    turned = int(compute_optimal_chroma_shift(*coarse))
    path = sync_via_mrmsdtw(
        f_chroma1=played,
        f_onset1=onsets,
        f_chroma2=shift_chroma_vectors(written, turned),
        f_onset2=shift_chroma_vectors(written_onsets, turned),
        input_feature_rate=FRAMES_A_SECOND,
        step_weights=WEIGHTS,
        threshold_rec=LARGEST,
    )
    performance_s, score_s = make_path_strictly_monotonic(path) / FRAMES_A_SECOND
    return {"performance_s": performance_s, "score_s": score_s, "cents": cents, "turned": turned}


def features(audio: np.ndarray, cents: int) -> tuple[np.ndarray, np.ndarray]:
    """Sound -> quantized chroma and DLNCO, (12, frames) each."""
    options = {"f_audio": audio, "Fs": RATE, "tuning_offset": cents}
    chroma = quantize_chroma(f_chroma=pitch_to_chroma(f_pitch=audio_to_pitch_features(feature_rate=FRAMES_A_SECOND, **options)))
    peaks = audio_to_pitch_onset_features(**options)
    frames = chroma.shape[1]
    return chroma, pitch_onset_features_to_DLNCO(f_peaks=peaks, feature_rate=FRAMES_A_SECOND, feature_sequence_length=frames)


def _two_chords() -> list[np.ndarray]:
    """Short sounds for the warm-up."""
    sounds = []
    for seconds in (4.0, 5.0):
        time_s = np.arange(int(seconds * RATE)) / RATE
        chords = [[262.0, 330.0, 392.0], [294.0, 349.0, 440.0]]
        chord = (time_s > seconds / 2).astype(int)
        hertz = np.array(chords)[chord]
        fall = np.exp(-2 * np.mod(time_s, seconds / 2))
        sounds.append((0.2 * fall[:, None] * np.sin(2 * np.pi * hertz * time_s[:, None])).sum(1).astype(np.float32))
    return sounds


def _peak_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    with open(os.devnull, "w") as silence, contextlib.redirect_stdout(silence):  # noqa: PTH123
        main(Path(sys.argv[1]))
