"""Context units with time constants of their own, as CONCERT has them."""

import torch
from torch import Tensor, nn

from models.generation.cores.core import Core


class ContextCore(Core):
    """Units that remember at different rates (Mozer 1994, section 4): fast ones the notes, slow ones the phrase.

    c_i(t) = tau_i c_i(t - 1) + (1 - tau_i) tanh(net_i), net a linear map of the input and of c(t - 1). The units are shared
    out equally among `taus`, each in [0, 1): 0 is a unit of a plain recurrent network.
    """

    def __init__(self, inputs: int, width: int = 40, taus: tuple[float, ...] = (0.0, 0.5, 0.8, 0.95)) -> None:
        super().__init__(inputs, width)
        if not taus or not all(0 <= tau < 1 for tau in taus):
            raise ValueError(f"taus are {tuple(taus)}, expected time constants from 0 to below 1")
        self.into = nn.Linear(inputs, width)
        self.again = nn.Linear(width, width, bias=False)
        nn.init.orthogonal_(self.again.weight)
        self.register_buffer("tau", torch.tensor([taus[unit * len(taus) // width] for unit in range(width)]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        c, driven, outputs = self.start(len(x)), self.into(x), []
        for net in driven.unbind(1):
            c = self._after(net, c)
            outputs.append(c)
        return torch.stack(outputs, 1) if outputs else driven

    def start(self, batch: int) -> Tensor:
        return self.zeros(batch, self.width)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        c = self._after(self.into(x), state)
        return c, c

    def _after(self, net: Tensor, c: Tensor) -> Tensor:
        return self.tau * c + (1 - self.tau) * torch.tanh(net + self.again(c))
