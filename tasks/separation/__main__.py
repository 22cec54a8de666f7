"""Music source separation by X-UMX (Sawata et al. 2021)"""

from tasks.launch import Task, launch

TASK = Task(
    name="separation",
    module="tasks.separation.module.Separator",
    data="datamodules.separation.SeparationData",
    files="datamodules.songs.Songs",
    report="tasks.separation.report.SeparationReport",
    writer="tasks.writers.separation.StemWriter",
    compare="tasks.separation.compare.main",
    monitor=("val/loss", "min"),
    links={"sources": "sources"},
)

if __name__ == "__main__":
    launch(TASK)
