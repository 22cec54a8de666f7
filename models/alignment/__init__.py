"""Similarity networks of audio and score frames, and dynamic time warping of their sequences."""

from models.alignment.networks import MLP as MLP
from models.alignment.networks import SCNN as SCNN
from models.alignment.networks import FrameNet as FrameNet
from models.alignment.networks import SalienceMap as SalienceMap
from models.alignment.similarity import Handcrafted as Handcrafted
from models.alignment.similarity import Similarity as Similarity
