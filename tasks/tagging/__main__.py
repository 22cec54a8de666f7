"""Music tagging by self-attention (Won, Chun, Serra 2019)"""

from tasks.cli.launch import launch
from tasks.cli.registry import Task

TASK = Task(
    name="tagging",
    module="tasks.tagging.module.TaggingModule",
    data="datamodules.tagging.data.TaggingDataModule",
    files="datamodules.audio.files.AudioFiles",
    report="tasks.tagging.report.TaggingReport",
    writer="tasks.tagging.writer.TagWriter",
    compare="tasks.tagging.compare.main",
    monitor=("val/auroc_macro", "max"),
    links={"tags": "tags"},
)

if __name__ == "__main__":
    launch(TASK)
