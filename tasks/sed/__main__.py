"""Audio tagging and sound event detection with mean teacher and audiovisual fusion (Boes, Van hamme 2021)"""

from tasks.launch import Task, launch

TASK = Task(
    name="sed",
    module="tasks.sed.module.SoundEventDetector",
    data="datamodules.sed.SoundEventData",
    files="datamodules.recordings.Recordings",
    report="tasks.sed.report.SoundEventReport",
    writer="tasks.writers.sed.EventWriter",
    compare="tasks.sed.compare.main",
    monitor=("val/f1", "max"),
    links={"classes": "classes"},
)

if __name__ == "__main__":
    launch(TASK)
