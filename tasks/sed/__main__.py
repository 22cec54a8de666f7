"""Audio tagging and sound event detection with mean teacher and audiovisual fusion (Boes, Van hamme 2021)"""

from tasks.cli.launch import launch
from tasks.cli.registry import Task

TASK = Task(
    name="sed",
    module="tasks.sed.module.SEDModule",
    data="datamodules.sed.data.SEDDataModule",
    files="datamodules.audio.files.Recordings",
    report="tasks.sed.report.SoundEventReport",
    writer="tasks.sed.writer.EventWriter",
    compare="tasks.sed.compare.main",
    monitor=("val/f1", "max"),
    links={"classes": "classes"},
)

if __name__ == "__main__":
    launch(TASK)
