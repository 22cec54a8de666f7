"""Callbacks and loggers of the suite: checkpoints, seeds, signals, non-finite steps, stalls, progress and records of a run."""

from tasks.callbacks.checkpoint import Checkpoint, StepSeed
from tasks.callbacks.csv_log import CSVLog
from tasks.callbacks.guard import FiniteGuard
from tasks.callbacks.mean_teacher import MeanTeacher
from tasks.callbacks.media import log_media
from tasks.callbacks.progress import progress_callback
from tasks.callbacks.record import RequireSplits, RunRecord, SetAsideResults
from tasks.callbacks.stop import Preempt, StopEvaluation
from tasks.callbacks.storage import newest_loadable
from tasks.callbacks.switch import OptimizerSwitch, Phase
from tasks.callbacks.wandb_run import WandbRun, wandb_options
from tasks.callbacks.watchdog import DestroyProcessGroup, Watchdog

__all__ = [
    "CSVLog",
    "Checkpoint",
    "DestroyProcessGroup",
    "FiniteGuard",
    "MeanTeacher",
    "OptimizerSwitch",
    "Phase",
    "Preempt",
    "RequireSplits",
    "RunRecord",
    "SetAsideResults",
    "StepSeed",
    "StopEvaluation",
    "WandbRun",
    "Watchdog",
    "log_media",
    "newest_loadable",
    "progress_callback",
    "wandb_options",
]
