"""Generative models of the survey (Briot, Hadjeres and Pachet 2017), built from cores and heads by configs."""

from models.generation.autoencoder import StackedAutoencoder as StackedAutoencoder
from models.generation.biaxial import Biaxial as Biaxial
from models.generation.deepbach import DeepBach as DeepBach
from models.generation.energy import EnergyModel as EnergyModel
from models.generation.midinet import MidiNet as MidiNet
from models.generation.next_step import NextStep as NextStep
from models.generation.ngram import Ngram as Ngram
from models.generation.one_shot import OneShot as OneShot
from models.generation.vrae import VRAE as VRAE
