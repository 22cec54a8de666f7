"""Building blocks that networks of several tasks share."""

from models.blocks.features import LogMel as LogMel
