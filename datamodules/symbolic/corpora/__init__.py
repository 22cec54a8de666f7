"""Where pieces come from: one file a corpus."""

from datamodules.symbolic.corpora.blues import Blues as Blues
from datamodules.symbolic.corpora.boulanger_lewandowski import BoulangerLewandowski as BoulangerLewandowski
from datamodules.symbolic.corpora.chorales import Chorales as Chorales
from datamodules.symbolic.corpora.jsb import JSB as JSB
from datamodules.symbolic.corpora.music_folder import MusicFolder as MusicFolder
from datamodules.symbolic.corpora.pop909 import POP909 as POP909
