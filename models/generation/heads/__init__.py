"""What a frame is drawn from and scored by, given what a core makes of the frames before it."""

from models.generation.heads.binary import BernoulliHead as BernoulliHead
from models.generation.heads.binary import NADEHead as NADEHead
from models.generation.heads.binary import RBMHead as RBMHead
from models.generation.heads.categorical import ChainHead as ChainHead
from models.generation.heads.categorical import SoftmaxHead as SoftmaxHead
from models.generation.heads.categorical import VoiceHead as VoiceHead
from models.generation.heads.head import Head as Head
