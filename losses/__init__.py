"""Losses of separation: one differentiable idea per file."""

from losses.combination import combination_mse, combination_weighted_sdr
from losses.domains import Domains
from losses.magnitude_mse import magnitude_mse
from losses.multi_domain import MultiDomainLoss
from losses.waveform import WaveformL1
from losses.weighted_sdr import weighted_sdr

__all__ = [
    "Domains",
    "MultiDomainLoss",
    "WaveformL1",
    "combination_mse",
    "combination_weighted_sdr",
    "magnitude_mse",
    "weighted_sdr",
]
