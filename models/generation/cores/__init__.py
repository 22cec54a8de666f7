"""What carries a sequence on: recurrent, convolutional and attending cores, each of which steps as it runs in parallel."""

from models.generation.cores.core import Core as Core
