"""What a frame is drawn from and scored by, given what a core makes of the frames before it."""

from models.generation.heads.bernoulli import BernoulliHead as BernoulliHead
from models.generation.heads.chain import ChainHead as ChainHead
from models.generation.heads.head import Head as Head
from models.generation.heads.nade import NADEHead as NADEHead
from models.generation.heads.rbm import RBMHead as RBMHead
from models.generation.heads.softmax import SoftmaxHead as SoftmaxHead
from models.generation.heads.voices import VoiceHead as VoiceHead
