"""Sequence cores: recurrent, convolutional and Transformer, for whole sequences or step by step."""

from models.generation.cores.core import Core as Core
from models.generation.cores.recurrent import ContextCore as ContextCore
from models.generation.cores.recurrent import GroupedCore as GroupedCore
from models.generation.cores.recurrent import RNNCore as RNNCore
from models.generation.cores.tcn import TCNCore as TCNCore
from models.generation.cores.transformer import TransformerCore as TransformerCore
