"""Systems of the survey (Briot, Hadjeres, Pachet 2017): cores, heads and families that a config puts together."""

from models.generation.deepbach import DeepBach as DeepBach
