"""Systems that say how alike two frames are, and the dynamic time warping that lays one sequence on the other."""

from models.alignment.networks import MLP as MLP
from models.alignment.networks import SCNN as SCNN
from models.alignment.networks import FrameNet as FrameNet
from models.alignment.networks import SalienceMap as SalienceMap
from models.alignment.similarity import Handcrafted as Handcrafted
from models.alignment.similarity import Similarity as Similarity
