"""Music tagging by self-attention (Won, Chun, Serra 2019)"""

from tasks.launch import Task, launch

TASK = Task(
    name="tagging",
    module="tasks.tagging.module.Tagger",
    data="datamodules.tagging.TaggingData",
    files="datamodules.files.AudioFiles",
    report="tasks.tagging.report.TaggingReport",
    writer="tasks.writers.tagging.TagWriter",
    compare="tasks.tagging.compare.main",
    monitor=("val/auroc_macro", "max"),
    links={"tags": "tags"},
)

if __name__ == "__main__":
    launch(TASK)
