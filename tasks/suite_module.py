"""Base class of the five LightningModules: connection to the data, optimizer, validated scores, refusal of other labels."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import pytorch_lightning as pl
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torchmetrics import Metric

from datamodules.common.base import SuiteDataModule
from datamodules.common.errors import DataError

# Result of `predict` for one input.


class PredictionResult(NamedTuple):
    """Value of one input, or the error in its place; returned by every `predict_step`."""

    path: str
    value: Any
    error: str | None = None


ExportProgram = tuple[nn.Module, tuple[Tensor, ...], dict | None, list[tuple[Tensor, ...]]]
"""Program, example inputs, free dimensions, and further inputs that `export` checks it with."""


class SuiteModule(pl.LightningModule):
    """LightningModule of one task.

    Subclasses give `input_spec`, `epoch_metrics`, `check_data`, `initialize_from` and, where they are exported, `export_program`.

    Args:
        optimizer: called with the trained parameters
        scheduler: called with the optimizer; None: a constant learning rate
        scheduler_interval: when it steps: after every optimizer `step` or every `epoch`
    """

    def __init__(
        self, optimizer: OptimizerCallable, scheduler: LRSchedulerCallable | None = None, scheduler_interval: str = "step"
    ) -> None:
        super().__init__()
        self._optimizer, self._scheduler, self._interval = optimizer, scheduler, scheduler_interval
        # Scores of the last validation, by which `compare` may choose among seeds; part of the checkpoint.
        self.validated: dict[str, float] = {}

    # for subclasses

    def input_spec(self) -> Any:
        """Input specification for the data's `connect` (`datamodules.common.input_spec`); None: the data need none."""
        return None

    def epoch_metrics(self) -> Iterable[Metric]:
        """Metrics that are reset before each validation and test."""
        raise NotImplementedError

    def check_data(self, datamodule: SuiteDataModule) -> None:
        """Compare the data of `fit`, `validate` and `test` with the network. Raises DataError where they do not fit."""

    def initialize_from(self, datamodule: SuiteDataModule) -> None:
        """Take what `fit` starts from, such as statistics of the training set, on every rank alike."""

    def predict_input(self, batch: Any) -> Any:
        """Value for one of the user's inputs, as the writer of `predict` takes it. Raises DataError where there is none."""
        raise NotImplementedError

    def trained_parameters(self) -> list[nn.Parameter]:
        """Parameters of the optimizer, in an order that never changes: its state is restored by position."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    # hooks of Lightning

    def setup(self, stage: str) -> None:
        """Connect the data before the loaders are built; refuse data that do not fit; in `fit` initialize from them."""
        datamodule = self.trainer.datamodule
        datamodule.connect(self.input_spec())
        if stage != "predict":
            self.check_data(datamodule)
        if stage == "fit":
            self.initialize_from(datamodule)

    def on_validation_epoch_start(self) -> None:
        """Reset the metrics; the scores of the epoch before stay readable until then."""
        for metric in self.epoch_metrics():
            metric.reset()

    def on_test_epoch_start(self) -> None:
        """Reset the metrics."""
        for metric in self.epoch_metrics():
            metric.reset()

    @property
    def learns_from_validation(self) -> bool:
        """True in validations of `fit`, its sanity check aside: they set the checkpoint's thresholds and scores."""
        return self.trainer.state.fn == "fit" and not self.trainer.sanity_checking

    def predict_step(self, batch: Any) -> PredictionResult:
        """Result for one of the user's inputs; an error ends the run only with --data.strict true."""
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
        """Restore the scores of the validation before the weights were saved."""
        self.validated = checkpoint.get("validated", {})

    def configure_optimizers(self) -> Any:
        """Optimizer of the trained parameters, and its scheduler."""
        optimizer = self._optimizer(self.trained_parameters())
        if self._scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self._scheduler(optimizer), "interval": self._interval}}


def refuse_other_labels(what: str, trained: Sequence[str], data: Sequence[str]) -> None:
    """Compare the labels of a network with those of the data, in order.

    Args:
        what: plural noun, such as `tags`
        trained: labels that the network was built for
        data: labels of the data

    Raises:
        DataError: they differ.
    """
    if list(trained) != list(data):
        raise DataError(
            f"the network was built for {len(trained)} {what} ({', '.join(trained[:3])}, ...), the data has {len(data)} "
            f"({', '.join(data[:3])}, ...): use the data set it was trained on"
        )
