"""The detector that Lightning trains: a network on clips of three kinds of labels, its teacher, its exact scores."""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MeanMetric, Metric

from datamodules.audio.files import FileBatch
from datamodules.audio.windows import FrameGrid
from datamodules.common.errors import DataError
from datamodules.common.input_spec import SEDSpec
from datamodules.sed.data import SEDDataModule
from datamodules.sed.event_clips import SoundBatch
from losses.mean_teacher import clip_bce, clip_consistency, frame_bce, frame_consistency
from models.augment import Augmentation, AugmentedBatch, two_views
from models.extractors.extractor import Extractor
from models.sed import Detection
from models.sed.front import align as align_to_frames
from tasks.callbacks import MeanTeacher
from tasks.sed.inference import File2Events, FileEvents
from tasks.sed.metrics import HEADLINE, SedScores, Tuned, Tuning, fixed, tune
from tasks.sed.metrics import summary as summarise
from tasks.sed.options import DetectionOptions
from tasks.suite_module import ExportProgram, SuiteModule, refuse_other_labels

# What `export` freezes of a detector: one program from a clip of waveform to its scores, front end and head inside.

SECONDS = 10.0


class DetectionProgram(nn.Module):
    """Audio (samples,) float32 of 10 s at the network's rate, and each stream's embeddings (frames, dim) -> scores.

    Scores are frames (frames, classes) and clip (classes,). The clip is brought to its robust level, as a window is in
    `predict`. torch.export fixes the length of recurrent layers: fill up a shorter clip with zeros, cut a longer recording
    into windows.
    """

    def __init__(self, net: nn.Module, grid: FrameGrid) -> None:
        super().__init__()
        self.net, self.samples = net, round(SECONDS * net.sample_rate)
        self.frames = grid.count(self.samples)
        self.dims = {name: branch[0].in_features for name, branch in net.fusion.branches.items()}

    def forward(self, audio: Tensor, *embeddings: Tensor) -> tuple[Tensor, Tensor]:
        mel, _ = self.net.features(audio[None], level="robust")
        found = self.net(mel, None, {name: values[None] for name, values in zip(self.dims, embeddings, strict=True)})
        return found.frames[0], found.clip[0]

    def exported(self) -> tuple[nn.Module, tuple[Tensor, ...], None, list[tuple[Tensor, ...]]]:
        """The program, example inputs, no free dimension, further inputs to check: other noise, and a filled up clip."""
        noise = torch.Generator().manual_seed(0)

        def inputs() -> tuple[Tensor, ...]:
            audio = 0.1 * torch.randn(self.samples, generator=noise)
            return audio, *(torch.randn(self.frames, dim, generator=noise) for dim in self.dims.values())

        example, other, short = (inputs() for _ in range(3))
        short[0][len(short[0]) // 3 :] = 0
        return self, example, None, [other, short]


# What training minimises: cross entropy of what is labelled, and how far the student is from its teacher (section 2.3).


def supervised(student: Detection, view: AugmentedBatch, batch: SoundBatch) -> dict[str, Tensor]:
    """Cross entropy of weakly labelled clips, and of the frames of strongly labelled ones; 0 where there are none."""
    weak = batch.tagged & ~batch.timed
    return {
        "weak": clip_bce(student.clip, view.clip, weak),
        "strong": frame_bce(student.frames, view.frames, batch.timed, student.mask),
    }


def consistency_terms(student: Detection, teacher: Detection, weight: float) -> dict[str, Tensor]:
    """Squared differences between student and teacher over all clips, each times `weight`."""
    return {
        "clip_consistency": weight * clip_consistency(student.clip, teacher.clip),
        "frame_consistency": weight * frame_consistency(student.frames, teacher.frames, student.mask),
    }


# The learning rate of Boes and Van hamme 2021, section 4.3.1: an exponential ramp, then a decay at each step.


class RampDecay(LambdaLR):
    """Factor exp(-5 (1 - t / ramp)^2) up to step `ramp`, then decay^(t - ramp); all mean-teacher baselines ramp so.

    With the paper's lr 1e-3: 6.74e-6 at step 0, 2.865e-4 at 6,250, 1e-3 at 12,500, 1.533e-4 at 50,000.
    """

    def __init__(self, optimizer: Optimizer, ramp: int = 12_500, decay: float = 0.99995) -> None:
        super().__init__(optimizer, lambda step: factor(step, ramp, decay))


def factor(step: int, ramp: int, decay: float = 1.0) -> float:
    """Share of the full value at an optimizer step; `decay` per step once the ramp of `ramp` steps is over."""
    if step < ramp:
        return math.exp(-5.0 * (1.0 - step / ramp) ** 2)
    return decay ** (step - ramp)


class SEDModule(SuiteModule):
    """Tags and times of sound events; learns from weakly, strongly and not labelled clips.

    Args:
        classes: names of the outputs, in order (comes from the data set)
        net: network class; called with the number of classes (`models.sed`)
        extractors: pretrained networks whose embeddings the network's streams of these names take; called with their weights
            (`models.extractors`)
        weights: paths of the extractors' weights, by stream; a checkpoint holds the paths alone
        align: how embeddings are put on the network's frames: by `index` as in the paper, by `time` or `nearest` in time
        mean_teacher: keeps a second network, the average of the first one's weights, for consistency; null: none
        consistency: weight of the differences between student and teacher, of clips and frames alike
        consistency_ramp: steps over which that weight rises as the learning rate does; 0: constant, as in the paper
        augmentations: changes of the training batches at random (`models.augment`), in order
        independent: whether student and teacher see changes of their own, where these move no labels
        evaluate: which of the two `val/f1`, tuning, `predict` and `export` go by; both are scored
        optimizer: optimizer of the student; the paper's is Adam at 1e-3
        scheduler: learning-rate scheduler, stepped after every optimizer step
        mask_events: whether tuned decisions may drop events of classes that are no tags of their clip, where validation is
            better for it
        inference: how `predict` processes a recording and reads events off it
    """

    def __init__(
        self,
        classes: list[str],
        net: Callable[[int], nn.Module],
        extractors: dict[str, Callable[[str | None], Extractor]] | None = None,
        weights: dict[str, str] | None = None,
        align: Literal["index", "time", "nearest"] = "time",
        mean_teacher: MeanTeacher | None = None,
        consistency: float = 2.0,
        consistency_ramp: int = 0,
        augmentations: list[Augmentation] | None = None,
        independent: bool = True,
        evaluate: Literal["student", "teacher"] = "student",
        optimizer: OptimizerCallable = lambda p: torch.optim.Adam(p, lr=1e-3),
        scheduler: LRSchedulerCallable | None = None,
        mask_events: bool = True,
        inference: DetectionOptions | None = None,
    ) -> None:
        super().__init__(optimizer, scheduler)
        self.save_hyperparameters(logger=False)  # the run record logs the whole config
        self.classes = list(classes)
        self.net = net(len(self.classes))
        # Not registered: pretrained weights stay in their own files, whose fingerprint the embeddings bear.
        paths = weights or {}
        if unknown := set(paths) - set(extractors or {}):
            raise ValueError(f"weights are given for {', '.join(sorted(unknown))}, which is no stream of the network")
        object.__setattr__(self, "extractors", {name: make(paths.get(name)) for name, make in (extractors or {}).items()})
        self.align = partial(align_to_frames, how=align)
        self.mean_teacher = mean_teacher
        self.teacher = mean_teacher.teacher_of(self.net) if mean_teacher else None
        self.consistency, self.consistency_ramp = consistency, consistency_ramp
        self.augmentations, self.independent = list(augmentations or []), independent
        if evaluate == "teacher" and mean_teacher is None:
            raise ValueError("evaluate: teacher, but there is none: set --model.mean_teacher")
        self.evaluate = evaluate
        self.mask_events, self.inference = mask_events, inference or DetectionOptions()
        networks = ("student", "teacher") if mean_teacher else ("student",)
        self.scores = nn.ModuleDict({name: SedScores(self.grid.step) for name in networks})
        self.validation_loss = MeanMetric()
        self.tuned = Tuned(len(self.classes))  # best on the validation split, stored in the checkpoint

    def configure_callbacks(self) -> list[pl.Callback]:
        """The teacher follows the student."""
        return [self.mean_teacher] if self.mean_teacher else []

    @property
    def grid(self) -> FrameGrid:
        """When the network's frames are."""
        return FrameGrid(self.net.sample_rate, self.net.hop, self.net.factor)

    def input_spec(self) -> SEDSpec:
        """Frames, embeddings, and the features whose statistics the network is standardised by."""
        net = self.net

        def features(audio: Tensor) -> Tensor:
            return net.mel.log_mel(audio)[0][0]

        is_standardised = net.spectral and net.mel.by == "dataset"
        return SEDSpec(self.grid, self.align, self.extractors, features if is_standardised else None)

    def check_data(self, datamodule: SEDDataModule) -> None:
        """Refuse data of other classes."""
        refuse_other_labels("classes", self.classes, datamodule.classes)

    def initialize_from(self, datamodule: SEDDataModule) -> None:
        """Standardise by the training set's statistics."""
        if datamodule.spec.features is not None:
            self.net.set_statistics(*datamodule.statistics())

    def epoch_metrics(self) -> list[Metric]:
        """Scores of student and teacher, and the loss."""
        return [*self.scores.values(), self.validation_loss]

    def trained_parameters(self) -> list[nn.Parameter]:
        """Parameters of the student."""
        return list(self.net.parameters())

    def forward(self, audio: Tensor, lengths: Tensor | None = None, embeddings: dict[str, Tensor] | None = None) -> Detection:
        """Detection of audio (batch, samples), `lengths` (batch,) samples of it, and embeddings on the network's frames."""
        return self.net(*self.net.features(audio, lengths), embeddings)

    def training_step(self, batch: SoundBatch, batch_idx: int) -> Tensor:
        """Cross entropy of what is labelled, and how far the student is from its teacher."""
        ours, theirs = two_views(self._view(batch), self.augmentations, self.independent)
        student = self.net(ours.mel, ours.valid, ours.embeddings)
        parts = supervised(student, ours, batch)
        if self.teacher is not None:
            with torch.no_grad():
                teacher = self.teacher(theirs.mel, theirs.valid, theirs.embeddings)
            ramp = factor(self.global_step, self.consistency_ramp) if self.consistency_ramp else 1.0
            parts |= consistency_terms(student, teacher, self.consistency * ramp)
        loss = sum(parts.values())
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch.names))
        self.log_dict({f"train/{name}": part.detach() for name, part in parts.items()}, batch_size=len(batch.names))
        return loss

    def _view(self, batch: SoundBatch) -> AugmentedBatch:
        mel, valid = self.net.features(batch.audio, batch.length)
        gain = self.net.mel.gain if self.net.spectral else None
        group = batch.tagged.long() + 2 * batch.timed.long()
        return AugmentedBatch(mel, valid, batch.embeddings, batch.tags, batch.activity, group, gain, self.net.factor)

    def validation_step(self, batch: SoundBatch) -> None:
        """Collect the scores of whole clips by student and teacher; a batch of unreadable ones has none."""
        if not len(batch.names):
            return
        mel, valid = self.net.features(batch.audio, batch.length)
        for name, scores in self.scores.items():
            found = self._network(name)(mel, valid, batch.embeddings)
            scores.update(found.frames, found.mask, found.clip, batch.clip)
            if name == "student":
                self.validation_loss.update(clip_bce(found.clip, batch.tags, batch.tagged), len(batch.names))

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        """Log the exact scores, the same on every rank; keep the decisions that are best here."""
        scores = self._log_scores("validation", "val")
        if self.learns_from_validation:
            self.tuned.keep(tune(self.found[self.evaluate], self.mask_events))
            self.validated = scores

    def on_test_epoch_end(self) -> None:
        """Log the exact scores of the test split; the report reads `self.found` after this."""
        self._log_scores("test", "test")

    def _log_scores(self, split: str, prefix: str) -> dict[str, float]:
        """Log what both networks score by the fixed decision; returns it of the evaluated one."""
        corpus, self.found = self.trainer.datamodule.corpus(split), {}
        for name, scores in self.scores.items():
            self.found[name] = scores.rows(corpus)
        if not len(self.found["student"].clip):
            raise DataError(f"no clip of the {split} split could be read: {self.trainer.datamodule.advice()}")
        scores = {name: summarise(found, self.decision("fixed")) for name, found in self.found.items()}
        values = {f"{'' if name == 'student' else 'teacher_'}{key}": v for name, of in scores.items() for key, v in of.items()}
        values["loss"] = self.validation_loss.compute()
        values["f1"] = sum(scores[self.evaluate][key] for key in HEADLINE) / len(HEADLINE)
        self.log_dict({f"{prefix}/{key}": float(value) for key, value in values.items()}, rank_zero_only=False)
        return {key: float(value) for key, value in scores[self.evaluate].items()}

    def decision(self, thresholds: Literal["tuned", "fixed"]) -> Tuning:
        """How tags and events are read off probabilities: by what was best in validation, or as the paper does."""
        return self.tuned.tuning() if thresholds == "tuned" else fixed(len(self.classes))

    def on_predict_start(self) -> None:
        """Prepare the detection in files, by the thresholds of the loaded weights."""
        self.file_events = File2Events(self)

    def predict_input(self, batch: FileBatch) -> FileEvents:
        """Events of one of the user's files, which is read as it is needed."""
        return self.file_events(batch.path)

    def _network(self, name: str) -> nn.Module:
        return self.net if name == "student" else self.teacher

    @property
    def evaluated(self) -> nn.Module:
        """The network that `predict` and `export` use."""
        return self._network(self.evaluate)

    def export_program(self) -> ExportProgram:
        """Program from a clip of waveform to its scores, front end and head inside."""
        return DetectionProgram(self.evaluated, self.grid).exported()
