"""Audio-to-score alignment by learned frame similarity and dynamic time warping (Agrawal, Dixon 2021)"""

from tasks.launch import Task, launch

TASK = Task(
    name="alignment",
    module="tasks.alignment.module.Aligner",
    data="datamodules.alignment.data.AlignmentData",
    files="datamodules.alignment.user_pairs.ScoredRecordings",
    report="tasks.alignment.report.AlignmentReport",
    writer="tasks.writers.alignment.AlignmentWriter",
    compare="tasks.alignment.compare.main",
    monitor=("val/within_50", "max"),
)

if __name__ == "__main__":
    launch(TASK)
