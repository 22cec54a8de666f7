"""The same few validation clips after every validation, to be heard and looked at in W&B or TensorBoard."""

from contextlib import suppress

import torch
from pytorch_lightning import LightningModule, Trainer

from datamodules.errors import DataError
from tasks.callbacks import log_media
from tasks.tagging.ladder import File2Tags
from tasks.tagging.maps import attention_figure, explain, strongest
from tasks.tagging.options import InferenceOptions

SECONDS = 30


def log_examples(trainer: Trainer, tagger: LightningModule, count: int) -> None:
    """Log audio, tags and attention of the first `count` validation clips."""
    clips = trainer.datamodule.clips("validation")
    for clip in range(min(count, len(clips))):
        with suppress(DataError):  # the validation itself has named this file
            _log(trainer, tagger, clips, clip)


def _log(trainer: Trainer, tagger: LightningModule, clips, clip: int) -> None:
    rate, path = tagger.net.sample_rate, clips.name(clip)
    audio = torch.as_tensor(clips.read(clip, 0, min(clips.length(clip), SECONDS * rate))).float() / 32768
    tags = File2Tags(tagger, inference=InferenceOptions()).tagged(path, audio)  # its probabilities alone are used
    truth = dict(zip(tagger.tags, clips.labels[clip].tolist(), strict=True))
    rows = [(tag, round(score, 4), int(truth[tag])) for tag, score in tags.top(len(tagger.tags))]
    figure = None
    if getattr(tagger.net, "explains", False):
        figure = attention_figure(explain(tagger, strongest(tagger, audio, tags.chunks)), path)
    columns = ("tag", "probability", "labelled")
    log_media(trainer, f"val/example_{clip}", figure=figure, audio=(audio, rate), table=(columns, rows), caption=path)
