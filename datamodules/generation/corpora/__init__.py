"""Corpora of symbolic music, one file each."""

from datamodules.generation.corpora.blues import Blues as Blues
from datamodules.generation.corpora.boulanger_lewandowski import JSB as JSB
from datamodules.generation.corpora.boulanger_lewandowski import BoulangerLewandowski as BoulangerLewandowski
from datamodules.generation.corpora.chorales import Chorales as Chorales
from datamodules.generation.corpora.music_folder import Composers as Composers
from datamodules.generation.corpora.music_folder import MusicFolder as MusicFolder
from datamodules.generation.corpora.pop909 import POP909 as POP909
from datamodules.generation.corpora.tunes import FiddleTunes as FiddleTunes
from datamodules.generation.corpora.tunes import Nottingham as Nottingham
