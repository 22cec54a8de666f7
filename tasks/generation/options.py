"""Inference options of music generation."""

from dataclasses import dataclass

from models.generation.sampling import Sampling


@dataclass
class GenerationOptions:
    """Sampling options of `predict` and of the report's pieces.

    Args:
        temperature: temperature of sampling; 0: the most likely symbol
        top_k: sample among the k most likely symbols; 0: all
        top_p: sample among the fewest symbols with this total probability; 1: all
        samples: number of results per input

    Raises:
        ValueError: a value is out of range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    samples: int = 1

    def __post_init__(self) -> None:
        if self.temperature < 0 or self.top_k < 0 or not 0 < self.top_p <= 1 or self.samples < 1:
            raise ValueError(
                "--model.inference: temperature and top_k must not be negative, top_p in (0, 1] and samples positive, got "
                f"{self.temperature}, {self.top_k}, {self.top_p}, {self.samples}"
            )

    @property
    def sampling(self) -> Sampling:
        """Sampling options for the models."""
        return Sampling(float(self.temperature), self.top_k, float(self.top_p))
