"""The toy with a mean teacher: `python -m tests.helpers.teacher_toy --folder F --devices N` trains it in processes of its own."""

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from losses import clip_consistency
from tasks.callbacks import MeanTeacher
from tests.helpers.toy import Toy, ToyBatch, train, weights


class Taught(Toy):
    """Binary cross entropy and consistency with a whole second network."""

    def __init__(self, mean_teacher: MeanTeacher | None = None, **options: Any):
        super().__init__(**options)
        self.mean_teacher = mean_teacher or MeanTeacher(decay=0.9)
        self.teacher = self.mean_teacher.teacher_of(self.net)
        self.asked: list[bool] = []

    def configure_callbacks(self) -> list[MeanTeacher]:
        return [self.mean_teacher]

    def on_train_batch_end(self, *_: Any) -> None: ...

    def training_step(self, batch: ToyBatch, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        with torch.no_grad():
            told = self.teacher(batch.x).sigmoid()
        self.asked.append(self.teacher.training)
        return loss + 2 * clip_consistency(self.net(batch.x).sigmoid(), told)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", required=True)
    parser.add_argument("--devices", type=int, default=2)
    args = parser.parse_args()
    trainer = train(args.folder, Taught, devices=args.devices, strategy="ddp", max_epochs=2)
    torch.save(weights(trainer), Path(args.folder) / f"weights{trainer.global_rank}.pt")


if __name__ == "__main__":
    main()
