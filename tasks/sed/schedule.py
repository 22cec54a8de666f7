"""The learning rate of Boes and Van hamme 2021, section 4.3.1: an exponential ramp, then a decay at each step."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class RampDecay(LambdaLR):
    """Factor exp(-5 (1 - t / ramp)^2) up to step `ramp`, then decay^(t - ramp); all mean-teacher baselines ramp so.

    With the paper's lr 1e-3: 6.74e-6 at step 0, 2.865e-4 at 6,250, 1e-3 at 12,500, 1.533e-4 at 50,000.
    """

    def __init__(self, optimizer: Optimizer, ramp: int = 12_500, decay: float = 0.99995) -> None:
        super().__init__(optimizer, lambda step: factor(step, ramp, decay))


def factor(step: int, ramp: int, decay: float = 1.0) -> float:
    """Share of the full value at an optimizer step; `decay` per step once the ramp of `ramp` steps is over."""
    if step < ramp:
        return math.exp(-5.0 * (1.0 - step / ramp) ** 2)
    return decay ** (step - ramp)
