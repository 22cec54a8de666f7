"""The same few validation clips after every validation, to be heard and looked at in W&B or TensorBoard."""


import torch
from pytorch_lightning import LightningModule, Trainer

from tasks.callbacks import log_media
from tasks.sed.pictures import clip_timeline


def log_examples(trainer: Trainer, detector: LightningModule, count: int) -> None:
    """Log audio, timeline and tags of the first `count` validation clips."""
    found, decision = detector.found[detector.evaluate], detector.decision("fixed")
    clips, tags = trainer.datamodule.clips("validation"), found.corpus.tags()
    for clip in range(min(count, len(found.corpus.names))):
        name = found.corpus.names[clip]
        audio = torch.from_numpy(clips.item(int(found.clip[clip])).audio).float() / 32768
        rows = [
            (label, round(float(found.probabilities[clip, k]), 4), int(tags[clip, k])) for k, label in enumerate(detector.classes)
        ]
        log_media(
            trainer,
            f"val/example_{clip}",
            figure=clip_timeline(trainer, detector, found, clip, decision, "validation"),
            audio=(audio, detector.net.sample_rate),
            table=(("class", "probability", "labelled"), rows),
            caption=name,
        )
