"""What `test` and `validate` leave of a separator: scores per track in museval's schema, metrics.json, tables, pictures."""

import hashlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from datamodules.errors import DataError, counted
from datamodules.separation import TrackBatch
from tasks.metrics.separation import SeparationScores
from tasks.report import Report
from tasks.results import heading as shared_heading
from tasks.run_info import run_info
from tasks.separation import results
from tasks.separation.coverage import settings_of
from tasks.separation.examples import log_examples
from tasks.separation.oracles import baselines
from tasks.separation.track_evaluator import Scoring, TrackEvaluator


class SeparationReport(Report):
    """Score every test track by BSSEval v4, write and print the table; tracks scored before are not separated again.

    Args:
        bss: `sdr` alone, or `full`: ISR, SIR and SAR too, which take some seconds a minute of audio
        evaluator: this suite's own, or the official package `museval` for confirmation
        processes: that score tracks while the next is separated; 0: none beside this one
        baselines: `test` also scores silence, the mixture, the mixture divided by the number of stems and ideal masks
        examples: validation pieces that W&B or TensorBoard gets after each validation (audio and spectrograms)
    """

    def __init__(
        self,
        bss: Literal["sdr", "full"] = "full",
        evaluator: Literal["quintet", "museval"] = "quintet",
        processes: int = 0,
        baselines: bool = False,
        examples: int = 2,
    ) -> None:
        if processes < 0 or examples < 0:
            raise ValueError(f"--report.processes and --report.examples must not be negative: {processes}, {examples}")
        self.bss, self.evaluator, self.processes = bss, evaluator, processes
        self.baselines, self.examples = baselines, examples

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the folder of scores; what it holds of the same weights and settings counts."""
        scoring = Scoring(
            tuple(pl_module.sources), pl_module.net.sample_rate, self.bss, self.evaluator, system=_fingerprint(pl_module)
        )
        self.tracks = TrackEvaluator(Path(trainer.default_root_dir) / "tracks", scoring, self.processes)
        self.unread: dict[str, str] = {}
        self.others: dict[str, list[np.ndarray]] = {}
        known = () if run_info(trainer).overwrite else trainer.datamodule.tracks("test")
        pl_module.skip_tracks({track.name for track in known if self.tracks.done(track.name)})

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: TrackBatch, *_: Any) -> None:
        """Score the track that was just separated."""
        if batch.error:
            self.unread[batch.name] = batch.error
            return
        stems, mixture = batch.waveforms()
        if outputs is None:
            self.tracks.keep(batch.name, batch.index)
        else:
            self.tracks.submit(batch.name, batch.index, _interleaved(stems), _interleaved(outputs))
        if self.baselines:
            for name, sdr in baselines(stems, mixture, pl_module).items():
                self.others.setdefault(name, []).append(sdr)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait for the last tracks and log the scores, the same on every rank."""
        self.results = self.tracks.finish()
        self.scores = SeparationScores(pl_module.sources).to(pl_module.device)
        for result in self.results:
            if result.error is None:
                self.scores.update(result.index, result.medians, result.usdr)
        self.metrics = self.scores.compute()
        if not self.metrics["n_tracks"]:
            raise DataError(f"no track of the test split could be scored ({self._first_fault()}): {trainer.datamodule.advice()}")
        pl_module.log_dict({f"test/{name}": value for name, value in self.metrics.items()}, rank_zero_only=False)

    def report(self, trainer: Trainer, pl_module: LightningModule, split: str) -> None:
        """The scores of whole tracks; of the validation split those of pieces, without Wiener filter."""
        if split == "validation":
            if trainer.is_global_zero and not trainer.fast_dev_run:
                results.write_validation(Path(trainer.default_root_dir) / "metrics_validation.json", trainer)
            return
        rows = self.scores.scores()  # gathers: every rank takes part
        failed = {result.name: result.error for result in self.results if result.error}
        mine = ({result.index: result.name for result in self.results}, {**self.unread, **failed}, self.others)
        ranks = _of_all_ranks(trainer, mine)
        if not trainer.is_global_zero or trainer.fast_dev_run:
            return
        names, faults = ({key: value for rank in ranks for key, value in rank[i].items()} for i in (0, 1))
        others = {name: np.nanmedian(np.concatenate([rank[2].get(name, []) for rank in ranks]), axis=0) for name in self.others}
        folder, sources, told = Path(trainer.default_root_dir), pl_module.sources, results.about(trainer)
        heading = f"{shared_heading(told, counted(len(rows.track), 'track'))}, {results.POLICY}"
        results.write_tracks(folder / "tracks.csv", rows, names, sources)
        results.write_metrics(trainer, pl_module, self.metrics, others)
        results.draw_tracks(folder / "figures" / "tracks.png", rows, sources, heading)
        results.print_table(sources, self.metrics, others, heading, folder)
        for name, fault in faults.items():
            print(f"not scored: {name}: {fault}", flush=True)

    def show_examples(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stems and estimates of validation pieces."""
        log_examples(trainer, pl_module, self.examples)

    def _first_fault(self) -> str:
        faults = [*self.unread.values(), *(result.error for result in self.results if result.error)]
        return faults[0] if faults else "there is none"


def _fingerprint(separator: LightningModule) -> str:
    """Sixteen hex digits for weights and settings of separation."""
    settings = settings_of(separator)
    # The residual is named where there is one: scores kept before it was an option stay valid.
    digest = hashlib.sha256(f"{settings!r}{' residual' if settings.residual else ''}".encode())
    for name, value in separator.separating.state_dict().items():
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _interleaved(stems: Tensor) -> np.ndarray:
    """(sources, channels, samples) as (sources, samples, channels) float32."""
    return stems.detach().float().cpu().transpose(1, 2).contiguous().numpy()


def _of_all_ranks(trainer: Trainer, mine: Any) -> list[Any]:
    """An object of every rank."""
    if trainer.world_size == 1:
        return [mine]
    ranks: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(ranks, mine)
    return ranks
