"""Noise that turns the likeliest into a draw, taken at once for all that is drawn of a frame."""

import torch
from torch import Tensor

from models.generation.sampling import Sampling, narrowed


def gumbel(rows: int, categories: int, sampling: Sampling, generator: torch.Generator) -> Tensor | None:
    """Gumbel noise (rows, categories) on the generator's device; None where the likeliest is drawn."""
    if sampling.temperature <= 0 or sampling.top_k == 1:
        return None
    noise = torch.rand(rows, categories, generator=generator, device=generator.device)
    return noise.clamp_(min=1e-20).log_().neg_().log_().neg_()


def pick(logits: Tensor, sampling: Sampling, noise: Tensor | None, allowed: Tensor | None = None) -> Tensor:
    """One category (...,) of logits (..., categories), drawn by the noise of `gumbel`."""
    if allowed is not None or sampling.temperature != 1 or sampling.top_k or sampling.top_p < 1:
        logits = narrowed(logits, sampling, allowed)
    return (logits if noise is None else logits + noise).argmax(-1)
