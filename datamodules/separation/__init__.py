"""Data of source separation."""
