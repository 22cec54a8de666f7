"""Figures, audio and tables of a few fixed examples -> W&B, TensorBoard or the run folder."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_warn

from datamodules.audio.level import downmix
from tasks.cli.lightning_internals import logged_steps
from tasks.reporting.tables import write_csv
from tasks.writers.output_files import save_png, whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure


MAX_SECONDS, MAX_ROWS, MAX_PIXELS = 30.0, 200, 1600


def shows_media(trainer: pl.Trainer) -> bool:
    """True if this rank logs to W&B or TensorBoard."""
    return trainer.is_global_zero and any(isinstance(x, (WandbLogger, TensorBoardLogger)) for x in trainer.loggers)


def log_media(
    trainer: pl.Trainer,
    name: str,
    figure: "Figure | None" = None,
    audio: tuple[Any, int] | None = None,
    table: tuple[Sequence[str], Sequence[Sequence[Any]]] | None = None,
    caption: str = "",
) -> None:
    """Log to W&B and TensorBoard, or without them into `figures/` of the run folder, replacing older files.

    Call it on every rank with the same validation examples each time; only rank 0 logs, and not in the sanity check.

    Args:
        trainer: Trainer
        name: name such as "val/example_0"
        figure: matplotlib figure, drawn at most MAX_PIXELS wide
        audio: samples (frames,) or (frames, channels) in [-1, 1), and their rate (Hz); the first MAX_SECONDS are logged
        table: column names and rows; the first MAX_ROWS are logged
        caption: caption in W&B
    """
    if not trainer.is_global_zero or trainer.sanity_checking or trainer.fast_dev_run:
        return
    step = logged_steps(trainer)
    if audio is not None:
        samples = torch.as_tensor(audio[0]).detach().cpu().float().numpy()
        audio = np.clip(samples[: int(MAX_SECONDS * audio[1])], -1, 1), int(audio[1])
    if table is not None:
        table = list(table[0]), [list(row) for row in table[1]][:MAX_ROWS]
    if figure is not None:
        figure.set_dpi(min(figure.dpi, MAX_PIXELS / figure.get_figwidth()))
    logged = False
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            _to_wandb(logger, name, figure, audio, table, caption, step)
        elif isinstance(logger, TensorBoardLogger):
            _to_tensorboard(logger, name, figure, audio, table, step)
        else:
            continue
        logged = True
    if not logged:
        _to_folder(Path(trainer.default_root_dir) / "figures", name, figure, audio, table)


def _to_wandb(logger: WandbLogger, name: str, figure: Any, audio: Any, table: Any, caption: str, step: int) -> None:
    if figure is not None:
        from PIL import Image

        drawn = io.BytesIO()
        save_png(figure, drawn)
        logger.log_image(name, [Image.open(drawn)], step=step, caption=[caption])
    if audio is not None:
        logger.log_audio(f"{name}_audio", [audio[0]], step=step, sample_rate=[audio[1]], caption=[caption])
    if table is not None:
        logger.log_table(f"{name}_table", columns=table[0], data=table[1], step=step)


def _to_tensorboard(logger: TensorBoardLogger, name: str, figure: Any, audio: Any, table: Any, step: int) -> None:
    if figure is not None:
        logger.experiment.add_figure(name, figure, step, close=False)
    if audio is not None:
        mono, _ = downmix(audio[0].reshape(len(audio[0]), -1))
        logger.experiment.add_audio(f"{name}_audio", torch.from_numpy(mono)[None], step, audio[1])
    if table is not None:
        lines = [table[0], ["---"] * len(table[0]), *table[1]]
        logger.experiment.add_text(f"{name}_table", "\n".join(" | ".join(map(str, line)) for line in lines), step)


def _to_folder(folder: Path, name: str, figure: Any, audio: Any, table: Any) -> None:
    path = folder / name.replace("/", "_")
    try:
        if figure is not None:
            with whole(path.with_name(f"{path.name}.png")) as temporary:
                save_png(figure, temporary)
        if audio is not None:
            import soundfile

            with whole(path.with_name(f"{path.name}.wav")) as temporary:
                soundfile.write(temporary, *audio, format="WAV")
        if table is not None:
            write_csv(path.with_name(f"{path.name}.csv"), [dict(zip(table[0], row, strict=True)) for row in table[1]])
    except (OSError, RuntimeError) as error:  # soundfile raises the latter
        rank_zero_warn(f"{path} could not be written ({error}): training continues.")
