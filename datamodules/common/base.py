"""Base data module: loaders, exactly resumable sampling order, sharding over ranks.

The order is a function of (seed, epoch) alone. A resumed run reads its position from the restored loop and skips that many
indices without decoding anything.
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
from datamodules.common.workers import ignore_run_signals, mix


def replaces_sampler(trainer: pl.Trainer) -> bool:
    """True if Lightning would replace a loader's sampler by a DistributedSampler (reads a private attribute)."""
    return trainer.world_size > 1 and trainer._accelerator_connector.use_distributed_sampler


def permutation(length: int, seed: int, epoch: int) -> torch.Tensor:
    """Order of one epoch: (length,) int64, a function of its arguments alone."""
    return torch.randperm(length, generator=torch.Generator().manual_seed(mix(seed, epoch)))


class EpochSampler(Sampler[tuple[int, int]]):
    """Sampler of (index, item seed) for one rank, a function of (seed, epoch, rank, world).

    Global batch b of an epoch is the same set of items for any number of ranks and workers; a rank takes its contiguous
    share. The incomplete last global batch is dropped, so that all ranks take the same number of steps. `len` is always
    the whole epoch: Lightning itself adds the batches that a resumed epoch has behind it.

    Args:
        length: items in the set
        batch_size: items per rank and step
        seed: of the order and of the item seeds
        rank, world: of this process
        epoch: first epoch
        start: batches of it that are already done

    Raises:
        DataError: the set is smaller than one global batch.
    """

    def __init__(
        self, length: int, batch_size: int, seed: int = 0, rank: int = 0, world: int = 1, epoch: int = 0, start: int = 0
    ):
        if length < batch_size * world:
            raise DataError(
                f"The training set has {length} items but one global batch needs {batch_size * world}: "
                f"lower --data.batch_size or check the data set with `prepare`."
            )
        self.length, self.batch_size, self.seed, self.rank, self.world = length, batch_size, seed, rank, world
        self.steps = length // (batch_size * world)
        self.epoch, self.start = epoch, start

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; of a resumed epoch, whose workers have begun to read, the position is kept."""
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
    """Sampler of the indices rank, rank + world, ...: every item on exactly one rank, without padding.

    Raises:
        DataError: a rank would get no item and miss the collective operations.
    """

    def __init__(self, length: int, rank: int = 0, world: int = 1):
        if not length:
            raise DataError("An evaluation set is empty: check the data set with `prepare`.")
        if length < world:
            raise DataError(
                f"An evaluation set of {length} items cannot be shared by {world} processes: "
                f"set --trainer.devices to {length} or less, or check the data set with `prepare`."
            )
        self.indices = range(rank, length, world)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)


def resume_position(trainer: "pl.Trainer | None") -> tuple[int, int]:
    """Position of a new training loader: (epoch, batches of it already done).

    After a checkpoint is restored, Lightning's counters hold the position: `started` epochs (`current_epoch` depends on the
    hook that saved) and `processed` batches (`completed` lags by one if saved in `on_train_batch_end`). Batches of an
    incomplete accumulation window are repeated, because their gradient is lost.
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
    """Base of all data modules: builds the loaders from the map-style sets and collate functions of a subclass.

    A training set is indexed by (index, seed) and takes all randomness from that seed; evaluation sets by index. Arguments
    that a subclass passes on as `**kwargs` are options of it on the command line, and are stored in checkpoints.

    Attributes:
        left_out: report of files, clips, tags, ... that this run does not use; subclasses add to it

    Args:
        batch_size: training items per step, over all ranks or per rank
        batch_scope: scope of batch_size: `global` or `rank`
        num_workers: loader processes per rank; the batches do not depend on it
        seed: of the order and of each item
        strict: stop at the first missing or unusable file instead of leaving it out
        cache_dir: folder of computed files (default $QUINTET_CACHE, else .cache); files that only the default folder holds
            are read from there

    Raises:
        ValueError: impossible numbers.
    """

    spec_class: type | None = None
    """Class of `datamodules.common.input_spec` that `connect` takes; None: the data do not depend on the network."""
    per_spec: tuple[str, ...] = ()
    """Cached properties that depend on `spec`."""
    eval_batch_size: int = 1
    worker_start: str | None = None  # "spawn" if a library does not survive fork

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
        """Set the input specification of the network, of class `spec_class`, before loaders and features are used.

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
        """Copy of the data module for another network; cached properties in `per_spec` are dropped, `left_out` is shared."""
        other = type(self).__new__(type(self))  # copy.copy leaves out what spawned workers do not get
        vars(other).update({name: value for name, value in vars(self).items() if name not in self.per_spec})
        other.connect(spec)
        return other

    def __getstate__(self) -> dict[str, Any]:
        """State for spawned workers: without the Trainer, with an empty report."""
        return vars(self) | {"trainer": None, "left_out": LeftOutReport()}

    def train_set(self) -> Dataset:
        """Training items, indexed by (index, seed)."""
        raise self._missing("training set")

    def validation_set(self) -> Dataset:
        """Validation items, indexed by position."""
        raise self._missing("validation set")

    def test_set(self) -> Dataset:
        """Test items, indexed by position."""
        raise self._missing("test set")

    def predict_set(self) -> Dataset:
        raise self._missing("inputs to predict")

    def _missing(self, name: str) -> NotImplementedError:
        return NotImplementedError(f"{type(self).__name__} has no {name}.")

    def collate(self, items: Sequence[Any]) -> Any:
        """Training items -> batch."""
        return default_collate(items)

    def evaluation_collate(self, items: Sequence[Any]) -> Any:
        """Validation or test items -> batch."""
        return self.collate(items)

    def prepare(self, report_dir: Path) -> dict:
        """Check the data set, build packs and write a report to report_dir (subcommand `prepare`); returns the report."""
        return {}

    def advice(self) -> str:
        """Command that checks the data set, for error messages; empty if there is none."""
        return ""

    def report_folder(self) -> Path:
        """Default folder of the report of `prepare`."""
        return cache_root(self.cache_dir) / "reports" / type(self).__name__

    def require(self, split: Literal["validation", "test"]) -> None:
        """Build the set of a split that is used later. Raises DataError if it is missing, empty or too small for the ranks."""
        dataset = self.validation_set() if split == "validation" else self.test_set()
        EvaluationShard(len(dataset), *self.ranks())

    def ranks(self) -> tuple[int, int]:
        """(rank, world) of this process; (0, 1) without a Trainer. Raises ValueError if Lightning would shard again."""
        if self.trainer is None:
            return 0, 1
        if replaces_sampler(self.trainer):
            raise ValueError("The suite shards its own data: set --trainer.use_distributed_sampler false.")
        return self.trainer.global_rank, self.trainer.world_size

    def rank_batch(self, batch_size: int | None = None) -> int:
        """This rank's share of a batch; batch_size: of one stream of mixed batches."""
        _, world = self.ranks()
        batch_size = self.batch_size if batch_size is None else batch_size
        if self.batch_scope == "rank":
            return batch_size
        if batch_size % world:
            raise DataError(
                f"The global batch of {batch_size} does not divide over {world} processes: choose a multiple of "
                f"{world} as --data.batch_size, or set --data.batch_scope rank."
            )
        return batch_size // world

    def train_sampler(self, dataset: Sized) -> Sampler:
        """Sampler of the training items; an override must use `resume_position`."""
        rank, world = self.ranks()
        return EpochSampler(len(dataset), self.rank_batch(), self.seed, rank, world, *resume_position(self.trainer))

    def train_dataloader(self) -> DataLoader:
        """Loader of this rank's share of each epoch, in an order that a resumed run repeats."""
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
            # Samplers run in the main process: a persistent worker holds no state that a resumed run would miss.
            persistent_workers=persistent and workers > 0,
            worker_init_fn=ignore_run_signals if workers else None,
        )


class RootedDataModule(SuiteDataModule):
    """Base of the data modules that read the folder of a data set.

    Args:
        root: folder of the data set
    """

    task: str  # its `prepare` subcommand checks the folder
    layout: str  # description of the expected folder, for messages
    name: str  # of the data set in results
    subset: str = "full"  # printed beside the name

    def __init__(self, root: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root = root

    def find_root(self) -> Path:
        """Folder of the data set. Raises DataError if --data.root is not given or not a folder."""
        if self.root is None:
            raise DataError(f"--data.root is required: {self.layout}.")
        root = Path(self.root).expanduser()
        if not root.is_dir():
            raise DataError(f"{root} is not a folder: --data.root must name {self.layout}. {self.advice()}")
        return root

    @property
    def cache_name(self) -> str:
        """Name of cached files: the kind of data set, independent of the user's folder name."""
        kind = type(self).name
        return kind if isinstance(kind, str) else type(self).__name__.lower()

    def advice(self) -> str:
        """Command that checks the data set."""
        kind = public_path(type(self))
        root = str(self.root or "DIR")
        typed = f'"{root}"' if " " in root else root
        return f"Check it with: python -m tasks.{self.task} prepare --data {kind} --data.root {typed}"

    def report_folder(self) -> Path:
        """Default folder of the report of `prepare`: in the cache, one for each data set."""
        settings = f"{type(self).__qualname__} {self.find_root().resolve()} {self.subset}"
        key = hashlib.sha256(settings.encode(errors="surrogateescape")).hexdigest()[:6]
        return super().report_folder().parent / self.task / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', self.name)}-{key}"

    def remarks(self) -> dict:
        """Further entries of the report of `prepare`."""
        return {}
