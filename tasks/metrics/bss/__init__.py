"""BSSEval v4 as museval computes it: SDR alone by windowed energies, or SDR, ISR, SIR and SAR with 512-tap filters."""

from tasks.metrics.bss.frames import WindowScores, as_written, frame_slices, wholly_silent
from tasks.metrics.bss.scores import evaluate, median_over_frames, median_over_tracks, usdr

__all__ = [
    "WindowScores",
    "as_written",
    "evaluate",
    "frame_slices",
    "median_over_frames",
    "median_over_tracks",
    "usdr",
    "wholly_silent",
]
