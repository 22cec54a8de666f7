"""Feature front ends of alignment, all subclasses of `Front`."""

from models.alignment.front.chroma import Chroma as Chroma
from models.alignment.front.chroma import SpectralRise as SpectralRise
from models.alignment.front.cqt import CQT as CQT
from models.alignment.front.cqt import LogCQTFlux as LogCQTFlux
from models.alignment.front.front import Front as Front
from models.alignment.front.pretrained import HCQT as HCQT
from models.alignment.front.pretrained import BasicPitch as BasicPitch
from models.alignment.front.pretrained import Salience as Salience
from models.alignment.front.stft import LogSTFT as LogSTFT
from models.alignment.front.stft import Semigram as Semigram
