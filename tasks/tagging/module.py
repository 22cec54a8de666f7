"""The tagger that Lightning trains: any tagging network, its loss, its schedule and its exact scores."""

import copy
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torchmetrics import MeanMetric

from datamodules.errors import DataError
from datamodules.files import FileBatch
from datamodules.tagging import TaggingBatch
from tasks.metrics.calibration import fit_calibration
from tasks.metrics.events.choice import clip_thresholds
from tasks.metrics.events.sweep import clip_based
from tasks.metrics.tagging import ClipScores, TaggingScores
from tasks.tagging.ladder import File2Tags, FileTags, tagger_window
from tasks.tagging.program import ClipProgram

EVALUATED_AT_ONCE = 128  # chunks


class Tagger(pl.LightningModule):
    """Multi-label tagger over chunks of audio, scored per clip.

    Args:
        tags: names of the outputs, in order (comes from the data set)
        net: network class; called with the number of tags (`models.tagging`)
        optimizer: optimizer of all parameters; the paper's first phase is Adam at 1e-4
        scheduler: learning-rate scheduler
        scheduler_interval: when it steps: after every optimizer `step` or every `epoch`
        loss: loss on logits (chunks, tags) against labels in {0, 1}
    """

    def __init__(
        self,
        tags: list[str],
        net: Callable[[int], nn.Module],
        optimizer: OptimizerCallable = lambda p: torch.optim.Adam(p, lr=1e-4),
        scheduler: LRSchedulerCallable | None = None,
        scheduler_interval: Literal["step", "epoch"] = "step",
        loss: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)  # the run record logs the whole config
        self.tags = list(tags)
        self.net = net(len(self.tags))
        self.loss = loss or nn.BCEWithLogitsLoss()
        self._optimizer, self._scheduler, self._interval = optimizer, scheduler, scheduler_interval
        self.scores = TaggingScores()
        self.validation_loss = MeanMetric()
        # Decision thresholds, learned on the validation split; part of the checkpoint.
        self.register_buffer("thresholds", torch.full((len(self.tags),), 0.5))
        # Slopes and intercepts of calibrated scores, learned there too.
        self.register_buffer("calibration", torch.tensor([[1.0], [0.0]]).repeat(1, len(self.tags)))

    def hand_over(self, datamodule: pl.LightningDataModule) -> None:
        """Tell the data what a chunk is, and give it the network's reading of a clip's reference level."""
        datamodule.window = tagger_window(self)
        extractor = copy.deepcopy(self.net).cpu()
        needed = extractor.clip_level(torch.zeros(1, self.net.samples)) is not None
        datamodule.clip_level = extractor.clip_level if needed else None

    def setup(self, stage: str) -> None:
        """Hand the network's window to the data before the loaders are built; refuse labels of another order."""
        datamodule = self.trainer.datamodule
        self.hand_over(datamodule)
        if stage != "predict" and list(datamodule.tags) != self.tags:
            raise DataError(
                f"the network was built for {len(self.tags)} tags ({', '.join(self.tags[:3])}, ...), the data has "
                f"{len(datamodule.tags)} ({', '.join(datamodule.tags[:3])}, ...): use the data set it was trained on"
            )

    def forward(self, audio: Tensor, level: Tensor | None = None) -> Tensor:
        """Logits (chunks, tags) of audio (chunks, samples)."""
        return self.net(audio, level)

    def training_step(self, batch: TaggingBatch) -> Tensor:
        """Loss of one batch of random crops."""
        loss = self.loss(self(batch.audio, batch.level).float(), batch.labels)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch.audio))
        return loss

    def validation_step(self, batch: TaggingBatch) -> None:
        """Collect the chunk probabilities of whole clips; a batch of unreadable ones has none."""
        if not len(batch.audio):
            return
        # In pieces: a clip of an hour has 880 chunks, and all chunks of a clip come in one batch.
        pieces = zip(batch.audio.split(EVALUATED_AT_ONCE), batch.level.split(EVALUATED_AT_ONCE), strict=True)
        logits = torch.cat([self(audio, level).float() for audio, level in pieces])
        self.validation_loss.update(self.loss(logits, batch.labels), len(batch.audio))
        self.scores.update(torch.sigmoid(logits), batch.labels, batch.clip, batch.weight)

    test_step = validation_step

    def on_validation_epoch_start(self) -> None:
        """Forget the clips of the epoch before; they stay readable until then."""
        self.scores.reset()
        self.validation_loss.reset()

    on_test_epoch_start = on_validation_epoch_start

    def on_validation_epoch_end(self) -> None:
        """Log the exact scores, the same on every rank, and keep each tag's best threshold."""
        self._log_scores("val")
        if self.trainer.state.fn == "fit" and not self.trainer.sanity_checking:
            self._learn_decisions(self.scores.scores())

    def _learn_decisions(self, rows: ClipScores) -> None:
        """Keep thresholds that hold up under cross-validation, and the calibration, of validation clips."""
        if np.isfinite(rows.probabilities).all():
            labels = rows.labels.astype(bool)
            least = clip_thresholds(lambda chosen: clip_based(rows.probabilities[chosen], labels[chosen]), len(labels))
            self.thresholds.copy_(torch.as_tensor(least))
            self.calibration.copy_(torch.as_tensor(fit_calibration(rows.probabilities, rows.labels)))

    def on_test_epoch_end(self) -> None:
        """Log the exact scores of the test split; the report reads `self.scores` after this."""
        self._log_scores("test")

    def predict_step(self, batch: FileBatch) -> FileTags | None:
        """Tags of one of the user's files; None for a file that could not be read."""
        return None if batch.error else File2Tags(self).tagged(batch.path, batch.audio, batch.remark)

    def export_program(self) -> tuple[nn.Module, tuple[Tensor, ...], dict, list[tuple[Tensor, ...]]]:
        """What `export` freezes: the program, an example input, its free dimension, further inputs to check."""
        program = ClipProgram(self)
        noise = torch.Generator().manual_seed(0)
        example, *others = [(0.1 * torch.randn(length, generator=noise),) for length in program.lengths()]
        free = torch.export.Dim("samples", min=self.net.samples, max=2**31 - 1)
        return program, example, {"audio": {0: free}}, others

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Load; a checkpoint written before scores were calibrated has no calibration."""
        state_dict.setdefault(f"{prefix}calibration", torch.tensor([[1.0], [0.0]]).repeat(1, len(self.tags)))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _log_scores(self, prefix: str) -> None:
        scores = self.scores.compute()
        if not scores["n_clips"]:
            raise DataError(f"no clip of the {prefix} split could be read: {self.trainer.datamodule.advice()}")
        values = {f"{prefix}/loss": self.validation_loss.compute()} | {f"{prefix}/{k}": float(v) for k, v in scores.items()}
        self.log_dict(values, prog_bar=False, rank_zero_only=False)

    def configure_optimizers(self) -> dict | torch.optim.Optimizer:
        """Optimizer of all parameters, and its scheduler."""
        optimizer = self._optimizer(self.parameters())
        if self._scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self._scheduler(optimizer), "interval": self._interval}}
