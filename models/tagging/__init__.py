"""Networks that hear tags in a chunk of audio; every one takes `n_tags` first."""

from models.tagging.att import Att as Att
from models.tagging.cnn_l import CNN_L as CNN_L
from models.tagging.cnn_p import CNN_P as CNN_P
from models.tagging.crnn import CRNN as CRNN
from models.tagging.fcn import FCN as FCN
from models.tagging.front_back import Explanation as Explanation
from models.tagging.front_back import FrontBack as FrontBack
from models.tagging.musicnn import Musicnn as Musicnn
from models.tagging.raw import Raw as Raw
from models.tagging.spec import Spec as Spec
