"""What a frame is drawn from and scored by, given what a core makes of the frames before it."""

from models.generation.heads.head import Head as Head
