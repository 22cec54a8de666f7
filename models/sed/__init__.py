"""Networks that detect sound events; every one takes `n_classes` first."""

from models.sed.conformer import Conformer as Conformer
from models.sed.crnn import CRNN as CRNN
from models.sed.crnn import Detection as Detection
from models.sed.fusion import align as align
from models.sed.gru import BiGRU as BiGRU
from models.sed.mel import MelFrontEnd as MelFrontEnd
from models.sed.pooling import Attention as Attention
from models.sed.transformer import Transformer as Transformer
