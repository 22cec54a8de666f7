"""Changes of inputs and labels at random, as options of training."""

from models.augment.augmentation import Augmentation as Augmentation
from models.augment.augmentation import two_views as two_views
from models.augment.filter_augment import FilterAugment as FilterAugment
from models.augment.frame_shift import FrameShift as FrameShift
from models.augment.mixup import Mixup as Mixup
from models.augment.spec_augment import SpecAugment as SpecAugment
from models.augment.view import View as View
