"""The tagger that Lightning trains: any tagging network, its loss, its schedule and its exact scores."""

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
from tasks.tagging.inference import File2Tags, FileTags, tagger_window
from tasks.tagging.metrics import ClipScores, TaggingScores
from tasks.tagging.options import TaggingOptions

# A tagger as one function of a waveform, written so that torch.export can freeze it with its front end inside.


class TaggingProgram(nn.Module):
    """Waveform (samples,) float32 at the network's rate -> probabilities (tags,); equals `Audio2Tags` with `cover`.

    Any length from one chunk on; pad a shorter recording with zeros.
    """

    def __init__(self, tagger: nn.Module) -> None:
        super().__init__()
        self.net, self.window = tagger.net, tagger_window(tagger)
        self.chunk_units = units(self.window)
        self.mels = [m for m in tagger.net.modules() if isinstance(m, LogMel) and m.top_db is not None]

    def forward(self, audio: Tensor) -> Tensor:
        """Weighted mean over chunks that follow one another, the last one flush with the end."""
        window, one = self.window, self.chunk_units
        whole = audio.shape[0] // window.hop + (1 if window.lead else 0)
        grid = torch.arange(whole, device=audio.device)
        # Counted by `nonzero`, the number of chunks is a symbol of its own to torch.export, not a fraction of a length.
        starts = (grid % one == 0).nonzero().squeeze(1).clamp(max=whole - one)
        torch._check(starts.shape[0] > 0)
        padded = nn.functional.pad(audio, (window.lead, window.samples))
        places = starts[:, None] * window.hop + torch.arange(window.samples, device=audio.device)
        chunks = padded[places]
        scores = self.net(chunks, self._level(chunks)).sigmoid()
        ends = starts + one
        weights = torch.diff(ends, prepend=ends.new_zeros(1)) / whole
        return weights.to(scores.dtype) @ scores

    def _level(self, chunks: Tensor) -> Tensor | None:
        """Peak of the whole recording: its chunks hold every frame; a floor at minus infinity changes none."""
        if not self.mels:
            return None
        floor = chunks.new_full((1,), float("-inf"))
        return self.mels[0](chunks, floor).amax().expand(chunks.shape[0])

    def lengths(self) -> list[int]:
        """Two lengths in samples to check a frozen program on."""
        return [int(2.6 * self.window.samples), 5 * self.window.samples + 321]


EVALUATED_AT_ONCE = 128  # chunks


class TaggingModule(SuiteModule):
    """Multi-label tagger over chunks of audio, scored per clip.

    Args:
        tags: names of the outputs, in order (comes from the data set)
        net: network class; called with the number of tags (`models.tagging`)
        optimizer: optimizer of all parameters; the paper's first phase is Adam at 1e-4
        scheduler: learning-rate scheduler
        scheduler_interval: when it steps: after every optimizer `step` or every `epoch`
        loss: loss on logits (chunks, tags) against labels in {0, 1}
        inference: how `predict` chooses the tags of a recording
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
        # Decision thresholds, learned on the validation split; part of the checkpoint.
        self.register_buffer("thresholds", torch.full((len(self.tags),), 0.5))
        # Slopes and intercepts of calibrated scores, learned there too.
        self.register_buffer("calibration", torch.tensor([[1.0], [0.0]]).repeat(1, len(self.tags)))

    def input_spec(self) -> TaggingSpec:
        """Chunks, and the network's reading of a clip's reference level, on the CPU, where loaders run."""
        extractor = copy.deepcopy(self.net).cpu()
        needed = extractor.clip_level(torch.zeros(1, self.net.samples)) is not None
        return TaggingSpec(tagger_window(self), extractor.clip_level if needed else None)

    def check_data(self, datamodule: TaggingDataModule) -> None:
        """Refuse labels of another order."""
        refuse_other_labels("tags", self.tags, datamodule.tags)

    def epoch_metrics(self) -> tuple[Metric, ...]:
        """Scores of clips, and the loss."""
        return self.scores, self.validation_loss

    def trained_parameters(self) -> list[nn.Parameter]:
        """All parameters, frozen ones too."""
        return list(self.parameters())

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

    def on_validation_epoch_end(self) -> None:
        """Log the exact scores, the same on every rank, and keep each tag's best threshold."""
        scores = self._log_scores("val")
        if self.learns_from_validation:
            self.validated = scores
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

    def on_predict_start(self) -> None:
        """Prepare the tagging of files, by the thresholds of the loaded weights."""
        self.file_tags = File2Tags(self)

    def predict_input(self, batch: FileBatch) -> FileTags:
        """Tags of one of the user's files."""
        return self.file_tags.tagged(batch.path, batch.audio, batch.remark)

    def export_program(self) -> ExportProgram:
        """Program from audio (samples,) of any length to tags."""
        program = TaggingProgram(self)
        noise = torch.Generator().manual_seed(0)
        example, *others = [(0.1 * torch.randn(length, generator=noise),) for length in program.lengths()]
        free = torch.export.Dim("samples", min=self.net.samples, max=2**31 - 1)
        return program, example, {"audio": {0: free}}, others

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Load; a checkpoint written before scores were calibrated has no calibration."""
        state_dict.setdefault(f"{prefix}calibration", torch.tensor([[1.0], [0.0]]).repeat(1, len(self.tags)))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _log_scores(self, prefix: str) -> dict[str, float]:
        scores = {name: float(value) for name, value in self.scores.compute().items()}
        if not scores["n_clips"]:
            raise DataError(f"no clip of the {prefix} split could be read: {self.trainer.datamodule.advice()}")
        values = {f"{prefix}/{name}": value for name, value in scores.items()}
        self.log_dict({f"{prefix}/loss": self.validation_loss.compute()} | values, prog_bar=False, rank_zero_only=False)
        return scores
