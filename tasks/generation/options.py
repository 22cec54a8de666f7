"""How music is drawn from a system when a user asks for some."""

from dataclasses import dataclass

from models.generation.sampling import Sampling


@dataclass
class GenerationOptions:
    """What `predict` and the report's samples go by.

    Args:
        temperature: below 1 likelier, above it bolder, 0 the likeliest
        top_k: draw among the k likeliest alone; 0: among all
        top_p: draw among the fewest likeliest that together have this probability; 1: among all
        samples: answers to each question
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    samples: int = 1

    def __post_init__(self) -> None:
        if self.temperature < 0 or self.top_k < 0 or not 0 < self.top_p <= 1 or self.samples < 1:
            raise ValueError(
                "--model.inference wants temperature and top_k not negative, top_p in (0, 1] and samples positive: "
                f"{self.temperature}, {self.top_k}, {self.top_p}, {self.samples}"
            )

    @property
    def sampling(self) -> Sampling:
        """The same for the models."""
        return Sampling(float(self.temperature), self.top_k, float(self.top_p))
