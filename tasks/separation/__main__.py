"""Music source separation by X-UMX (Sawata et al. 2021)"""

from tasks.cli.launch import launch
from tasks.cli.registry import Task

TASK = Task(
    name="separation",
    module="tasks.separation.module.SeparationModule",
    data="datamodules.separation.data.SeparationDataModule",
    files="datamodules.separation.songs.Songs",
    report="tasks.separation.report.SeparationReport",
    writer="tasks.separation.writer.StemWriter",
    compare="tasks.separation.compare.main",
    monitor=("val/loss", "min"),
    links={"sources": "sources"},
)

if __name__ == "__main__":
    launch(TASK)
