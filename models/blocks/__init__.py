"""Building blocks shared by networks of several tasks."""

from models.blocks.features import LogMel as LogMel
