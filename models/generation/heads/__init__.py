"""Output heads: hidden states (batch, steps, width) -> distribution over the next frame."""

from models.generation.heads.binary import BernoulliHead as BernoulliHead
from models.generation.heads.binary import NADEHead as NADEHead
from models.generation.heads.binary import RBMHead as RBMHead
from models.generation.heads.categorical import AutoregressiveHead as AutoregressiveHead
from models.generation.heads.categorical import SoftmaxHead as SoftmaxHead
from models.generation.heads.categorical import VoiceHead as VoiceHead
from models.generation.heads.head import Head as Head
