"""BSSEval v4, equal to museval: SDR from windowed energies, ISR, SIR and SAR with 512-tap distortion filters."""

from tasks.metrics.bss.frames import WindowScores, as_written
from tasks.metrics.bss.scores import evaluate, median_over_tracks, usdr

__all__ = ["WindowScores", "as_written", "evaluate", "median_over_tracks", "usdr"]
