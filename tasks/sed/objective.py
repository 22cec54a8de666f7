"""What training minimises: cross entropy of what is labelled, and how far the student is from its teacher (section 2.3)."""

from torch import Tensor

from datamodules.event_clips import SoundBatch
from losses.consistency import clip_consistency, frame_consistency
from losses.labelled_bce import clip_bce, frame_bce
from models.augment import View
from models.sed import Detection


def supervised(student: Detection, view: View, batch: SoundBatch) -> dict[str, Tensor]:
    """Cross entropy of weakly labelled clips, and of the frames of strongly labelled ones; 0 where there are none."""
    weak = batch.tagged & ~batch.timed
    return {
        "weak": clip_bce(student.clip, view.clip, weak),
        "strong": frame_bce(student.frames, view.frames, batch.timed, student.mask),
    }


def consistency(student: Detection, teacher: Detection, weight: float) -> dict[str, Tensor]:
    """Squared differences between student and teacher over all clips, each times `weight`."""
    return {
        "clip_consistency": weight * clip_consistency(student.clip, teacher.clip),
        "frame_consistency": weight * frame_consistency(student.frames, teacher.frames, student.mask),
    }
