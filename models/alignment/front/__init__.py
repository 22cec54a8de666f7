"""Inputs of alignment networks and of alignment without one; every one is a `Front`."""

from models.alignment.front.basic_pitch import BasicPitch as BasicPitch
from models.alignment.front.chroma import Chroma as Chroma
from models.alignment.front.cqt import CQT as CQT
from models.alignment.front.cqt import LogCQTFlux as LogCQTFlux
from models.alignment.front.front import Front as Front
from models.alignment.front.match import Match as Match
from models.alignment.front.salience_input import HCQT as HCQT
from models.alignment.front.salience_input import Salience as Salience
from models.alignment.front.semigram import Semigram as Semigram
from models.alignment.front.stft import STFT as STFT
