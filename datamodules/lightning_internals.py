"""Private parts of Lightning that the data need; those of the command line and the callbacks are in `tasks`."""

import pytorch_lightning as pl


def reshards(trainer: pl.Trainer) -> bool:
    """True where Lightning would replace a loader's sampler by a DistributedSampler."""
    return trainer.world_size > 1 and trainer._accelerator_connector.use_distributed_sampler
