"""Where a system stands in the survey: its row of Table 8.4, which each config carries."""

from dataclasses import dataclass, field

ARCHITECTURES = {
    "Fd": "feed-forward",
    "RNN": "recurrent",
    "AE": "autoencoder",
    "StAE": "stacked autoencoders",
    "RBM": "Boltzmann machine",
    "VAE": "variational",
    "CnV": "convolutional",
    "CnD": "conditioning",
    "GAN": "adversarial",
    "RL": "reinforcement learning",
    "Cp": "compound",
}
STRATEGIES = {
    "sfF": "single-step feed-forward",
    "itF": "iterated feed-forward",
    "CnD": "conditioning",
    "S": "sampling",
    "iM": "input manipulation",
    "A": "adversarial",
    "RL": "reinforcement learning",
    "uS": "unit selection",
    "Cp": "compound",
}
"""Marks of the columns, and what they stand for."""


@dataclass
class Survey:
    """A row of Table 8.4 (Briot, Hadjeres, Pachet 2017).

    Args:
        system: its name there; a system that is not in the survey has empty marks
        architecture: marks of the architecture's columns, in the table's order
        strategy: marks of the strategy's columns
        note: where the slides and the survey differ, or what is ours
    """

    system: str = ""
    architecture: list[str] = field(default_factory=list)
    strategy: list[str] = field(default_factory=list)
    note: str = ""

    def __post_init__(self) -> None:
        for marks, columns in ((self.architecture, ARCHITECTURES), (self.strategy, STRATEGIES)):
            if unknown := [mark for mark in marks if mark not in columns]:
                raise ValueError(f"--model.survey: {', '.join(unknown)} is no column of Table 8.4 ({', '.join(columns)})")
