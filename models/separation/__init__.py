"""Networks of source separation, mixture -> stems; `n_sources` is their first argument."""

from models.separation.conv_tasnet import ConvTasNet as ConvTasNet
from models.separation.library import BSRoFormer as BSRoFormer
from models.separation.library import Demucs as Demucs
from models.separation.library import HDemucs as HDemucs
from models.separation.library import HTDemucs as HTDemucs
from models.separation.meta_tasnet import MetaTasNet as MetaTasNet
from models.separation.umx import UMX as UMX
