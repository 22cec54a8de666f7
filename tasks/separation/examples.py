"""The same few validation pieces after every validation, to be heard and looked at in W&B or TensorBoard."""

from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from tasks.callbacks import log_media
from tasks.separation.columns import Columns


def log_examples(trainer: Trainer, separator: LightningModule, count: int) -> None:
    """Log stems and estimates of `count` validation pieces, each of another track where there are as many."""
    data = trainer.datamodule
    pieces = data.validation_set()
    step = max(1, len(pieces) // count)
    for example in range(min(count, len(pieces))):
        piece = pieces[example * step]
        if piece is None:  # the validation itself has named this track
            continue
        batch = data.collate([piece])
        stems, mixture = (part.to(separator.device) for part in batch.waveforms())
        estimates = separator(mixture)
        title = f"{batch.names[0]}, {float(batch.start[0]):.0f} s"
        _log(trainer, separator, f"val/example_{example}", title, stems[0].cpu(), estimates[0].float().cpu())


def _log(trainer: Trainer, separator: LightningModule, name: str, title: str, stems: Tensor, estimates: Tensor) -> None:
    from tasks.figures.separation import estimate_grid

    rate = separator.net.sample_rate
    levels = []
    for signals in (stems, estimates):
        columns = Columns(rate, len(signals))
        columns.push(signals)
        level, hop_s = columns.close()
        levels.append(level)
    figure = estimate_grid(
        *levels, names=separator.sources, mel_hertz=columns.hertz, hop_s=hop_s, title=f"{title}: true stems and estimates"
    )
    log_media(trainer, name, figure=figure, caption=title)
    for source, estimate in zip(separator.sources, estimates, strict=True):
        log_media(trainer, f"{name}_{source}", audio=(estimate.T, rate), caption=f"{title}: {source}")
