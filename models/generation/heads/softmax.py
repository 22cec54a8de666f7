"""One category a frame."""

import torch
from torch import Tensor, nn

from models.generation.form import Form
from models.generation.heads.chain import ChainHead, log_frequencies


class SoftmaxHead(ChainHead):
    """A softmax over the categories of the one column of a serial view."""

    order = (0,)

    def __init__(self, width: int, form: Form) -> None:
        super().__init__(width, form)
        if form.kind != "categories" or form.columns != 1:
            raise ValueError(f"SoftmaxHead wants one column of categories, this view has {form.columns} {form.kind} columns")
        self.out = nn.Linear(width, form.sizes[0])

    def begin(self, h: Tensor) -> Tensor:
        return h

    def logits(self, place: int, known: Tensor) -> Tensor:
        return self.out(known).float()

    def told(self, place: int, known: Tensor, category: Tensor) -> Tensor:
        return known

    @torch.no_grad()
    def prepare(self, counts: Tensor) -> None:
        self.out.bias.copy_(log_frequencies(counts[0]))
