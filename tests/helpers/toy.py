"""A task as small as possible with everything that makes a resume hard: dropout, batch statistics, augmentation,
several validations, plateau schedules, two optimizers. `python -m tests.helpers.toy --folder F ...` trains it in a process."""

import argparse
import errno
import json
import os
import signal
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities.warnings import PossibleUserWarning
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchmetrics import MeanMetric

from datamodules.common.base import SuiteDataModule
from tasks.callbacks import Checkpoint, DestroyProcessGroup, FiniteGuard, OptimizerSwitch, Phase, Preempt, StepSeed


class ToyBatch(NamedTuple):
    x: Tensor  # (batch, 4)
    y: Tensor  # (batch,)
    index: Tensor  # (batch,) which items these are
    names: tuple[str, ...]  # (batch,) file of each item


class ToySet(Dataset):
    """Items of four numbers; in training each is disturbed by its own seed."""

    def __init__(self, length: int, bad: tuple[int, ...] = ()):
        self.length, self.bad = length, bad

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[Tensor, Tensor, int, str]:
        index, seed = key if isinstance(key, tuple) else (key, 0)
        x = torch.sin(torch.arange(4.0) * (index + 1))
        if isinstance(key, tuple):
            x = x + 0.1 * torch.randn(4, generator=torch.Generator().manual_seed(seed))
        if index in self.bad:
            x = x * float("nan")
        return x, x.nan_to_num().sum() > 0, index, f"{index:02d}.wav"


class ToyData(SuiteDataModule):
    def __init__(self, length: int = 22, validation: int = 5, bad: tuple[int, ...] = (), **options: Any):
        super().__init__(**{"batch_size": 4, "seed": 7} | options)
        self.length, self.validation, self.bad = length, validation, bad
        self.eval_batch_size = 2

    def train_set(self) -> ToySet:
        return ToySet(self.length, self.bad)

    def validation_set(self) -> ToySet:
        return ToySet(self.validation)

    test_set = validation_set

    def collate(self, items: list) -> ToyBatch:
        x, y, index, names = zip(*items, strict=False)
        return ToyBatch(torch.stack(x), torch.stack(y).float(), torch.tensor(index), names)


class Toy(pl.LightningModule):
    """Dropout and batch statistics; the average of the weights is kept in `on_train_batch_end`, as mean teachers do."""

    def __init__(self, lr: float = 0.05, schedule: str = "none", pause: float = 0.0, norm: bool = True):
        super().__init__()
        self.save_hyperparameters()
        middle = nn.BatchNorm1d(8) if norm else nn.Identity()
        self.net = nn.Sequential(nn.Linear(4, 8), middle, nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 1))
        self.teacher = nn.Linear(8, 1).requires_grad_(False)
        self.val_loss = MeanMetric()

    def _loss(self, batch: ToyBatch) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(self.net(batch.x).squeeze(1).float(), batch.y)

    def training_step(self, batch: ToyBatch, batch_idx: int) -> Tensor:
        time.sleep(self.hparams.pause)
        loss = self._loss(batch)
        self.log("train/loss", loss, batch_size=len(batch.x))
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        with torch.no_grad():
            for mean, new in zip(self.teacher.parameters(), self.net[4].parameters(), strict=False):
                mean.lerp_(new, 0.1)

    def validation_step(self, batch: ToyBatch, batch_idx: int) -> None:
        time.sleep(self.hparams.pause)
        for item in zip(*batch[:3], strict=False):
            single = ToyBatch(*(value[None] for value in item), names=())
            self.val_loss.update(self._loss(single))

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        self.log("val/loss", self.val_loss.compute(), rank_zero_only=False)
        self.val_loss.reset()

    on_test_epoch_end = on_validation_epoch_end

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.net.parameters(), self.hparams.lr)
        if self.hparams.schedule == "plateau":
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=0.5)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "val/loss", "strict": False}}
        if self.hparams.schedule == "step":
            step = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 1 / (k + 1))
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": step, "interval": "step"}}
        return optimizer


class ToyGan(Toy):
    """Two optimizers by hand: Lightning counts two global steps a batch."""

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.automatic_optimization = False
        self.critic = nn.Sequential(nn.Linear(1, 4), nn.Dropout(0.3), nn.Linear(4, 1))

    def training_step(self, batch: ToyBatch, batch_idx: int) -> None:
        time.sleep(self.hparams.pause)
        first, second = self.optimizers()
        made = self.net(batch.x)
        critic_loss = self.critic(made.detach()).mean() - self.critic(batch.y[:, None]).mean()
        first.zero_grad()
        self.manual_backward(critic_loss)
        first.step()
        loss = self._loss(batch) - 0.1 * self.critic(made).mean()
        second.zero_grad()
        self.manual_backward(loss)
        second.step()
        self.log_dict({"train/loss": loss, "train/critic": critic_loss}, batch_size=len(batch.x))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.critic.parameters(), 0.01), torch.optim.Adam(self.net.parameters(), self.hparams.lr)


class ToyTrap(Toy):
    """Also logs the validation loss the way that is wrong for uneven shards, and keeps what each rank has seen."""

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.seen: list[int] = []
        self.masks: list[float] = []

    def training_step(self, batch: ToyBatch, batch_idx: int) -> Tensor:
        self.seen += batch.index.tolist()
        self.masks.append(float(nn.functional.dropout(torch.ones(64)).sum()))
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: ToyBatch, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        self.log("val/synced", self._loss(batch), batch_size=len(batch.x), sync_dist=True)

    def on_train_end(self) -> None:
        report = {"seen": self.seen, "masks": self.masks}
        (Path(self.trainer.default_root_dir) / f"rank{self.global_rank}.json").write_text(json.dumps(report))


class Recorder(Logger):
    """Every logged value in full precision, one JSON line each, on disk at once; rank 0 only."""

    def __init__(self, folder: str | Path):
        super().__init__()
        self.path = Path(folder) / "log.jsonl"

    name, version = "recorder", 0

    def log_hyperparams(self, *_: Any, **__: Any) -> None: ...

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if int(os.environ.get("LOCAL_RANK", "0")) == 0:
            with self.path.open("a") as file:
                for name, value in metrics.items():
                    file.write(json.dumps([step, name, float(value).hex()]) + "\n")


class Stopped(Exception):
    """The end of a run that a test wanted to end."""


def _refuse(_handle: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


class Stop(pl.Callback):
    """Does something terrible at the nth call of a hook: raises, fills the disk, signals this process or kills it."""

    def __init__(self, hook: str, nth: int, how: str = "raise", rank: int | None = None):
        self.hook, self.nth, self.how, self.rank, self.calls = hook, nth, how, rank, 0
        setattr(self, hook, self._call)

    def _call(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        if trainer.sanity_checking and "sanity" not in self.hook:
            return
        self.calls += 1
        if self.calls == self.nth and self.rank in (None, trainer.global_rank):
            if self.how == "raise":
                raise Stopped
            if self.how == "full":  # from now on, the disk
                os.fsync = _refuse
                return
            number = getattr(signal, self.how)
            assert number == signal.SIGKILL or signal.getsignal(number) != signal.SIG_DFL, f"nobody heeds {self.how} here"
            os.kill(os.getpid(), number)


def train(
    folder: str | Path,
    module: Callable[[], pl.LightningModule] = Toy,
    data: SuiteDataModule | None = None,
    callbacks: tuple[pl.Callback, ...] = (),
    ckpt_path: str | None = None,
    every: int = 2,
    monitor: str = "val/loss",
    preempt: Preempt | None = None,
    logger: Logger | None = None,
    **options: Any,
) -> pl.Trainer:
    """Fit a toy with the house callbacks; what stops it passes through."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    pl.seed_everything(1, verbose=False)
    checkpoint = Checkpoint(monitor=monitor, mode="min", every_n_train_steps=every)
    house = [StepSeed(), preempt or Preempt(), FiniteGuard(), DestroyProcessGroup(), checkpoint]
    settings = {"max_epochs": 3, "accelerator": "cpu", "devices": 1, "num_sanity_val_steps": 0, "log_every_n_steps": 1}
    trainer = pl.Trainer(
        default_root_dir=str(folder),
        logger=logger or Recorder(folder),
        callbacks=[*callbacks, *house],
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        **settings | options,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PossibleUserWarning)
        trainer.fit(module(), datamodule=data or ToyData(), ckpt_path=ckpt_path)
    return trainer


def logged(folder: str | Path) -> dict[tuple[int, str], str]:
    """What a run folder's log says last about each (step, name), as hexadecimal floats."""
    lines = (Path(folder) / "log.jsonl").read_text().splitlines()
    return {(step, name): value for step, name, value in map(json.loads, lines)}


def weights(trainer: pl.Trainer) -> dict[str, Tensor]:
    """All parameters and buffers and the optimizers' state, flattened by name."""
    state = dict(trainer.lightning_module.state_dict())
    for k, optimizer in enumerate(trainer.optimizers):
        for index, values in optimizer.state_dict()["state"].items():
            state |= {f"optimizer{k}.{index}.{name}": torch.as_tensor(value) for name, value in values.items()}
        state[f"optimizer{k}.lr"] = torch.tensor([group["lr"] for group in optimizer.param_groups])
    return state


def differing(first: dict[str, Tensor], second: dict[str, Tensor]) -> list[str]:
    """Names that are missing on one side or differ in any bit."""
    shared = {name for name in first.keys() & second.keys() if torch.equal(first[name], second[name])}
    return sorted((first.keys() | second.keys()) - shared)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", required=True)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--module", default="Toy", choices=["Toy", "ToyGan", "ToyTrap"])
    parser.add_argument("--switch", action="store_true")
    parser.add_argument("--wandb", action="store_true")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--stop", nargs=3, metavar=("HOOK", "NTH", "HOW"))
    parser.add_argument("--stop_rank", type=int)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--every", type=int, default=2)
    parser.add_argument("--data", type=json.loads, default={})
    parser.add_argument("--trainer", type=json.loads, default={})
    args = parser.parse_args()
    from tasks.callbacks import WandbRun, newest_loadable, wandb_options

    callbacks = [Stop(args.stop[0], int(args.stop[1]), args.stop[2], args.stop_rank)] if args.stop else []
    if args.switch:
        slow = partial(torch.optim.SGD, lr=0.02, momentum=0.9)
        callbacks.insert(0, OptimizerSwitch([Phase(0, torch.optim.Adam), Phase(2, slow)], "val/loss", "min"))
    path = newest_loadable(Path(args.folder) / "checkpoints") if args.resume else None
    ranks = {"devices": args.devices, "strategy": "ddp"} if args.devices > 1 else {}
    module = partial(globals()[args.module], pause=args.pause)
    data = ToyData(**{name: tuple(value) if isinstance(value, list) else value for name, value in args.data.items()})
    settings = ranks | args.trainer
    if args.wandb:
        settings["logger"] = WandbRun(offline=True, **wandb_options(args.folder, "toy", "seed 1", args.resume))
    trainer = train(args.folder, module, data, tuple(callbacks), path, args.every, **settings)
    torch.save(weights(trainer), Path(args.folder) / f"weights{trainer.global_rank}.pt")


if __name__ == "__main__":
    main()


class Scored(Toy):
    """Logs given validation scores instead of measured ones."""

    def __init__(self, scores=(), **options):
        super().__init__(**options)
        self.given = scores

    def on_validation_epoch_end(self):
        self.log("val/loss", self.given[self.trainer.current_epoch])


def epoch_of(path):
    content = torch.load(path, weights_only=True)
    return content["loops"]["fit_loop"]["epoch_progress"]["current"]["started"] - 1
