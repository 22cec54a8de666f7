"""What the reports of all tasks share: when a split is reported, and when a few fixed examples are shown instead."""

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from tasks.callbacks.media import shows_media


class Report(Callback):
    """Base of a task's report.

    `examples`: how many validation examples W&B or TensorBoard gets after each validation of a training.
    """

    examples: int = 0

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Everything there is to say about the test split."""
        self.report(trainer, pl_module, "test")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The same for the `validate` verb; during training the examples, where a logger takes them."""
        if trainer.state.fn == "validate":
            self.report(trainer, pl_module, "validation")
        elif self.examples and not trainer.sanity_checking and shows_media(trainer):
            training = pl_module.training
            pl_module.eval()
            with torch.no_grad():
                self.show_examples(trainer, pl_module)
            pl_module.train(training)

    def report(self, trainer: Trainer, module: LightningModule, split: str) -> None:
        """Write and print the scores of the `test` or `validation` split; called on every rank."""
        raise NotImplementedError

    def show_examples(self, trainer: Trainer, module: LightningModule) -> None:
        """Log the same `examples` of the validation split each time; called on rank 0, the module in evaluation mode."""
