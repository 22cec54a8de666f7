"""Networks of sound event detection; `n_classes` is their first argument."""

from models.sed.crnn import BiGRU as BiGRU
from models.sed.crnn import Detection as Detection
from models.sed.crnn import DetectionCRNN as DetectionCRNN
from models.sed.front import MelFrontEnd as MelFrontEnd
from models.sed.front import align as align
from models.sed.pooling import Attention as Attention
from models.sed.transformer import Conformer as Conformer
from models.sed.transformer import Transformer as Transformer
