"""Training losses: functions and modules of tensors."""

from losses.mean_teacher import clip_bce, clip_consistency, frame_bce, frame_consistency
from losses.meta_tasnet import MetaTasNetLoss
from losses.multi_domain import Domains, MultiDomainLoss, WaveformL1, combination_mse, combination_weighted_sdr, magnitude_mse
from losses.pairs import ContrastiveLoss, SoftCrossEntropy
from losses.weighted_sdr import weighted_sdr

__all__ = [
    "ContrastiveLoss",
    "Domains",
    "MetaTasNetLoss",
    "MultiDomainLoss",
    "SoftCrossEntropy",
    "WaveformL1",
    "clip_bce",
    "clip_consistency",
    "combination_mse",
    "combination_weighted_sdr",
    "frame_bce",
    "frame_consistency",
    "magnitude_mse",
    "weighted_sdr",
]
