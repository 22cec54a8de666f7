"""Audio-to-score alignment by learned frame similarity and dynamic time warping (Agrawal, Dixon 2021)"""

from tasks.cli.launch import launch
from tasks.cli.registry import Task

TASK = Task(
    name="alignment",
    module="tasks.alignment.module.AlignmentModule",
    data="datamodules.alignment.data.AlignmentDataModule",
    files="datamodules.alignment.user_pairs.ScoredRecordings",
    report="tasks.alignment.report.AlignmentReport",
    writer="tasks.alignment.writer.AlignmentWriter",
    compare="tasks.alignment.compare.main",
    monitor=("val/within_50", "max"),
)

if __name__ == "__main__":
    launch(TASK)
