"""What carries a sequence on: recurrent, convolutional and attending cores, each of which steps as it runs in parallel."""

from models.generation.cores.core import Core as Core
from models.generation.cores.recurrent import ContextCore as ContextCore
from models.generation.cores.recurrent import GroupedCore as GroupedCore
from models.generation.cores.recurrent import RNNCore as RNNCore
from models.generation.cores.tcn import TCNCore as TCNCore
from models.generation.cores.transformer import TransformerCore as TransformerCore
