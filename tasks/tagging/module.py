"""LightningModule of music tagging: chunks of waveform -> tag logits, and clip-based scores."""

import copy
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric

from datamodules.audio.files import FileBatch
from datamodules.audio.windows import units
from datamodules.common.errors import DataError
from datamodules.common.input_spec import TaggingSpec
from datamodules.tagging.data import TaggingBatch, TaggingDataModule
from models.blocks.features import LogMel
from tasks.metrics.events.sweep import clip_based
from tasks.metrics.events.tuning import clip_thresholds
from tasks.suite_module import ExportProgram, SuiteModule, refuse_other_labels
from tasks.tagging.decisions import fit_calibration
from tasks.tagging.inference import Audio2Tags, TaggingResult, tagger_window
from tasks.tagging.metrics import ClipScores, TaggingScores
from tasks.tagging.options import TaggingOptions


class TaggingProgram(nn.Module):
    """Export program of the tagger: waveform (samples,) float32 at the network's sample rate -> probabilities (tags,).

    The scores equal those of `Audio2Tags` with the policy `cover`. The waveform has at least one chunk; pad a shorter
    one with zeros.
    """

    def __init__(self, tagger: nn.Module) -> None:
        super().__init__()
        self.net, self.window = tagger.net, tagger_window(tagger)
        self.chunk_units = units(self.window)
        self.mels = [m for m in tagger.net.modules() if isinstance(m, LogMel) and m.top_db is not None]

    def forward(self, audio: Tensor) -> Tensor:
        """Weighted mean over consecutive chunks; the last one ends with the recording."""
        window, length = self.window, self.chunk_units
        whole = audio.shape[0] // window.hop + (1 if window.lead else 0)
        grid = torch.arange(whole, device=audio.device)
        # `nonzero` makes the number of chunks a new symbol for torch.export instead of a fraction of the length.
        starts = (grid % length == 0).nonzero().squeeze(1).clamp(max=whole - length)
        torch._check(starts.shape[0] > 0)
        padded = nn.functional.pad(audio, (window.lead, window.samples))
        positions = starts[:, None] * window.hop + torch.arange(window.samples, device=audio.device)
        chunks = padded[positions]
        scores = self.net(chunks, self._level(chunks)).sigmoid()
        ends = starts + length
        weights = torch.diff(ends, prepend=ends.new_zeros(1)) / whole
        return weights.to(scores.dtype) @ scores

    def _level(self, chunks: Tensor) -> Tensor | None:
        """Peak level of the recording over all chunks, (chunks,) dB; the floor of minus infinity disables clamping."""
        if not self.mels:
            return None
        floor = chunks.new_full((1,), float("-inf"))
        return self.mels[0](chunks, floor).amax().expand(chunks.shape[0])

    def lengths(self) -> list[int]:
        """Two lengths in samples for checks of the exported program."""
        return [int(2.6 * self.window.samples), 5 * self.window.samples + 321]


CHUNKS_PER_PASS = 128  # in validation and test


class TaggingModule(SuiteModule):
    """Multi-label tagging of audio chunks (Won et al. 2019), scored per clip.

    Args:
        tags: names of the outputs, in order (comes from the data set)
        net: network class; called with the number of tags (`models.tagging`)
        optimizer: optimizer of all parameters; the paper's first phase is Adam at 1e-4
        scheduler: learning-rate scheduler
        scheduler_interval: scheduler step after every optimizer `step` or every `epoch`
        loss: loss on logits (chunks, tags) against labels in {0, 1}
        inference: options of `predict`
    """

    def __init__(
        self,
        tags: list[str],
        net: Callable[[int], nn.Module],
        optimizer: OptimizerCallable = lambda p: torch.optim.Adam(p, lr=1e-4),
        scheduler: LRSchedulerCallable | None = None,
        scheduler_interval: Literal["step", "epoch"] = "step",
        loss: nn.Module | None = None,
        inference: TaggingOptions | None = None,
    ) -> None:
        super().__init__(optimizer, scheduler, scheduler_interval)
        self.save_hyperparameters(logger=False)  # the run record logs the whole config
        self.tags = list(tags)
        self.net = net(len(self.tags))
        self.loss = loss or nn.BCEWithLogitsLoss()
        self.inference = inference or TaggingOptions()
        self.scores = TaggingScores()
        self.validation_loss = MeanMetric()
        # Decision thresholds and calibration (slope, intercept) of each tag, learned on the validation split.
        self.register_buffer("thresholds", torch.full((len(self.tags),), 0.5))
        self.register_buffer("calibration", torch.tensor([[1.0], [0.0]]).repeat(1, len(self.tags)))

    def input_spec(self) -> TaggingSpec:
        """Chunk window and, if the network needs it, the function of a clip's reference level, on the CPU for the loaders."""
        extractor = copy.deepcopy(self.net).cpu()
        needed = extractor.clip_level(torch.zeros(1, self.net.samples)) is not None
        return TaggingSpec(tagger_window(self), extractor.clip_level if needed else None)

    def check_data(self, datamodule: TaggingDataModule) -> None:
        """Check that names and order of the tags match. Raises DataError if not."""
        refuse_other_labels("tags", self.tags, datamodule.tags)

    def epoch_metrics(self) -> tuple[Metric, ...]:
        """Clip scores and validation loss."""
        return self.scores, self.validation_loss

    def trained_parameters(self) -> list[nn.Parameter]:
        """All parameters, including frozen ones."""
        return list(self.parameters())

    def forward(self, audio: Tensor, level: Tensor | None = None) -> Tensor:
        """Audio (chunks, samples) and reference level (chunks,) in dB -> logits (chunks, tags)."""
        return self.net(audio, level)

    def training_step(self, batch: TaggingBatch) -> Tensor:
        """Loss of one batch of random crops."""
        loss = self.loss(self(batch.audio, batch.level).float(), batch.labels)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch.audio))
        return loss

    def validation_step(self, batch: TaggingBatch) -> None:
        """Collect the chunk probabilities of whole clips."""
        if not len(batch.audio):  # all its clips were unreadable
            return
        # A clip of an hour has 880 chunks, all in one batch.
        pieces = zip(batch.audio.split(CHUNKS_PER_PASS), batch.level.split(CHUNKS_PER_PASS), strict=True)
        logits = torch.cat([self(audio, level).float() for audio, level in pieces])
        self.validation_loss.update(self.loss(logits, batch.labels), len(batch.audio))
        self.scores.update(torch.sigmoid(logits), batch.labels, batch.clip, batch.weight)

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        """Log the scores of all ranks; in `fit` learn thresholds and calibration."""
        scores = self._log_scores("val")
        if self.learns_from_validation:
            self.validated = scores
            self._learn_decisions(self.scores.scores())

    def _learn_decisions(self, rows: ClipScores) -> None:
        """Store cross-validated thresholds and the calibration fitted to the validation clips."""
        if np.isfinite(rows.probabilities).all():
            labels = rows.labels.astype(bool)
            thresholds = clip_thresholds(lambda clips: clip_based(rows.probabilities[clips], labels[clips]), len(labels))
            self.thresholds.copy_(torch.as_tensor(thresholds))
            self.calibration.copy_(torch.as_tensor(fit_calibration(rows.probabilities, rows.labels)))

    def on_test_epoch_end(self) -> None:
        """Log the scores of the test split; the report reads `self.scores` afterwards."""
        self._log_scores("test")

    def on_predict_start(self) -> None:
        """Create the inference step with the thresholds of the loaded weights."""
        self.audio_tags = Audio2Tags(self)

    def predict_input(self, batch: FileBatch) -> TaggingResult:
        """Tags of one input file."""
        return self.audio_tags.native(batch.audio, batch.path, batch.remark)

    def export_program(self) -> ExportProgram:
        """`TaggingProgram` with the number of samples as its free dimension."""
        program = TaggingProgram(self)
        noise = torch.Generator().manual_seed(0)
        example, *others = [(0.1 * torch.randn(length, generator=noise),) for length in program.lengths()]
        free = torch.export.Dim("samples", min=self.net.samples, max=2**31 - 1)
        return program, example, {"audio": {0: free}}, others

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Load the state; earlier checkpoints have no `calibration`."""
        state_dict.setdefault(f"{prefix}calibration", torch.tensor([[1.0], [0.0]]).repeat(1, len(self.tags)))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _log_scores(self, prefix: str) -> dict[str, float]:
        scores = {name: float(value) for name, value in self.scores.compute().items()}
        if not scores["n_clips"]:
            raise DataError(f"no clip of the {prefix} split could be read: {self.trainer.datamodule.advice()}")
        values = {f"{prefix}/{name}": value for name, value in scores.items()}
        self.log_dict({f"{prefix}/loss": self.validation_loss.compute()} | values, prog_bar=False, rank_zero_only=False)
        return scores
