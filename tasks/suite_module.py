"""Base class of the five LightningModules: connection to the data, optimizer, validated scores, checks of labels."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import pytorch_lightning as pl
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torchmetrics import Metric

from datamodules.common.base import SuiteDataModule
from datamodules.common.errors import DataError


class PredictionResult(NamedTuple):
    """Result of `predict_step` for one input: value, or error message."""

    path: str
    value: Any
    error: str | None = None


ExportProgram = tuple[nn.Module, tuple[Tensor, ...], dict | None, list[tuple[Tensor, ...]]]
"""Program, example inputs, free dimensions, and further inputs for checks of `export`."""


class SuiteModule(pl.LightningModule):
    """LightningModule of one task.

    Subclasses implement `input_spec`, `epoch_metrics`, `check_data`, `initialize_from`, `predict_input`, and `export_program` if
    they support `export`.

    Args:
        optimizer: called with the trained parameters
        scheduler: called with the optimizer; None: constant learning rate
        scheduler_interval: scheduler step after every optimizer `step` or every `epoch`
    """

    def __init__(
        self, optimizer: OptimizerCallable, scheduler: LRSchedulerCallable | None = None, scheduler_interval: str = "step"
    ) -> None:
        super().__init__()
        self._optimizer, self._scheduler, self._interval = optimizer, scheduler, scheduler_interval
        # Scores of the last validation, for `compare --select`; part of the checkpoint.
        self.validated: dict[str, float] = {}

    # methods of subclasses

    def input_spec(self) -> Any:
        """Input specification for the data's `connect` (`datamodules.common.input_spec`); None if the data need none."""
        return None

    def epoch_metrics(self) -> Iterable[Metric]:
        """Metrics that are reset before each validation and test."""
        raise NotImplementedError

    def check_data(self, datamodule: SuiteDataModule) -> None:
        """Check that the data of `fit`, `validate` and `test` fit the network. Raises DataError if not."""

    def initialize_from(self, datamodule: SuiteDataModule) -> None:
        """Initialize `fit` from the data, such as statistics of the training set, identically on every rank."""

    def predict_input(self, batch: Any) -> Any:
        """Value of one input for the writer of `predict`. Raises DataError if the input cannot be processed."""
        raise NotImplementedError

    def trained_parameters(self) -> list[nn.Parameter]:
        """Parameters of the optimizer, in a fixed order: its state is restored by position."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    # hooks of Lightning

    def setup(self, stage: str) -> None:
        """Connect the data before the loaders are built; check them; in `fit` initialize from them."""
        datamodule = self.trainer.datamodule
        datamodule.connect(self.input_spec())
        if stage != "predict":
            self.check_data(datamodule)
        if stage == "fit":
            self.initialize_from(datamodule)

    def on_validation_epoch_start(self) -> None:
        """Reset the metrics; scores of the previous epoch stay readable until then."""
        for metric in self.epoch_metrics():
            metric.reset()

    def on_test_epoch_start(self) -> None:
        """Reset the metrics."""
        for metric in self.epoch_metrics():
            metric.reset()

    @property
    def learns_from_validation(self) -> bool:
        """True in validations of `fit` except the sanity check: they set thresholds and scores of the checkpoint."""
        return self.trainer.state.fn == "fit" and not self.trainer.sanity_checking

    def predict_step(self, batch: Any) -> PredictionResult:
        """Result for one input; an error ends the run only with --data.strict true."""
        if batch.error is not None:
            return PredictionResult(batch.path, None, batch.error)
        try:
            return PredictionResult(batch.path, self.predict_input(batch))
        except DataError as error:
            if self.trainer.datamodule.strict:
                raise
            return PredictionResult(batch.path, None, str(error))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the scores of the last validation."""
        checkpoint["validated"] = self.validated

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the scores of the last validation."""
        self.validated = checkpoint.get("validated", {})

    def configure_optimizers(self) -> Any:
        """Optimizer of the trained parameters, and its scheduler."""
        optimizer = self._optimizer(self.trained_parameters())
        if self._scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self._scheduler(optimizer), "interval": self._interval}}


def refuse_other_labels(kind: str, trained: Sequence[str], data: Sequence[str]) -> None:
    """Check that names and order of the labels of network and data match.

    Args:
        kind: plural noun, such as `tags`
        trained: labels of the network
        data: labels of the data

    Raises:
        DataError: they differ.
    """
    if list(trained) != list(data):
        raise DataError(
            f"the network has {len(trained)} {kind} ({', '.join(trained[:3])}, ...), the data {len(data)} "
            f"({', '.join(data[:3])}, ...): use the data set it was trained on"
        )
