"""Data augmentation of inputs and labels in training."""

from models.augment.augmentation import Augmentation as Augmentation
from models.augment.augmentation import AugmentedBatch as AugmentedBatch
from models.augment.augmentation import FilterAugment as FilterAugment
from models.augment.augmentation import FrameShift as FrameShift
from models.augment.augmentation import Mixup as Mixup
from models.augment.augmentation import SpecAugment as SpecAugment
from models.augment.augmentation import two_views as two_views
