"""Where pieces come from: one file a corpus."""

from datamodules.symbolic.corpora.blues import Blues as Blues
from datamodules.symbolic.corpora.boulanger_lewandowski import BoulangerLewandowski as BoulangerLewandowski
from datamodules.symbolic.corpora.chorales import Chorales as Chorales
from datamodules.symbolic.corpora.composers import Composers as Composers
from datamodules.symbolic.corpora.fiddle_tunes import FiddleTunes as FiddleTunes
from datamodules.symbolic.corpora.jsb import JSB as JSB
from datamodules.symbolic.corpora.music_folder import MusicFolder as MusicFolder
from datamodules.symbolic.corpora.nottingham import Nottingham as Nottingham
from datamodules.symbolic.corpora.pop909 import POP909 as POP909
