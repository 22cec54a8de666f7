"""Networks of music tagging, audio chunk -> logits; `n_tags` is their first argument."""

from models.tagging.back_ends import CNN_L as CNN_L
from models.tagging.back_ends import CNN_P as CNN_P
from models.tagging.back_ends import Att as Att
from models.tagging.front_back import Explanation as Explanation
from models.tagging.front_back import FrontBack as FrontBack
from models.tagging.front_back import Raw as Raw
from models.tagging.front_back import Spec as Spec
from models.tagging.mel_nets import FCN as FCN
from models.tagging.mel_nets import TaggingCRNN as TaggingCRNN
from models.tagging.musicnn import Musicnn as Musicnn
