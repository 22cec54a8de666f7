"""Music generation: the systems of Briot, Hadjeres and Pachet's survey (2017) side by side on the same data"""

from tasks.launch import Task, launch

TASK = Task(
    name="generation",
    module="tasks.generation.module.Composer",
    data="datamodules.symbolic.data.SymbolicData",
    files="datamodules.symbolic.user_pieces.UserPieces",
    report="tasks.generation.report.GenerationReport",
    writer="tasks.writers.generation.GenerationWriter",
    compare="tasks.generation.compare.main",
    monitor=("val/loss", "min"),
    links={"notation": "view"},
)

if __name__ == "__main__":
    launch(TASK)
