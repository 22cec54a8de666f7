"""Recordings and scores: what they are, how they are read, heard and drawn from, and the sets that are read."""
