"""Losses: one differentiable idea per file."""

from losses.combination import combination_mse, combination_weighted_sdr
from losses.consistency import clip_consistency, frame_consistency
from losses.contrastive import ContrastiveLoss
from losses.domains import Domains
from losses.labelled_bce import clip_bce, frame_bce
from losses.magnitude_mse import magnitude_mse
from losses.meta_tasnet import MetaTasNetLoss
from losses.multi_domain import MultiDomainLoss
from losses.soft_cross_entropy import SoftCrossEntropy
from losses.waveform import WaveformL1
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
