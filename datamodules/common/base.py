"""What every datamodule shares: the order of the data, its split over ranks, and where a resumed run goes on.

The order is a pure function of (seed, epoch), so nothing about it needs to be stored: a resumed run asks the
restored loop how far it got and skips that many indices without decoding anything.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence, Sized
from pathlib import Path
from typing import Any, Literal, Self

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_info
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from datamodules.common.cache import cache_root
from datamodules.common.errors import DataError
from datamodules.common.lazy_names import public_path
from datamodules.common.left_out import LeftOutReport
from datamodules.common.workers import mix, outlive_signals

# Private parts of Lightning that the data need; those of the command line and the callbacks are in `tasks`.


def reshards(trainer: pl.Trainer) -> bool:
    """True where Lightning would replace a loader's sampler by a DistributedSampler."""
    return trainer.world_size > 1 and trainer._accelerator_connector.use_distributed_sampler


def permutation(length: int, seed: int, epoch: int) -> torch.Tensor:
    """The order of one epoch: (length,) int64, a function of its arguments alone."""
    return torch.randperm(length, generator=torch.Generator().manual_seed(mix(seed, epoch)))


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (index, item seed) for one rank: a pure function of (seed, epoch, rank, world).

    Global batch b of an epoch is the same set of items for any number of ranks and workers; a rank takes its
    contiguous share. The tail that fills no global batch is dropped, so all ranks take equally many steps.

    length: items in the set; batch_size: items per rank and step; epoch, start: where the first pass begins, start
    counting batches already done. `len` is always the whole epoch: Lightning itself adds the batches that a
    resumed epoch has behind it.
    Raises DataError when the set holds less than one global batch.
    """

    def __init__(
        self, length: int, batch_size: int, seed: int = 0, rank: int = 0, world: int = 1, epoch: int = 0, start: int = 0
    ):
        if length < batch_size * world:
            raise DataError(
                f"The training set has {length} items but one global batch needs {batch_size * world}: "
                f"lower --data.batch_size or check the data set with the `prepare` verb."
            )
        self.length, self.batch_size, self.seed, self.rank, self.world = length, batch_size, seed, rank, world
        self.steps = length // (batch_size * world)
        self.epoch, self.start = epoch, start

    def set_epoch(self, epoch: int) -> None:
        """Called before each epoch, but in a resumed run after its workers began to read: that place stays."""
        if epoch != self.epoch:
            self.epoch, self.start = epoch, 0

    def __len__(self) -> int:
        return self.steps * self.batch_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.epoch
        order = permutation(self.length, self.seed, epoch)[: self.steps * self.batch_size * self.world]
        mine = order.view(self.steps, self.world, self.batch_size)[self.start :, self.rank].flatten()
        for index in mine.tolist():
            yield index, mix(self.seed, epoch, index)


class EvaluationShard(Sampler[int]):
    """Indices rank, rank + world, ... : every item on exactly one rank, nothing padded or dropped.

    Raises DataError when some rank would get no item, since it would then miss the collective operations.
    """

    def __init__(self, length: int, rank: int = 0, world: int = 1):
        if not length:
            raise DataError("An evaluation set is empty: check the data set with the `prepare` verb.")
        if length < world:
            raise DataError(
                f"An evaluation set of {length} items cannot be shared by {world} processes: "
                f"set --trainer.devices to {length} or less, or check the data set with the `prepare` verb."
            )
        self.indices = range(rank, length, world)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)


def resume_position(trainer: "pl.Trainer | None") -> tuple[int, int]:
    """(epoch, batches of it already done) from which training data are wanted, asked when the loader is made.

    After a checkpoint was restored Lightning's counters still say how far the loop got: `started` epochs, where
    `current_epoch` has or has not moved on depending on the hook that saved, and `processed` batches (`completed`
    lags by one when saved in `on_train_batch_end`). Batches of an unfinished accumulation window are done again,
    because their gradient is lost.
    """
    if trainer is None:
        return 0, 0
    loop = trainer.fit_loop
    if not loop.restarting:
        return trainer.current_epoch, 0
    epoch = max(loop.epoch_progress.current.started - 1, 0)
    batches = loop.epoch_loop.batch_progress
    if batches.is_last_batch:
        return epoch + 1, 0
    window = trainer.accumulate_grad_batches
    return epoch, batches.current.processed // window * window


class SuiteDataModule(pl.LightningDataModule):
    """Loaders of every task: subclasses give map-style sets and collate functions.

    A training set is indexed by (index, seed) and draws all its randomness from that seed; evaluation sets by index.
    What a subclass takes as `**kwargs` and hands on to here is an option of it on the command line, and kept in checkpoints.

    `left_out`: what the data hold that this run does not use, and why; subclasses add to it where they drop anything.

    Args:
        batch_size: training items per step, over all ranks or per rank
        batch_scope: what batch_size counts: `global` or `rank`
        num_workers: loader processes per rank; the batches do not depend on it
        seed: of the order and of each item
        strict: stop at the first file that is missing or cannot be used, instead of naming it and going on without it
        cache_dir: where what is computed once is kept (default $QUINTET_CACHE, else .cache); what only that default holds is
            read from there

    Raises ValueError for impossible numbers; loaders raise DataError when the set does not fit the ranks.
    """

    spec_class: type | None = None
    """Class of `datamodules.common.input_spec` that `connect` takes; None where the data need to know nothing of the network."""
    per_spec: tuple[str, ...] = ()
    """Cached properties that depend on `spec`."""
    eval_batch_size: int = 1
    worker_start: str | None = None  # "spawn" where a library does not survive fork

    def __init__(
        self,
        batch_size: int = 16,
        batch_scope: Literal["global", "rank"] = "global",
        num_workers: int = 0,
        seed: int = 0,
        strict: bool = False,
        cache_dir: str | None = None,
    ):
        super().__init__()
        if batch_size < 1 or num_workers < 0:
            raise ValueError(f"batch_size must be positive and num_workers not negative: {batch_size}, {num_workers}.")
        self.save_hyperparameters(logger=False)  # of the subclass: the run record logs the whole config
        self.batch_size, self.batch_scope, self.num_workers = batch_size, batch_scope, num_workers
        self.seed, self.strict, self.cache_dir = seed, strict, cache_dir
        self.left_out = LeftOutReport()
        self._spec: Any = None

    def connect(self, spec: Any) -> None:
        """Take what the network reads, once, before loaders and features are asked for.

        Args:
            spec: of the class `spec_class`

        Raises:
            TypeError: a specification of another task.
        """
        if self.spec_class is not None and not isinstance(spec, self.spec_class):
            raise TypeError(f"{type(self).__name__}.connect takes {self.spec_class.__name__}, got {type(spec).__name__}")
        self._spec = spec

    @property
    def spec(self) -> Any:
        """Input specification of the network. Raises ValueError before `connect`."""
        if self._spec is None and self.spec_class is not None:
            name = self.spec_class.__name__
            raise ValueError(f"{type(self).__name__} does not know what the network reads: call connect({name}(...)) first")
        return self._spec

    @property
    def is_connected(self) -> bool:
        """True after `connect`."""
        return self._spec is not None

    def with_spec(self, spec: Any) -> Self:
        """The same data for another network: a copy that shares the report of what is left out.

        What was computed of the first network's inputs (cached properties in `per_spec`) is computed anew.
        """
        other = type(self).__new__(type(self))  # copy.copy leaves out what spawned workers do not get
        vars(other).update({name: value for name, value in vars(self).items() if name not in self.per_spec})
        other.connect(spec)
        return other

    def __getstate__(self) -> dict[str, Any]:
        """Spawned workers get this object with its collate functions, but never the Trainer, and a report of their own."""
        return vars(self) | {"trainer": None, "left_out": LeftOutReport()}

    def train_set(self) -> Dataset:
        raise self._missing("training set")

    def validation_set(self) -> Dataset:
        raise self._missing("validation set")

    def test_set(self) -> Dataset:
        raise self._missing("test set")

    def predict_set(self) -> Dataset:
        raise self._missing("inputs to predict")

    def _missing(self, what: str) -> NotImplementedError:
        return NotImplementedError(f"{type(self).__name__} has no {what}.")

    def collate(self, items: Sequence[Any]) -> Any:
        return default_collate(items)

    def evaluation_collate(self, items: Sequence[Any]) -> Any:
        return self.collate(items)

    def prepare(self, report_dir: Path) -> dict:
        """The `prepare` verb: check the data set, build packs, return the report that it writes to report_dir."""
        return {}

    def advice(self) -> str:
        """The command that says what is wrong with a data set, empty where there is none."""
        return ""

    def report_folder(self) -> Path:
        """Where `prepare` writes its report unless told otherwise."""
        return cache_root(self.cache_dir) / "reports" / type(self).__name__

    def require(self, split: Literal["validation", "test"]) -> None:
        """Build the set of a split that is needed later.

        Raises:
            DataError: it is missing, empty, or does not fit the ranks.
        """
        dataset = self.validation_set() if split == "validation" else self.test_set()
        EvaluationShard(len(dataset), *self.ranks())

    def ranks(self) -> tuple[int, int]:
        """(rank, world) of this process; (0, 1) without a Trainer. Raises ValueError if Lightning would re-shard."""
        if self.trainer is None:
            return 0, 1
        if reshards(self.trainer):
            raise ValueError("The suite shards its own data: set --trainer.use_distributed_sampler false.")
        return self.trainer.global_rank, self.trainer.world_size

    def rank_batch(self, batch_size: int | None = None) -> int:
        """This rank's share of a (global) batch; batch_size: of one stream where batches are mixed."""
        _, world = self.ranks()
        batch_size = self.batch_size if batch_size is None else batch_size
        if self.batch_scope == "rank":
            return batch_size
        if batch_size % world:
            raise DataError(
                f"The global batch of {batch_size} does not divide over {world} processes: choose a multiple of "
                f"{world} as --data.batch_size, or say --data.batch_scope rank."
            )
        return batch_size // world

    def train_sampler(self, dataset: Sized) -> Sampler:
        """The order of the training items; mixed batches override this (and keep `resume_position`)."""
        rank, world = self.ranks()
        return EpochSampler(len(dataset), self.rank_batch(), self.seed, rank, world, *resume_position(self.trainer))

    def train_dataloader(self) -> DataLoader:
        if self.trainer and self.trainer.overfit_batches:
            raise ValueError("overfit_batches replaces the suite's sampler: use --trainer.limit_train_batches instead.")
        dataset, share, (_, world) = self.train_set(), self.rank_batch(), self.ranks()
        windows = self.trainer.accumulate_grad_batches if self.trainer else 1
        rank_zero_info(f"Effective batch: {share * world * windows} items = {share} x {world} processes x {windows} accumulated.")
        return self._loader(dataset, self.train_sampler(dataset), share, self.collate, persistent=True, drop_last=True)

    def val_dataloader(self) -> DataLoader:
        return self._evaluation_loader(self.validation_set(), persistent=True)

    def test_dataloader(self) -> DataLoader:
        return self._evaluation_loader(self.test_set())

    def predict_dataloader(self) -> DataLoader:
        return self._evaluation_loader(self.predict_set())

    def _evaluation_loader(self, dataset: Dataset, persistent: bool = False) -> DataLoader:
        shard = EvaluationShard(len(dataset), *self.ranks())
        return self._loader(dataset, shard, self.eval_batch_size, self.evaluation_collate, persistent)

    def _loader(
        self, dataset: Dataset, sampler: Sampler, batch: int, collate: Callable, persistent: bool, drop_last: bool = False
    ) -> DataLoader:
        workers = self.num_workers
        return DataLoader(
            dataset,
            batch_size=batch,
            sampler=sampler,
            num_workers=workers,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            drop_last=drop_last,
            multiprocessing_context=self.worker_start if workers else None,
            # Samplers run in the main process: a kept worker holds nothing that a resumed run would miss.
            persistent_workers=persistent and workers > 0,
            worker_init_fn=outlive_signals if workers else None,
        )


# Data that lie in a folder which the user names.


class RootedDataModule(SuiteDataModule):
    """Base of the data modules that read a data set's own folder.

    Args:
        root: folder of the data set
    """

    task: str  # whose `prepare` verb says what is wrong with the folder
    layout: str  # what `root` must name, in words
    name: str  # results are filed under it
    subset: str = "full"  # what a printed number has to name beside it

    def __init__(self, root: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root = root

    def find_root(self) -> Path:
        """The folder of the data set. Raises DataError where none was named or it is no folder."""
        if self.root is None:
            raise DataError(f"No data set was named: give --data.root, {self.layout}.")
        root = Path(self.root).expanduser()
        if not root.is_dir():
            raise DataError(f"{root} is no folder: --data.root must name {self.layout}. {self.advice()}")
        return root

    @property
    def cached_as(self) -> str:
        """Name that cached files bear: of the kind of data set, whatever the user's folder is called."""
        kind = type(self).name
        return kind if isinstance(kind, str) else type(self).__name__.lower()

    def advice(self) -> str:
        """The command that says what is wrong with a data set."""
        kind = public_path(type(self))
        root = str(self.root or "DIR")
        typed = f'"{root}"' if " " in root else root
        return f"Check it with: python -m tasks.{self.task} prepare --data {kind} --data.root {typed}"

    def report_folder(self) -> Path:
        """Where `prepare` writes its report: in the cache, one folder for each set, since no run is meant."""
        settings = f"{type(self).__qualname__} {self.find_root().resolve()} {self.subset}"
        key = hashlib.sha256(settings.encode(errors="surrogateescape")).hexdigest()[:6]
        return super().report_folder().parent / self.task / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', self.name)}-{key}"

    def remarks(self) -> dict:
        """What else the report of `prepare` says about this kind of data set."""
        return {}
