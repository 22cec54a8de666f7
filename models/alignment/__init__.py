"""Systems that say how alike two frames are, and the dynamic time warping that lays one sequence on the other."""

from models.alignment.frame_net import FrameNet as FrameNet
from models.alignment.handcrafted import Handcrafted as Handcrafted
from models.alignment.mlp import MLP as MLP
from models.alignment.salience_map import SalienceMap as SalienceMap
from models.alignment.scnn import SCNN as SCNN
from models.alignment.similarity import Similarity as Similarity
