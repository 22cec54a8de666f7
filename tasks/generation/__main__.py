"""Music generation: the systems of Briot, Hadjeres and Pachet's survey (2017) side by side on the same data"""

from tasks.cli.launch import launch
from tasks.cli.registry import Task

TASK = Task(
    name="generation",
    module="tasks.generation.module.GenerationModule",
    data="datamodules.GenerationDataModule",
    files="datamodules.generation.user_pieces.UserPieces",
    report="tasks.generation.report.GenerationReport",
    writer="tasks.generation.writer.GenerationWriter",
    compare="tasks.generation.compare.main",
    monitor=("val/loss", "min"),
    links={"notation": "view"},
)

if __name__ == "__main__":
    launch(TASK)
